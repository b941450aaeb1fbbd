"""Files from elsewhere at the limits of what is read."""

import pytest

from msibench.errors import DataError, MissingDataError
from msibench.registration.file_guard import check_parameters, parse_json, read_text


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
