"""Transforms as values: files, inverses, Jacobians, and the free-form net."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.errors import DataError, MissingDataError, RegistrationError
from msibench.registration import (
    Affine,
    BSpline,
    Composite,
    Transform,
    folding,
    read_affine,
    thin_plate,
)
from msibench.testing.mirror import mirrored

POINTS = np.random.default_rng(0).uniform(0, 40, (30, 2))
AFFINE = Affine([[2.0, 0.1], [-0.2, 2.2]], [3.0, -1.0])


def net(seed=0, size=1.0):
    shifts = np.random.default_rng(seed).normal(0, size, (2, 7, 9))
    return BSpline(shifts, [-10.0, -8.0], [10.0, 8.0])


TRANSFORMS = {
    "affine": AFFINE,
    "thin-plate": thin_plate(2 * POINTS + np.sin(POINTS), POINTS),
    "bspline": net(),
    "composite": Composite(net(), AFFINE),
}


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_a_transform_survives_its_file(tmp_path, kind):
    transform = TRANSFORMS[kind]
    transform.to_file(tmp_path / "t.json", guide="HE.png")
    again = Transform.from_file(tmp_path / "t.json")
    assert type(again) is type(transform)
    np.testing.assert_array_equal(again(POINTS), transform(POINTS))
    assert json.loads((tmp_path / "t.json").read_text())["guide"] == "HE.png"


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_the_jacobian_is_the_slope_of_the_map(kind):
    transform = TRANSFORMS[kind]
    step = np.array([1e-4, -2e-4])
    moved = (transform(POINTS + step) - transform(POINTS - step)) / 2
    slope = np.einsum("nij,j->ni", transform.jacobian(POINTS), step)
    np.testing.assert_allclose(moved, slope, rtol=0.05, atol=2e-5)


@given(st.floats(-170, 170), st.floats(0.2, 5), st.floats(-50, 50))
def test_an_affine_map_and_its_inverse_undo_each_other(degrees, scale, shift):
    there = Affine.about([5, 9], degrees=degrees, scale=scale, shift=shift)
    np.testing.assert_allclose((there @ there.inverse())(POINTS), POINTS, atol=1e-8)
    np.testing.assert_allclose(there.inverse()(there(POINTS)), POINTS, atol=1e-8)


def test_turning_about_a_point_keeps_it_and_turns_rows_towards_columns():
    quarter = Affine.about([5, 9], degrees=90)
    np.testing.assert_allclose(quarter([5.0, 9.0]), [5, 9])
    np.testing.assert_allclose(quarter([6.0, 9.0]), [5, 10], atol=1e-12)
    moved = Affine.about([5, 9], degrees=90, scale=2, shift=[3, -4])
    np.testing.assert_allclose(moved([5.0, 9.0]), [8, 5], atol=1e-12)
    np.testing.assert_allclose(moved([6.0, 9.0]), [8, 7], atol=1e-12)
    np.testing.assert_allclose(moved([5.0, 10.0]), [6, 5], atol=1e-12)
    np.testing.assert_allclose(Affine.about([5, 9], shift=2.5)([0.0, 0.0]), [2.5, 2.5])


def test_the_product_of_maps_applies_the_right_one_first():
    shift, double = Affine(np.eye(2), [1, 0]), Affine(2 * np.eye(2), [0, 0])
    np.testing.assert_array_equal((double @ shift)([0.0, 0.0]), [2, 0])
    np.testing.assert_array_equal(Composite(shift, double)([0.0, 0.0]), [2, 0])


def test_the_card_of_a_data_set_maps_ion_image_to_stain(tmp_path):
    (tmp_path / "affine.json").write_text('{"A": [[3, 0], [0.5, 4]], "b": [1, -2], "note": "x"}')
    found = read_affine(tmp_path / "affine.json")
    np.testing.assert_array_equal(found([2.0, 10.0]), [7, 39])
    bladder = read_affine(mirrored("bladder/affine.json"))
    np.testing.assert_allclose(bladder([0.0, 0.0]), [3.2291602, -20.556629], atol=1e-6)


def test_the_free_form_net_moves_as_the_one_of_simpleitk():
    sitk = pytest.importorskip("SimpleITK")
    reference = sitk.BSplineTransform(2, 3)
    reference.SetTransformDomainOrigin((0.0, 0.0))
    reference.SetTransformDomainPhysicalDimensions((60.0, 40.0))
    reference.SetTransformDomainMeshSize((5, 3))
    rng = np.random.default_rng(2)
    reference.SetParameters(rng.normal(0, 2, len(reference.GetParameters())).tolist())
    from msibench.registration.intensity import _net

    inside = rng.uniform([0.5, 0.5], [39.5, 59.5], (40, 2))
    expected = [reference.TransformPoint((x, y))[::-1] for y, x in inside]
    np.testing.assert_allclose(_net(reference)(inside), expected, atol=1e-9)


def test_folding_is_found_where_the_map_turns_over():
    assert folding(AFFINE, (10, 12)) == 0
    assert folding(Affine([[1, 0], [0, -1]], [0, 11]), (10, 12)) == 1
    corners = [[0, 0], [0, 10], [10, 0], [10, 10]]
    half = thin_plate([*corners, [8, 5], [2, 5]], [*corners, [3, 5], [7, 5]])
    assert 0 < folding(half, (11, 11)) < 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "not a transform file"),
        ("[]", "expected a JSON object"),
        ("{}", "schema version"),
        ('{"schema_version": 2, "kind": "affine"}', "newer msibench"),
        ('{"schema_version": 1, "kind": "perspective"}', "no transform of kind"),
        ('{"schema_version": 1, "kind": "affine", "parameters": {}}', "wrong parameters"),
        ('{"A": [[1, 2]], "b": [0, 0]}', "2 x 2"),
        ('{"A": [[1, 0], [0, NaN]], "b": [0, 0]}', "are not valid"),
        ('{"schema_version": 1, "kind": "bspline", "parameters": {"coefficients": [[[1]]],'
         ' "origin": [0, 0], "spacing": [1, 1]}}', "B-spline net"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_transform_is_refused(tmp_path, text, message):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(DataError, match=message):
        Transform.from_file(tmp_path / "t.json")


def test_a_missing_or_bent_transform_is_no_affine(tmp_path):
    with pytest.raises(MissingDataError):
        read_affine(tmp_path / "none.json")
    net().to_file(tmp_path / "net.json")
    with pytest.raises(DataError, match="bspline transform, not an affine"):
        read_affine(tmp_path / "net.json")
    with pytest.raises(RegistrationError, match="no inverse"):
        Affine([[1, 1], [1, 1]], [0, 0]).inverse()
