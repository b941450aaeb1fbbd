"""The guide on the fixed grid: an antialiased mean over each pixel's own footprint."""

import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.degradation import area_mean
from msibench.errors import RegistrationError
from msibench.image import GuideImage
from msibench.registration import Affine, Composite, resample, thin_plate
from msibench.registration.resample import _coarsen as coarsen
from msibench.registration.resample import _inside as inside
from msibench.registration.resample import guide_pixels_across as across

RNG = np.random.default_rng(0)


def guide(shape=(24, 36), channels=3, **facts):
    return GuideImage(RNG.random((channels, *shape), dtype=np.float32), **facts)


def binning(factor):
    return Affine(factor * np.eye(2), np.full(2, (factor - 1) / 2))


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_a_finer_guide_becomes_the_mean_over_each_pixel(factor):
    image = guide((12 * factor, 9 * factor))
    out = resample(image, binning(factor), (12, 9), pixel_size_um=10.0)
    np.testing.assert_allclose(out.values, area_mean(image.values, factor), atol=1e-6)
    assert out.mask is None
    assert out.pixel_size_um == 10.0


def test_a_much_finer_guide_is_binned_first_and_keeps_its_mean():
    image = guide((64 * 20, 48 * 20), channels=1)
    out = resample(image, binning(20), (64, 48))
    np.testing.assert_allclose(out.values, area_mean(image.values, 20), atol=0.03)
    assert out.values.std() < 0.03  # aliasing would leave the noise of single pixels, 0.29


def test_a_coarser_guide_is_interpolated_and_a_ramp_stays_a_ramp():
    ramp = np.broadcast_to(np.linspace(0, 1, 11), (1, 8, 11))
    out = resample(GuideImage(ramp), Affine(np.eye(2) / 4, [0, 0]), (29, 41))
    np.testing.assert_allclose(out.values[0], np.broadcast_to(np.linspace(0, 1, 41), (29, 41)),
                               atol=1e-6)  # fmt: skip


@given(st.integers(-4, 4), st.integers(-4, 4))
def test_a_shift_by_whole_pixels_moves_the_guide_and_marks_what_is_beyond(down, across):
    image = guide((10, 14))
    out = resample(image, Affine(np.eye(2), [down, across]), (10, 14))
    rows, columns = np.arange(10) + down, np.arange(14) + across
    inside = ((rows >= 0) & (rows < 10))[:, None] & ((columns >= 0) & (columns < 14))[None]
    mask = np.ones((10, 14), bool) if out.mask is None else out.mask
    np.testing.assert_array_equal(mask, inside)
    expected = image.values[:, np.clip(rows, 0, 9)][:, :, np.clip(columns, 0, 13)]
    np.testing.assert_allclose(out.values[:, inside], expected[:, inside], atol=1e-6)
    assert (out.values[:, ~inside] == 1).all()  # white beyond a stained slide


def test_unknown_parts_of_the_guide_do_not_bleed_into_the_known():
    image = guide((20, 20), mask=np.arange(20)[None, :].repeat(20, 0) < 10)
    image.values[:, :, 10:] = 0
    image.values[:, :, :10] = 0.5
    out = resample(image, binning(4), (5, 5))
    np.testing.assert_array_equal(out.mask[0], [True, True, True, False, False])
    np.testing.assert_allclose(out.values[:, out.mask], 0.5, atol=1e-6)


def test_a_bent_map_is_followed():
    fixed = np.array([[0, 0], [0, 20], [20, 0], [20, 20], [10, 10.0]])
    bend = thin_plate(fixed + np.array([0, 0, 0, 0, 3.0])[:, None], fixed)
    rows = np.broadcast_to(np.linspace(0, 1, 41)[:, None], (1, 41, 41))
    out = resample(GuideImage(rows), Composite(bend, Affine(np.eye(2), [0, 0])), (21, 21))
    expected = bend(np.stack(np.meshgrid(np.arange(21.0), np.arange(21.0), indexing="ij"), -1))
    np.testing.assert_allclose(out.values[0, 2:-2, 2:-2], expected[2:-2, 2:-2, 0] / 40, atol=2e-3)


def test_big_grids_are_done_in_blocks_with_the_same_result(monkeypatch):
    image = guide((40, 60))
    whole = resample(image, binning(2), (20, 30)).values
    module = importlib.import_module("msibench.registration.resample")
    monkeypatch.setattr(module, "POINTS_AT_ONCE", 90)
    np.testing.assert_array_equal(resample(image, binning(2), (20, 30)).values, whole)


def test_a_guide_beside_the_grid_is_refused():
    with pytest.raises(RegistrationError, match="check the transform"):
        resample(guide(), Affine(np.eye(2), [1000, 0]), (5, 5))
    with pytest.raises(RegistrationError, match="must hold a pixel"):
        resample(guide(), Affine.identity(), (0, 5))


