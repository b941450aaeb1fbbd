"""Where the veil of a page lies: against the normal intervals of each level, written out."""

from statistics import NormalDist

import numpy as np
import pytest

from msibench.contracts.metric import CalibratedInterval, ToldInterval
from msibench.leaderboard.veil import NEVER, calibrated_levels, supported_levels


@pytest.fixture
def told():
    rng = np.random.default_rng(0)
    low = rng.uniform(0.2, 1, (1, 4, 5))
    fine = low.repeat(3, 1).repeat(3, 2) + rng.normal(0, 0.2, (1, 12, 15))
    deviation = rng.uniform(0.02, 0.2, fine.shape)
    reach = NormalDist().inv_cdf(0.95) * deviation
    interval = ToldInterval(
        lower=(fine - reach).astype(np.float32), upper=(fine + reach).astype(np.float32), level=0.9
    )
    return low, fine, deviation, interval


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.99])
def test_a_pixel_is_veiled_where_the_interval_of_the_level_holds_the_measured_pixel(told, level):
    low, fine, deviation, interval = told
    levels = supported_levels(low[0], fine[0], interval, 0, top=1.0)
    flat = low[0].repeat(3, 0).repeat(3, 1)
    reach = NormalDist().inv_cdf((1 + level) / 2) * deviation[0]
    held = (fine[0] - reach <= flat) & (flat <= fine[0] + reach)
    seen = np.abs(fine[0] - flat) > 0.03
    veiled = levels < 254 * level
    near = np.abs(levels / 254 - level) < 0.01  # rounding to 8 bits
    np.testing.assert_array_equal(veiled[~near], (held & seen)[~near])
    assert (levels[~seen] == NEVER).all()


def test_an_end_at_zero_holds_the_zero_of_the_measured_pixel():
    low, fine = np.zeros((1, 1)), np.full((1, 2, 2), 0.5)
    interval = ToldInterval(
        lower=np.zeros((1, 2, 2), np.float32), upper=np.ones((1, 2, 2), np.float32), level=0.9
    )
    levels = supported_levels(low, fine[0], interval, 0, top=1.0)
    assert (levels <= 254 * 0.9).all()


def test_where_nothing_is_told_all_detail_is_veiled():
    low, fine = np.zeros((1, 1)), np.array([[[0.5, 0.0], [0.5, 0.5]]])
    nothing = np.full((1, 2, 2), np.nan, np.float32)
    interval = ToldInterval(lower=nothing, upper=nothing, level=0.9)
    levels = supported_levels(low, fine[0], interval, 0, top=1.0)
    np.testing.assert_array_equal(levels, [[0, NEVER], [0, 0]])


@pytest.mark.parametrize("level", [0.5, 0.77, 0.9, 0.99])
def test_the_interval_of_the_harness_is_that_of_the_signal_at_its_own_levels(told, level):
    low, fine, deviation, _ = told
    levels = np.arange(50, 100) / 100
    quantiles = np.sort(np.random.default_rng(1).uniform(0.2, 3, 50))[None]
    found = CalibratedInterval(
        reach=np.full(fine.shape, 9, np.float32), signal=deviation.astype(np.float32),
        quantiles=quantiles, levels=levels, up=np.array([1.7]), floor=0.0, calibrated="here",
    )  # fmt: skip
    reached = calibrated_levels(low[0], fine[0], found, 0, top=1.0)
    flat = low[0].repeat(3, 0).repeat(3, 1)
    lower, upper = found.ends(fine, level, signal=True)
    held = (lower[0] <= flat) & (flat <= upper[0])
    seen = np.abs(fine[0] - flat) > 0.03
    np.testing.assert_array_equal(reached < 254 * level, held & seen)
    assert (reached[~seen] == NEVER).all()
