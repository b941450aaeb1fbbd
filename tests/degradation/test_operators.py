"""Laws of the operators, and the libraries that they must agree with."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from msibench.degradation import (
    area_mean,
    bicubic_reduce,
    count_ions,
    drop_lines,
    gaussian_beam,
    quantise8,
    round_spot,
)
from msibench.degradation.bicubic import keys_kernel
from msibench.degradation.binning import check_divides
from msibench.errors import ConfigurationError

SIDES = st.tuples(st.integers(1, 5), st.integers(1, 6))
REDUCERS = [area_mean, bicubic_reduce, gaussian_beam, round_spot]


@st.composite
def stacks(draw, channels=2):
    """Intensities on a grid that holds whole blocks, with the factor."""
    factor = draw(st.integers(1, 5))
    rows, columns = draw(SIDES)
    shape = (channels, rows * factor, columns * factor)
    values = draw(arrays(np.float64, shape, elements=st.floats(0, 1e4, width=32)))
    return values, factor


@given(stacks())
def test_area_mean_keeps_the_total_of_every_channel(problem):
    values, factor = problem
    np.testing.assert_allclose(
        area_mean(values, factor).sum((1, 2)) * factor**2, values.sum((1, 2)), rtol=1e-12
    )


@given(stacks(), st.data())
def test_area_mean_commutes_with_cropping_at_multiples_of_the_factor(problem, data):
    values, factor = problem
    rows, columns = values.shape[1] // factor, values.shape[2] // factor
    top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    cropped = area_mean(values[:, top * factor :, left * factor :], factor)
    np.testing.assert_array_equal(cropped, area_mean(values, factor)[:, top:, left:])


@pytest.mark.parametrize("reduce", REDUCERS)
@given(problem=stacks(), gain=st.floats(0, 10))
def test_every_reduction_is_linear(reduce, problem, gain):
    values, factor = problem
    both = reduce(values[:1] + gain * values[1:], factor)
    apart = reduce(values[:1], factor) + gain * reduce(values[1:], factor)
    np.testing.assert_allclose(both, apart, rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("reduce", REDUCERS)
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 7, 32])
def test_every_reduction_keeps_a_constant_image(reduce, factor):
    flat = np.full((1, 2 * factor, 3 * factor), 0.7)
    np.testing.assert_allclose(reduce(flat, factor), np.full((1, 2, 3), 0.7), rtol=1e-12)


@pytest.mark.parametrize("reduce", REDUCERS)
def test_every_reduction_commutes_with_mirroring_and_transposing(reduce):
    values = np.random.default_rng(0).random((2, 12, 21))
    low = reduce(values, 3)
    np.testing.assert_allclose(reduce(values[:, ::-1, ::-1], 3), low[:, ::-1, ::-1], atol=1e-13)
    np.testing.assert_allclose(reduce(values.swapaxes(1, 2), 3), low.swapaxes(1, 2), atol=1e-13)


@pytest.mark.parametrize("reduce", REDUCERS)
def test_a_grid_without_whole_blocks_is_refused(reduce):
    with pytest.raises(ConfigurationError, match="multiples of 4"):
        reduce(np.ones((1, 8, 10)), 4)


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("coarse", [(5, 9), (13, 6), (1, 2)])
def test_bicubic_is_that_of_pil(factor, coarse):
    fine = (coarse[0] * factor, coarse[1] * factor)
    image = np.random.default_rng(factor).random(fine, dtype=np.float32)
    with_pil = Image.fromarray(image).resize(coarse[::-1], Image.Resampling.BICUBIC)
    np.testing.assert_allclose(bicubic_reduce(image, factor), np.asarray(with_pil), atol=1e-6)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_bicubic_is_that_of_torch_with_antialiasing(factor):
    image = np.random.default_rng(factor).random((1, 24, 36))
    reference = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None],
        size=(24 // factor, 36 // factor),
        mode="bicubic",
        antialias=True,
        align_corners=False,
    )
    np.testing.assert_allclose(bicubic_reduce(image, factor), reference[0].numpy(), atol=1e-6)


def test_bicubic_has_the_weights_that_matlab_prints():
    # imresize([1 0 0 0 0 0 0 0], 0.5): MATLAB mirrors the border; worked out by hand from Keys'
    # kernel at distances 0.25, 0.75, 1.25, 1.75 of a coarse pixel: 0.8671875, 0.2265625,
    # -0.0703125, -0.0234375, halved. Pixel 0 and its mirror image stand at 0.25 and 0.75 from
    # coarse pixel 0, at 1.25 and 1.75 from the next.
    edge = np.zeros((2, 8))
    edge[:, 0] = 1
    np.testing.assert_allclose(
        bicubic_reduce(edge, 2, edges="symmetric")[0], [0.546875, -0.046875, 0, 0], atol=1e-15
    )
    inner = np.zeros((2, 16))
    inner[:, 6] = 1
    np.testing.assert_allclose(
        bicubic_reduce(inner, 2, edges="symmetric")[0],
        [0, -0.01171875, 0.11328125, 0.43359375, -0.03515625, 0, 0, 0],
        atol=1e-15,
    )


def test_the_two_kinds_of_edges_differ_only_within_two_coarse_pixels():
    image = np.random.default_rng(3).random((1, 40, 48))
    pil, matlab = (bicubic_reduce(image, 4, edges=kind) for kind in ("renormalise", "symmetric"))
    np.testing.assert_allclose(pil[:, 2:-2, 2:-2], matlab[:, 2:-2, 2:-2], atol=1e-14)
    assert np.abs(pil - matlab).max() > 1e-3


def test_a_gaussian_beam_has_the_width_that_it_is_given():
    factor = 16
    point = np.zeros((1, 9 * factor, 9 * factor))
    profile = []
    for shift in range(-factor, factor + 1):
        point[:] = 0
        point[0, :, 4 * factor + factor // 2 + shift] = 1
        profile.append(gaussian_beam(point, factor, fwhm=1.0)[0, 4, 4])
    half = np.asarray(profile) >= max(profile) / 2
    assert abs(half.sum() - factor) <= 1


def test_a_wide_spot_overlaps_its_neighbours_and_a_thin_one_sees_the_centre():
    image = np.zeros((1, 15, 15))
    image[0, 7, 7] = 1
    assert round_spot(image, 5, diameter=0.2)[0, 1, 1] == pytest.approx(1.0)
    assert np.count_nonzero(round_spot(image, 5, diameter=1.0)) == 1
    assert np.count_nonzero(round_spot(image, 5, diameter=3.0)) > 1


def test_a_round_spot_gathers_a_disc():
    weights = [round_spot(np.eye(1, 64, k).reshape(1, 8, 8), 8)[0, 0, 0] for k in range(64)]
    area = np.pi / 4 * 64
    disc = np.reshape(weights, (8, 8))
    assert disc.sum() == pytest.approx(1)
    assert disc[4, 4] == pytest.approx(1 / area, rel=5e-3)
    assert disc[0, 0] == 0


@settings(max_examples=20)
@given(st.floats(0.05, 5), st.floats(1, 500), st.integers(0, 99))
def test_counted_ions_have_the_mean_and_variance_of_poisson(level, dose, seed):
    counted = count_ions(np.full((200, 200), level), dose, np.random.default_rng(seed))
    spread = np.sqrt(level / dose)
    assert abs(counted.mean() - level) < 6 * spread / 200
    assert counted.var() == pytest.approx(level / dose, rel=0.2)
    whole = counted * dose
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-6)


def test_zero_and_negative_intensities_count_no_ion():
    counted = count_ions(np.array([0.0, -3.0]), 50.0, np.random.default_rng(0))
    np.testing.assert_array_equal(counted, [0.0, 0.0])


@pytest.mark.parametrize("dose", [0, -1, float("nan"), float("inf")])
def test_a_dose_that_is_no_number_of_ions_is_refused(dose):
    with pytest.raises(ConfigurationError, match="dose"):
        count_ions(np.ones(3), dose, np.random.default_rng(0))


def test_lost_lines_are_whole_rows_and_the_same_in_every_channel():
    values = np.ones((3, 400, 5))
    kept = drop_lines(values, 0.25, np.random.default_rng(1))
    per_row = kept[:, :, 0]
    assert set(np.unique(kept)) == {0.0, 1.0}
    np.testing.assert_array_equal(kept, np.broadcast_to(per_row[:1, :, None], kept.shape))
    assert 0.65 < per_row.mean() < 0.85


@given(arrays(np.float64, (3, 5), elements=st.floats(-1, 2)))
def test_quantising_twice_changes_nothing_more_and_moves_by_half_a_level_at_most(values):
    once = quantise8(values)
    np.testing.assert_array_equal(quantise8(once), once)
    assert np.abs(once - np.clip(values, 0, 1)).max() <= 0.5 / 255 + 1e-15


def test_quantising_maps_every_level_of_a_byte_image_onto_itself():
    levels = np.arange(256) / 255
    np.testing.assert_array_equal(quantise8(levels), levels)
    np.testing.assert_array_equal(quantise8(levels.astype(np.float32)), levels)


def test_a_beam_is_cut_off_at_four_sigma():
    """At a sigma of a quarter of a coarse pixel the weights end one coarse pixel from the centre."""
    fwhm = 0.25 * np.sqrt(8 * np.log(2))
    for fine in range(40):
        impulse = np.zeros((1, 40, 8))
        impulse[0, fine] = 1.0
        seen = gaussian_beam(impulse, 8, fwhm=fwhm)[0, :, 0]
        distance = np.abs(fine - (np.arange(5) * 8 + 3.5)) / 8
        np.testing.assert_array_equal(seen > 0, distance <= 1.0)


def test_a_beam_is_one_coarse_pixel_wide_unless_said_otherwise():
    values = np.random.default_rng(0).random((1, 12, 16))
    np.testing.assert_array_equal(gaussian_beam(values, 4), gaussian_beam(values, 4, fwhm=1.0))
    assert (gaussian_beam(values, 4) != gaussian_beam(values, 4, fwhm=2.0)).any()


def test_a_beam_much_thinner_than_a_fine_pixel_sees_those_nearest_to_its_centre():
    values = np.random.default_rng(0).random((1, 12, 16))
    even = gaussian_beam(values, 4, fwhm=1e-3)
    inner = values.reshape(1, 3, 4, 4, 4)[:, :, 1:3, :, 1:3].mean(axis=(2, 4))
    np.testing.assert_allclose(even, inner)
    odd = gaussian_beam(values[:, :, :15], 3, fwhm=1e-3)
    np.testing.assert_allclose(odd, values[:, 1::3, 1:15:3])


def test_a_beam_of_any_width_is_the_weighted_mean_within_four_sigma():
    """In plain loops; at a width of 3 four sigma are more than five coarse pixels."""
    lines = np.random.default_rng(0).random((1, 40, 2))
    for fwhm in (0.4, 1.0, 3.0):
        sigma, expected = fwhm / 2.3548200450309493, []
        for coarse in range(20):
            distance = (np.arange(40) - (2 * coarse + 0.5)) / 2
            weight = np.exp(-(distance**2) / (2 * sigma**2)) * (abs(distance) <= 4 * sigma)
            expected.append((weight * lines[0].mean(axis=1)).sum() / weight.sum())
        np.testing.assert_allclose(gaussian_beam(lines, 2, fwhm=fwhm)[0, :, 0], expected)


@pytest.mark.parametrize(("factor", "diameter"), [(2, 1.7), (3, 1.0), (3, 2.4), (4, 0.6)])
def test_a_spot_is_the_mean_of_the_samples_under_it(factor, diameter):
    """16 x 16 samples a fine pixel, each looked at by itself; what lies beyond the image does not count."""
    rows, columns = 3 * factor, 2 * factor
    values = np.random.default_rng(0).random((1, rows, columns))
    down, across = ((np.arange(16 * side) + 0.5) / 16 - 0.5 for side in (rows, columns))
    fine = values[0].repeat(16, 0).repeat(16, 1)
    found = round_spot(values, factor, diameter=diameter)
    assert found.shape == (1, 3, 2)
    for row in range(3):
        for column in range(2):
            middle = factor * row + (factor - 1) / 2, factor * column + (factor - 1) / 2
            square = (down[:, None] - middle[0]) ** 2 + (across - middle[1]) ** 2
            under = square <= (diameter * factor / 2) ** 2
            assert found[0, row, column] == pytest.approx(fine[under].mean(), rel=1e-12)


def test_a_spot_smaller_than_the_samples_sees_the_pixels_at_its_centre():
    values = np.random.default_rng(0).random((2, 12, 24))
    np.testing.assert_allclose(round_spot(values, 3, diameter=1e-3), values[:, 1::3, 1::3])
    inner = values.reshape(2, 3, 4, 6, 4)[:, :, 1:3, :, 1:3].mean(axis=(2, 4))
    np.testing.assert_allclose(round_spot(values, 4, diameter=1e-3), inner)


@pytest.mark.parametrize("width", [0, 0.0, -1.0, float("nan")])
def test_a_probe_without_a_width_is_refused(width):
    values = np.ones((1, 4, 4))
    with pytest.raises(ConfigurationError, match="fwhm must be a positive number"):
        gaussian_beam(values, 2, fwhm=width)
    with pytest.raises(ConfigurationError, match="diameter must be a positive number"):
        round_spot(values, 2, diameter=width)


def test_less_than_one_ion_may_be_expected_at_one():
    counted = count_ions(np.full(40_000, 3.0), 0.5, np.random.default_rng(0))
    assert set(counted) <= set(2.0 * np.arange(20))  # whole ions, each of an intensity of 2
    assert counted.mean() == pytest.approx(3.0, abs=0.1)


def test_no_line_or_nearly_all_may_be_lost_but_not_every_one():
    values = np.ones((2, 50, 3))
    np.testing.assert_array_equal(drop_lines(values, 0.0, np.random.default_rng(0)), values)
    assert drop_lines(values, 0.999, np.random.default_rng(0)).mean() < 0.1
    for wrong in (1, 1.0, 1.5, -0.01, float("nan")):
        with pytest.raises(ConfigurationError, match="fraction must lie in"):
            drop_lines(values, wrong, np.random.default_rng(0))


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (0, 8), (8, 0), (2, 2)])
def test_both_sides_must_hold_whole_blocks(shape):
    with pytest.raises(ConfigurationError, match="whole blocks of 4 x 4"):
        check_divides(shape, 4)
    check_divides((4, 8), 4)
    with pytest.raises(ConfigurationError, match="at least 1, got 0"):
        check_divides(shape, 0)


def test_the_cubic_kernel_is_that_of_keys():
    """1 - 2.5 d^2 + 1.5 d^3 up to 1, and 2 - 4 d + 2.5 d^2 - 0.5 d^3 up to 2."""
    found = keys_kernel(np.array([0.0, 0.5, -0.5, 1.0, 1.5, -1.5, 2.0, 2.5]))
    np.testing.assert_allclose(found, [1, 0.5625, 0.5625, 0, -0.0625, -0.0625, 0, 0], atol=1e-15)
