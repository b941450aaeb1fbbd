import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.scoring.normalise import anchored, error_of, minmax
from msibench.scoring.schemes import WeightedMetric

PSNR = WeightedMetric(name="psnr", weight=1, direction="higher", scale="decibel", perfect=np.inf)
SSIM = WeightedMetric(name="ssim", weight=1, direction="higher")
SD = WeightedMetric(name="sd_ratio", weight=1, direction="one")
DISTS = WeightedMetric(name="dists", weight=1, direction="lower", perfect=0.0)

errors = st.floats(1e-6, 1e6)


@given(errors, errors)
def test_exchanging_method_and_control_flips_the_sign(error, control):
    there = anchored(np.array(error), np.array(control))
    back = anchored(np.array(control), np.array(error))
    np.testing.assert_allclose(there, -back, atol=1e-12)
    assert -1 <= there <= 1


@given(errors)
def test_the_control_gets_zero_and_the_truth_one(control):
    assert anchored(np.array(control), np.array(control)) == 0
    assert anchored(np.array(0.0), np.array(control)) == 1


def test_psnr_is_read_as_the_mean_squared_error_behind_it():
    mse, control = 0.002, 0.008
    values = -10 * np.log10([mse, control])
    error = error_of(values, PSNR)
    np.testing.assert_allclose(error, [mse, control])
    assert anchored(error[0], error[1]) == pytest.approx(1 - mse / control)
    assert error_of(np.array(np.inf), PSNR) == 0


def test_sd_is_judged_by_its_distance_from_one():
    np.testing.assert_allclose(error_of(np.array([0.8, 1.2, 1.0]), SD), [0.2, 0.2, 0.0], atol=1e-12)


def test_nothing_left_to_gain_is_undefined_and_worse_than_a_perfect_control_is_minus_one():
    assert np.isnan(anchored(np.array(0.0), np.array(0.0)))
    assert anchored(np.array(0.1), np.array(0.0)) == -1


def test_minmax_gives_the_best_one_and_the_worst_zero_in_every_direction():
    values = np.array([[0.1, 0.3, 0.2], [0.5, 0.4, 0.9]])
    np.testing.assert_allclose(minmax(values, SSIM), [[0, 1, 0.5], [0.2, 0, 1]])
    np.testing.assert_allclose(minmax(values, DISTS), 1 - minmax(values, SSIM))
    near = minmax(np.array([[0.5, 1.1, 1.3]]), SD)
    np.testing.assert_allclose(near, [[0, 1, 0.5]])


def test_minmax_of_a_tie_is_a_half_and_of_a_single_method_undefined():
    np.testing.assert_allclose(minmax(np.array([[2.0, 2.0]]), SSIM), 0.5)
    assert np.isnan(minmax(np.array([[2.0], [3.0]]), SSIM)).all()
    lonely = minmax(np.array([[2.0, np.nan]]), SSIM)
    assert np.isnan(lonely).all()


def test_infinity_never_enters_a_scaled_value():
    scaled = minmax(np.array([[1.0, 2.0, np.inf]]), PSNR)
    np.testing.assert_array_equal(scaled, [[0.0, 1.0, np.nan]])


def test_pooled_the_worst_and_the_best_are_those_of_all_images():
    values = np.array([[1.0, 3.0], [2.0, np.nan]])
    np.testing.assert_allclose(minmax(values, SSIM, pooled=True), [[0.0, 1.0], [0.5, np.nan]])
    np.testing.assert_allclose(minmax(values, SSIM), [[0.0, 1.0], [np.nan, np.nan]])