def test_a_much_finer_guide_is_known_where_half_of_it_is():
    """Twenty guide pixels a pixel are first binned two by two, of which every other column is known."""
    known = np.arange(160)[None, :].repeat(160, 0) % 2 == 0
    out = resample(guide((160, 160), mask=known), binning(20), (8, 8))
    assert out.mask is None
    with pytest.raises(RegistrationError, match="check the transform"):
        resample(guide((160, 160), mask=known & known.T), binning(20), (8, 8))


def test_a_pixel_of_which_half_lies_on_the_guide_is_known_and_less_is_filled():
    image = guide((8, 8), channels=1)
    half = Affine(2 * np.eye(2), [-0.5, 0.5])  # the first row covers guide rows -1 and 0
    out = resample(image, half, (4, 4))
    assert out.mask is None
    np.testing.assert_allclose(out.values[0, 0, 0], image.values[0, 0, :2].mean(), atol=1e-6)
    third = Affine(3 * np.eye(2), [-1.0, 1.0])  # guide rows -2, -1 and 0
    out = resample(image, third, (3, 2), fill=0.25)
    np.testing.assert_array_equal(out.mask, [[False, False], [True, True], [True, True]])
    assert (out.values[:, 0] == 0.25).all()
    for kind, channels, wanted in (("optical", 3, 1.0), ("optical", 1, 0.0), ("msi", 3, 0.0)):
        beyond = resample(guide((8, 8), channels, kind=kind), third, (3, 2))
        assert (beyond.values[:, 0] == wanted).all()
    assert np.isnan(beyond.pixel_size_um)


@pytest.mark.parametrize(("stretch", "factor"), [(15.9, 1), (16.0, 2), (23.9, 2), (24.0, 3)])
def test_a_guide_is_binned_so_that_eight_samples_and_more_are_left_along_an_edge(stretch, factor):
    fine = guide((96, 96), channels=1, mask=np.arange(96)[:, None].repeat(96, 1) < 50)
    there = Affine(np.diag([stretch, 1.0]), [3.0, 5.0])
    coarse, onto = coarsen(fine, there, (4, 90))
    assert coarse.shape == (96 // factor, 96 // factor)
    if factor == 1:
        assert coarse is fine
        return
    np.testing.assert_allclose(coarse.values, area_mean(fine.values, factor), atol=1e-6)
    np.testing.assert_array_equal(coarse.mask[:, 0], (np.arange(96 // factor) + 0.5) * factor <= 50)
    # the centre of the first bin lies in the middle of its pixels
    middle = there.inverse()([(factor - 1) / 2, (factor - 1) / 2])
    np.testing.assert_allclose(onto(middle), [0.0, 0.0], atol=1e-12)
    after = middle + there.inverse().matrix @ [factor, 0]
    np.testing.assert_allclose(onto(after), [1.0, 0.0], atol=1e-12)


def test_a_guide_that_is_smaller_than_a_bin_is_left_as_it_is():
    small = guide((2, 40), channels=1)
    there = Affine(np.diag([24.0, 24.0]), [0.0, 0.0])
    assert coarsen(small, there, (4, 4))[0] is small
    assert coarsen(guide((3, 40), channels=1), there, (4, 4))[0].shape == (1, 13)


def test_pixels_across_are_the_longer_edge_in_the_median_of_the_grid():
    assert across(Affine([[3.0, 0.0], [4.0, 1.0]], [0, 0]), (5, 7)) == pytest.approx(5.0)
    assert across(Affine(np.diag([2.0, 6.0]), [0, 0]), (5, 7)) == pytest.approx(6.0)

    class Widening(Composite):
        def __call__(self, points):
            row, column = np.moveaxis(np.asarray(points, float), -1, 0)
            return np.stack([row + row**3 / 48, column], axis=-1)

    # slopes at rows 0, 4 and 8 are 1, 2 and 5 (to the order of the step)
    assert across(Widening(), (9, 7)) == pytest.approx(2.0, abs=0.01)

    class Lost(Composite):
        def __call__(self, points):
            return np.asarray(points, float) * np.nan

    with pytest.raises(RegistrationError, match="NaN"):
        across(Lost(), (9, 7))


def test_a_point_on_the_very_edge_of_the_outer_pixels_is_inside():
    for row, column, there in (
        (-0.5, -0.5, True), (4.5, 6.5, True), (-0.5, 6.5, True), (2.0, 3.0, True),
        (-0.5001, 3.0, False), (4.5001, 3.0, False), (2.0, -0.5001, False), (2.0, 6.5001, False),
    ):  # fmt: skip
        assert inside(np.array([row, column]), (5, 7)) == there
