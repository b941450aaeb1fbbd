"""Files from elsewhere at the limits of what is read."""

import json

import numpy as np
import pytest

from msibench.errors import DataError, MissingDataError, RegistrationError
from msibench.registration import Transform, fit_linear, read_bigwarp, thin_plate
from msibench.registration.file_guard import check_parameters, parse_json, read_text
from msibench.registration.levels import guide_shape_of


def test_a_file_of_the_most_bytes_is_read_and_a_larger_one_refused(tmp_path):
    path = tmp_path / "t.json"
    path.write_bytes(b"12345678")
    assert read_text(path, "transform", 8) == "12345678"
    with pytest.raises(DataError, match="larger than 7 bytes, too large for a transform file"):
        read_text(path, "transform", 7)
    with pytest.raises(MissingDataError, match="no landmark file"):
        read_text(tmp_path, "landmark")


def test_bytes_that_are_not_text_are_refused_or_replaced(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfPt-\xff")
    with pytest.raises(DataError, match="not a landmark file"):
        read_text(path, "landmark")
    assert read_text(path, "landmark", errors="replace") == "Pt-�"


def nested(value, levels):
    for _ in range(levels):
        value = [value]
    return value


def test_parameters_are_numbers_texts_and_lists_of_them():
    for fine in (1e12, -1e12, 3, "affine", {"a": [1, {"b": 2.5}]}, nested(1, 64)):
        assert check_parameters({"x": fine}, "it") == {"x": fine}
    for wrong, said in (
        (1.001e12, "numbers beyond 1e\\+12 pixels are not valid"),
        (float("nan"), "NaN"),
        (-2 * 10**12, "numbers beyond"),
        (True, "holds True where a number"),
        (None, "holds None where a number"),
        ({"a": [False]}, "holds False"),
        (nested(1, 65), "deeper than 64 levels"),
    ):
        with pytest.raises(DataError, match=said):
            check_parameters({"x": wrong}, "it")
    deep = {}
    for _ in range(66):
        deep = {"a": deep}
    with pytest.raises(DataError, match="deeper than 64 levels"):
        check_parameters(deep, "it")
    with pytest.raises(DataError, match="must be a JSON object"):
        check_parameters([1], "it")


def test_what_is_not_json_is_said_not_to_be_a_transform():
    assert parse_json('{"a": 1}', "t.json") == {"a": 1}
    for text in ("{", "[" * 100_000):
        with pytest.raises(DataError, match=r"t\.json is not a transform file"):
            parse_json(text, "t.json")


def test_what_is_quoted_of_a_file_is_cut(tmp_path):
    path = tmp_path / "bad"
    long = "".join(chr(ord("a") + place % 26) for place in range(400))

    def message(reader, text):
        path.write_text(text)
        with pytest.raises(DataError) as raised:
            reader(path)
        return str(raised.value)

    def quoted(document):
        return message(Transform.from_file, json.dumps(document))

    assert f"got {long[:40]!r};" in message(read_bigwarp, f"Pt-0,{long},1,2,3,4\n")
    assert message(read_bigwarp, f"Pt-0,true,1,2,3,{long}\n").endswith(f"got {long[:40]!r}")
    assert f"got {long[:40]!r};" in quoted({"schema_version": long})
    assert f"kind {long[:100]!r};" in quoted({"schema_version": 1, "kind": long})
    stated = message(guide_shape_of, json.dumps({"guide_shape": long}))
    assert stated.endswith(f"got {long[:60]}")
    wrong = {"matrix": [[1, 0], [0, long]], "offset": [0, 0]}
    said = quoted({"schema_version": 1, "kind": "affine", "parameters": wrong})
    assert "affine transform with wrong parameters (" in said
    assert len(said.partition("parameters (")[2]) <= 200 + 4


def table(*rows):
    return "".join(f"Pt-{number},true,{row}\n" for number, row in enumerate(rows))


def test_a_table_of_landmarks_at_its_limits(tmp_path):
    path = tmp_path / "marks.csv"
    path.write_text(table(*["1,2,3,4"] * 5000))
    assert len(read_bigwarp(path)) == 5000
    path.write_text(table(*["1,2,3,4"] * 5001))
    with pytest.raises(DataError, match="holds 5001 landmarks; at most 5000"):
        read_bigwarp(path)
    path.write_text(table("1e12,-1e12,Infinity,-Infinity"))
    found = read_bigwarp(path)
    np.testing.assert_array_equal(found.moving, [[-1e12, 1e12]])
    np.testing.assert_array_equal(found.fixed, [[-np.inf, np.inf]])
    assert len(found.usable()) == 0
    for number in ("1.1e12", "-1.1e12", "nine"):
        path.write_text(table("1,2,3,4", f"1,2,3,{number}"))
        with pytest.raises(DataError, match=f"line 2: expected a coordinate, got '{number}'"):
            read_bigwarp(path)
    path.write_text("Pt-0, TRUE ,1,2,3,4\nPt-1,False,1,2,3,4\n")
    np.testing.assert_array_equal(read_bigwarp(path).active, [True, False])
    for size in (0.0, -1.0, np.inf, np.nan):
        for name in ("moving_pixel_size", "fixed_pixel_size"):
            with pytest.raises(DataError, match="pixel size must be a positive number"):
                read_bigwarp(path, **{name: size})


@pytest.mark.parametrize(
    ("points", "model", "said"),
    [
        ([[0, 0]], "translation", ""),
        ([], "translation", "needs at least 1 usable pairs of landmarks, got 0"),
        ([[0, 0], [0, 5]], "rigid", ""),
        ([[3, 3], [3, 3]], "similarity", "lie on one point"),
        ([[0, 0]], "rigid", "needs at least 2 usable pairs"),
        ([[0, 0], [0, 5]], "affine", "needs at least 3 usable pairs"),
        ([[0, 0], [0, 5], [0, 9]], "affine", "lie on one line"),
        ([[0, 0], [0, 5], [0, 9]], "rigid", ""),
        ([[0, 0], [0, 5], [1e-4, 9]], "affine", ""),
        ([[0, 0], [0, 5], [1e-6, 9]], "affine", "lie on one line"),
    ],
)
def test_landmarks_determine_a_map_or_are_refused(points, model, said):
    fixed = np.array(points, float).reshape(-1, 2)
    if said:
        with pytest.raises(RegistrationError, match=said):
            fit_linear(model, fixed + 1.0, fixed)
        return
    np.testing.assert_allclose(fit_linear(model, fixed + 1.0, fixed)(fixed), fixed + 1.0, atol=1e-6)


def test_points_without_partners_are_refused():
    points = np.array([[0.0, 0.0], [0.0, 5.0], [5.0, 0.0]])
    far = points.copy()
    far[1, 1] = np.inf
    for moving, fixed, said in (
        (points, None, "give Landmarks, or"),
        (points, points[:2], r"must both be \(n, 2\)"),
        (points.T, points.T, r"must both be \(n, 2\)"),
        (far, points, "points must be finite"),
        (points, far, "points must be finite"),
    ):
        with pytest.raises(RegistrationError, match=said):
            thin_plate(moving, fixed)
    twice = np.array([[0.0, 0.0], [0.0, 5.0], [5.0, 0.0], [0.0, 5.0]])
    with pytest.raises(RegistrationError, match=r"share one fixed point, \[0\.0, 5\.0\]"):
        thin_plate(twice, twice)
