"""BigWarp tables and thin plates: the file format, and the formula that BigWarp solves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msibench.errors import DataError, MissingDataError, RegistrationError
from msibench.registration import fit_linear, leave_one_out, read_bigwarp, target_errors, thin_plate

TABLE = """"Pt-0","true","10.5","20.25","1.0","2.0"
"Pt-1","false","11.0","21.0","3.0","4.0"
"Pt-2","true","12.0","22.0","Infinity","Infinity"
"Pt-3","true","-13.5","23.0","5.0","6.5"
"""


def points(n=12, seed=0):
    return np.random.default_rng(seed).uniform(0, 100, (n, 2))


def test_a_table_is_read_as_moving_then_fixed_with_x_before_y(tmp_path):
    (tmp_path / "landmarks.csv").write_text(TABLE)
    landmarks = read_bigwarp(tmp_path / "landmarks.csv")
    assert landmarks.names == ("Pt-0", "Pt-1", "Pt-2", "Pt-3")
    np.testing.assert_array_equal(landmarks.active, [True, False, True, True])
    np.testing.assert_array_equal(landmarks.moving[0], [20.25, 10.5])  # (row, column)
    np.testing.assert_array_equal(landmarks.fixed[3], [6.5, 5.0])
    assert landmarks.usable().names == ("Pt-0", "Pt-3")


def test_calibrated_coordinates_are_divided_by_the_pixel_sizes(tmp_path):
    (tmp_path / "a.csv").write_text(TABLE)
    landmarks = read_bigwarp(tmp_path / "a.csv", moving_pixel_size=0.5, fixed_pixel_size=10)
    np.testing.assert_allclose(landmarks.moving[0], [40.5, 21.0])
    np.testing.assert_allclose(landmarks.fixed[0], [0.2, 0.1])


def test_a_flat_table_of_volumes_is_read_and_a_deep_one_refused(tmp_path):
    flat = '"a","true","1","2","0","3","4","0"\n"b","true","5","6","0","7","8","0"\n'
    (tmp_path / "flat.csv").write_text(flat)
    np.testing.assert_array_equal(read_bigwarp(tmp_path / "flat.csv").fixed, [[4, 3], [8, 7]])
    (tmp_path / "deep.csv").write_text(flat.replace('"8","0"', '"8","9"'))
    with pytest.raises(DataError, match="several depths"):
        read_bigwarp(tmp_path / "deep.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no landmark"),
        ("\n \n", "holds no landmark"),
        ('"Pt-0","true","1","2","3"\n', "expected 6 columns"),
        (TABLE + '"Pt-4","true","1","2","3","4","5","6"\n', "line 5: expected 6 columns"),
        (TABLE.replace("23.0", "twenty"), "line 4: expected a coordinate"),
        ("name,active,mx,my,fx,fy\n" + TABLE, "is it a header"),
        ('{"type": "x"}', "export the landmarks as CSV"),
    ],
)
def test_a_table_that_cannot_be_one_is_refused_with_its_line(tmp_path, text, message):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_bigwarp(tmp_path / "bad.csv")


def test_a_missing_table_is_said_to_be_missing(tmp_path):
    with pytest.raises(MissingDataError, match="no landmark file"):
        read_bigwarp(tmp_path / "none.csv")


def bigwarp_formula(fixed, moving, at):
    """Solve the r^2 log r spline of jitk-tps directly: fixed -> moving, no stiffness."""

    def kernel(r):
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(r > 0, r**2 * np.log(r), 0.0)

    n = len(fixed)
    affine = np.c_[fixed, np.ones(n)]
    system = np.zeros((n + 3, n + 3))
    system[:n, :n] = kernel(np.linalg.norm(fixed[:, None] - fixed[None], axis=-1))
    system[:n, n:], system[n:, :n] = affine, affine.T
    weights = np.linalg.solve(system, np.r_[moving - fixed, np.zeros((3, 2))])
    distance = np.linalg.norm(at[:, None] - fixed[None], axis=-1)
    return at + kernel(distance) @ weights[:n] + np.c_[at, np.ones(len(at))] @ weights[n:]


@given(st.integers(4, 60), st.integers(0, 1000))
@settings(max_examples=25)
def test_the_thin_plate_is_the_one_that_bigwarp_solves(n, seed):
    rng = np.random.default_rng(seed)
    fixed = rng.uniform(0, 300, (n, 2))
    moving = 2.5 * fixed + rng.normal(0, 4, (n, 2))
    at = rng.uniform(-20, 320, (50, 2))
    plate = thin_plate(moving, fixed)
    np.testing.assert_allclose(plate(at), bigwarp_formula(fixed, moving, at), atol=1e-6)
    np.testing.assert_allclose(plate(fixed), moving, atol=1e-7)


def test_a_thin_plate_through_an_affine_map_is_that_map():
    fixed = points()
    matrix, offset = np.array([[2.0, 0.3], [-0.1, 1.8]]), np.array([5.0, -7.0])
    plate = thin_plate(fixed @ matrix.T + offset, fixed)
    np.testing.assert_allclose(plate(points(9, 1)), points(9, 1) @ matrix.T + offset, atol=1e-8)


@pytest.mark.parametrize(
    ("model", "matrix"),
    [
        ("translation", np.eye(2)),
        ("rigid", [[0.8, -0.6], [0.6, 0.8]]),
        ("similarity", [[2.4, -1.8], [1.8, 2.4]]),
        ("affine", [[2.0, 0.5], [-0.3, 3.0]]),
    ],
)
def test_each_linear_model_recovers_a_map_of_its_kind(model, matrix):
    fixed = points()
    moving = fixed @ np.asarray(matrix).T + [3.0, -4.0]
    found = fit_linear(model, moving, fixed)
    np.testing.assert_allclose(found.matrix, matrix, atol=1e-10)
    np.testing.assert_allclose(found.offset, [3.0, -4.0], atol=1e-8)


def test_a_rigid_fit_never_mirrors():
    fixed = points()
    found = fit_linear("rigid", fixed[:, ::-1], fixed)
    assert np.linalg.det(found.matrix) == pytest.approx(1)


def test_leaving_one_out_measures_an_error_that_the_fit_itself_hides():
    fixed = points(20)
    moving = 3.0 * fixed
    moving[7] += [30.0, 0.0]  # ten fixed pixels off
    landmarks = make(moving, fixed)
    assert np.max(target_errors(thin_plate(landmarks), landmarks)) < 1e-6
    errors = leave_one_out(landmarks, thin_plate)
    assert errors.argmax() == 7
    assert errors[7] == pytest.approx(10, rel=0.2)
    affine = leave_one_out(make(3.0 * fixed, fixed), lambda some: fit_linear("affine", some))
    np.testing.assert_allclose(affine, 0, atol=1e-9)


def make(moving, fixed):
    from msibench.registration import Landmarks

    names = tuple(f"Pt-{i}" for i in range(len(fixed)))
    return Landmarks(names, moving, fixed, np.ones(len(fixed), dtype=bool))


def test_landmarks_that_determine_no_map_are_refused():
    line = np.c_[np.arange(5.0), 2 * np.arange(5.0)]
    for fit in (thin_plate, lambda m, f: fit_linear("affine", m, f)):
        with pytest.raises(RegistrationError, match="one line"):
            fit(points(5), line)
        with pytest.raises(RegistrationError, match="at least 3"):
            fit(points(2), points(2))
    with pytest.raises(RegistrationError, match="one fixed point"):
        thin_plate(points(5), points(5)[[0, 1, 2, 3, 3]])
    with pytest.raises(RegistrationError, match="one point"):
        fit_linear("rigid", points(3), np.ones((3, 2)))
    with pytest.raises(RegistrationError, match=r"\(n, 2\)"):
        thin_plate(points(5), points(4))
    with pytest.raises(RegistrationError, match="no linear model"):
        fit_linear("projective", points(5), points(5))


def test_a_plate_takes_as_many_landmarks_as_it_says(monkeypatch):
    monkeypatch.setattr("msibench.registration.landmarks.MOST_LANDMARKS", 4)
    points = np.array([[0.0, 0], [0, 9], [7, 1], [8, 9], [3, 4]])
    np.testing.assert_allclose(thin_plate(points[:4] + 1, points[:4])(points[:4]), points[:4] + 1)
    with pytest.raises(RegistrationError, match="through 5 landmarks; at most 4"):
        thin_plate(points + 1, points)
