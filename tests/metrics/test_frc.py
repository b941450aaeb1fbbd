from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from msibench.contracts.metric import Evaluation
from msibench.degradation import protocol
from msibench.image import as_stack
from msibench.metrics import band_power, frc
from msibench.metrics.band_power import evaluate as evaluate_power
from msibench.metrics.band_power import radial_power_ratio
from msibench.metrics.detail_specs import NO_DETAIL
from msibench.metrics.frc import (
    NO_SPLIT,
    TOO_SMALL,
    _crossing,
    chance_floor,
    evaluate,
    ring_correlation,
    threshold_curve,
)
from msibench.metrics.spectra import rings
from msibench.metrics.upsampling import bicubic

SHAPES = [(64, 64), (63, 90), (41, 57), (96, 33)]


def texture(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def low_passed(image, cut):
    """Keep the frequencies up to `cut` cycles per pixel only, with independent noise above."""
    rows, columns = (np.fft.fftfreq(side) for side in image.shape)
    keep = np.hypot(rows[:, None], columns[None, :]) <= cut
    own = np.fft.fft2(texture(image.shape, seed=9))
    return np.fft.ifft2(np.where(keep, np.fft.fft2(image), own)).real


@pytest.mark.parametrize("shape", SHAPES)
def test_the_truth_resolves_two_pixels(shape):
    assert frc(texture(shape), texture(shape), pixel_size_um=25.0) == pytest.approx(50.0)


@pytest.mark.parametrize("shape", [(128, 128), (127, 190), (200, 121)])
@pytest.mark.parametrize("cut", [0.125, 0.25])
def test_the_resolution_is_where_the_two_images_part(shape, cut):
    image = texture(shape)
    value = frc(low_passed(image, cut), image, pixel_size_um=10.0)
    assert value == pytest.approx(10.0 / cut, rel=0.12)


def test_pixel_size_scales_the_answer():
    image, other = texture((80, 60)), low_passed(texture((80, 60)), 0.2)
    assert frc(other, image, pixel_size_um=50) == pytest.approx(
        5 * float(frc(other, image, pixel_size_um=10))
    )


def test_gain_and_offset_do_not_change_a_correlation():
    image, other = texture((50, 70)), low_passed(texture((50, 70)), 0.2)
    plain, _ = ring_correlation(other, image)
    scaled, _ = ring_correlation(3 * other + 7, image)
    np.testing.assert_allclose(plain, scaled, atol=1e-9)


def test_every_coefficient_up_to_nyquist_lies_in_one_ring():
    for shape in SHAPES:
        ring, frequency = rings(shape)
        assert ring[0, 0] == -1
        assert frequency[-1] <= 0.5
        axis = (
            ring[: (shape[0] + 1) // 2, 0]
            if shape[0] <= shape[1]
            else ring[0, : (shape[1] + 1) // 2]
        )
        np.testing.assert_array_equal(axis[1:], np.arange(len(axis) - 1))


def test_a_constant_prediction_resolves_nothing_and_a_constant_truth_is_undefined():
    image = texture((40, 60))
    assert frc(np.full((40, 60), 0.3), image, pixel_size_um=10) == pytest.approx(400.0)
    assert np.isnan(frc(image, np.zeros((40, 60)), pixel_size_um=10))
    assert np.isnan(frc(image[:3], image[:3], pixel_size_um=10))


def test_unrelated_noise_resolves_next_to_nothing():
    values = [
        frc(texture((64, 80), s), texture((64, 80), s + 50), pixel_size_um=1) for s in range(20)
    ]
    assert np.median(values) > 12


def test_half_bit_asks_more_of_small_rings():
    curve = threshold_curve((64, 64), "half-bit")
    assert curve[0] == pytest.approx(
        (0.2071 + 1.9102 / 2) / (1.2071 + 0.9102 / 2)
    )  # 8 coefficients
    assert curve[:5].min() > curve[-5:].max() > 0.1716
    np.testing.assert_array_equal(threshold_curve((64, 64), 0.5), 0.5)
    with pytest.raises(ValueError, match="half-bit"):
        threshold_curve((64, 64), "0.5")


def test_a_stack_is_its_images_one_by_one():
    stack = np.stack([texture((33, 48), s) for s in range(3)])
    other = gaussian_filter(stack, (0, 1, 1))
    together = frc(other, stack, pixel_size_um=5)
    assert together.shape == (3,)
    for index in range(3):
        assert together[index] == pytest.approx(
            float(frc(other[index], stack[index], pixel_size_um=5))
        )


def test_blur_loses_power_and_noise_invents_it():
    image = gaussian_filter(texture((60, 45)), 0.8)
    assert band_power(image, image, above=0.125) == pytest.approx(1)
    assert band_power(gaussian_filter(image, 2), image, above=0.125) < 0.1
    assert band_power(image + texture((60, 45), 3), image, above=0.125) > 1.5
    assert band_power(2 * image, image, above=0.125) == pytest.approx(4)


def test_the_ratio_in_bands_is_the_square_of_a_gain_in_every_band():
    image = texture((31, 52))
    ratio, frequency = radial_power_ratio(3 * image, image, bands=5)
    np.testing.assert_allclose(ratio, 9)
    np.testing.assert_allclose(frequency, [0.1, 0.2, 0.3, 0.4, 0.5])


def test_a_truth_without_detail_has_no_ratio():
    assert np.isnan(band_power(texture((20, 30)), np.ones((20, 30)), above=0.125))


def cell(prediction, truth, **facts):
    return Evaluation(
        prediction=prediction.astype(np.float32),
        truth=as_stack(truth, **facts),
        low=as_stack(truth[:, ::4, ::4]),
        factor=4,
        degrade=lambda fine: fine[:, ::4, ::4],
        split=protocol("area-x4@1").split,
    )


def test_a_cell_has_the_curves_that_a_page_draws():
    truth = np.stack([texture((32, 40)), np.zeros((32, 40))])
    scored = evaluate(cell(truth, truth, pixel_size_um=10.0))
    assert scored.values[0] == pytest.approx(20)
    assert scored.reasons == ("", NO_DETAIL)
    assert scored.curves["correlation"].shape == (2, len(scored.curves["frequency"]))
    np.testing.assert_allclose(scored.curves["correlation"][0], 1)
    power = evaluate_power(cell(truth, truth))
    assert power.values[0] == pytest.approx(1)
    assert "no power" in power.reasons[1]


def test_without_a_pixel_size_there_is_a_curve_but_no_number():
    truth = texture((1, 32, 40))
    scored = evaluate(cell(truth, truth))
    assert np.isnan(scored.values).all()
    assert scored.reasons == ("the pixel size is not on record",)
    assert "correlation" in scored.curves


def resolution(test, truth):
    """Return the effective resolution of unseen detail, in µm."""
    images, truths = (np.asarray(one).reshape(-1, *one.shape[-2:]) for one in (test, truth))
    return evaluate(cell(images, truths, pixel_size_um=10.0)).values


def test_noise_that_truth_and_low_image_share_is_not_resolved():
    """Whole images "resolve" 45 µm of it at pixels of 10 µm, by nothing but pixel replication."""
    noise, other = (texture((8, 128, 160), seed) for seed in (0, 1))
    chain = protocol("area-x4@1")
    for method in (lambda low: np.kron(low, np.ones((4, 4))), lambda low: bicubic(low, 4)):
        plain = frc(method(chain.degrade(noise)), noise, pixel_size_um=10.0).mean()
        assert 40 < plain < 60
        assert frc(method(chain.degrade(other)), noise, pixel_size_um=10.0).mean() > 900
        for low in (chain.degrade(noise), chain.degrade(other)):
            assert resolution(method(low), noise).mean() == pytest.approx(80, rel=0.05)


def test_right_detail_is_resolved_as_far_as_it_goes():
    image = texture((128, 160))
    assert resolution(image, image) == pytest.approx(20.0)
    assert resolution(low_passed(image, 0.25), image) == pytest.approx(40.0, rel=0.12)
    assert resolution(low_passed(image, 0.05), image) == pytest.approx(80.0)


def test_white_noise_stays_below_its_floor():
    shape = (96, 128)
    curves = [
        ring_correlation(texture(shape, 2 * n), texture(shape, 2 * n + 1))[0] for n in range(40)
    ]
    below = np.mean(np.array(curves) < chance_floor(shape))
    assert 0.92 < below < 0.99


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("size", [0.01, 100.0])
def test_a_cell_is_cut_where_its_curve_falls_below_threshold_and_floor(factor, size):
    """The curve falls from 1 with the frequency; the floor is the higher limit of the first rings."""
    truth = size * texture((2, 32, 40))
    blurred = gaussian_filter(truth, (0, 0.8, 0.8)) + 0.5 * size * texture((2, 32, 40), 1)
    asked = replace(cell(blurred, truth, pixel_size_um=0.5), factor=factor)
    scored = evaluate(asked)
    split = protocol("area-x4@1").split
    parts = [split(one.astype(np.float32))[1] for one in (blurred, truth)]
    curves, frequency = ring_correlation(*parts)
    limit = np.maximum(1 / 7, chance_floor((32, 40)))
    assert (limit > 1 / 7).any()
    for value, curve in zip(scored.values, curves, strict=True):
        cut = _crossing(curve, limit, frequency, 0.5 / factor)
        assert value == pytest.approx(0.5 / cut, rel=1e-4)
        assert (value == 1.0) == (
            factor == 1
        )  # from Nyquist's frequency on there is no more to see
    assert scored.reasons == ("", "")
    np.testing.assert_array_equal(scored.curves["floor"], chance_floor((32, 40)))
    np.testing.assert_array_equal(scored.curves["threshold"], [1 / 7] * 16)
    whole = frc(blurred[0], truth[0], pixel_size_um=0.5)  # no floor, and from the first ring on
    curve, _ = ring_correlation(blurred[0], truth[0])
    plain = _crossing(curve, np.full(16, 1 / 7), frequency, 0.0)
    assert float(whole) == pytest.approx(0.5 / plain)


def test_the_first_rings_of_unlike_images_are_held_to_the_threshold_alone():
    first, second = texture((12, 16), 3), texture((12, 16), 8)
    curve, frequency = ring_correlation(first, second)
    limit = 0.5 * (curve.max() + np.sort(curve)[-2])  # one ring alone is above
    assert 0 < limit < chance_floor((12, 16)).max()
    found = frc(first, second, pixel_size_um=1.0, threshold=limit)
    assert float(found) == 1 / _crossing(curve, np.full(6, limit), frequency, 0.0)
    np.testing.assert_allclose(chance_floor((4, 4)), [1.645 / 2, 1.0])  # of 8 and of 2 coefficients


def test_four_rows_are_enough_and_three_have_no_value_in_a_stack():
    truth = texture((2, 4, 40))
    scored = evaluate(cell(truth, truth, pixel_size_um=10.0))
    np.testing.assert_allclose(scored.values, 20.0)
    thin = texture((2, 3, 40))
    found = frc(thin, thin, pixel_size_um=1.0)
    np.testing.assert_array_equal(found, [np.nan, np.nan])


def test_a_cell_without_a_split_or_with_too_few_pixels_says_so():
    truth = texture((2, 32, 40))
    scored = evaluate(replace(cell(truth, truth, pixel_size_um=10.0), split=None))
    assert np.isnan(scored.values).all()
    assert scored.reasons == (NO_SPLIT,) * 2
    narrow = replace(
        cell(truth, truth), prediction=truth[:, :3].astype(np.float32), truth=as_stack(truth[:, :3])
    )
    assert evaluate(narrow).reasons == (TOO_SMALL,) * 2
