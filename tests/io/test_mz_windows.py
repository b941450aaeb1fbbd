"""Windows are exactly the numbers for which |m - mz| <= ppm 1e-6 mz holds in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.errors import ConfigurationError
from msibench.image import as_stack
from msibench.io.channel_choice import choose_channels
from msibench.io.float32_range import refuse_infinite
from msibench.io.mz_windows import mz_windows


@given(st.floats(1e-3, 1e6), st.floats(0, 1e5))
def test_the_bounds_are_the_outermost_numbers_inside(mz, ppm):
    found = mz_windows(mz, ppm)
    tolerance = ppm * 1e-6 * mz
    for bound, outward in ((found.low[0], -np.inf), (found.high[0], np.inf)):
        assert abs(bound - mz) <= tolerance
        assert abs(np.nextafter(bound, outward) - mz) > tolerance
    assert found.low[0] <= mz <= found.high[0]


def test_windows_ascend_whatever_was_asked_for_first():
    found = mz_windows([500.0, 100.0, 300.0], 10)
    np.testing.assert_array_equal(found.order, [1, 2, 0])
    np.testing.assert_array_equal(found.mz, [500, 100, 300])
    np.testing.assert_allclose(found.low, [100 - 1e-3, 300 - 3e-3, 500 - 5e-3])
    np.testing.assert_allclose(found.high, [100 + 1e-3, 300 + 3e-3, 500 + 5e-3])
    assert found.ppm == 10.0


@pytest.mark.parametrize("mz", [[], [[1.0]], 0.0, -1.0, np.nan, np.inf])
def test_what_is_no_mz_is_refused(mz):
    with pytest.raises(ConfigurationError, match="m/z"):
        mz_windows(mz, 5)


@pytest.mark.parametrize("ppm", [-1e-9, 1e6, np.nan, np.inf])
def test_what_is_no_width_is_refused(ppm):
    mz_windows(100.0, 0)
    mz_windows(100.0, 999_999)
    with pytest.raises(ConfigurationError, match="ppm must be at least 0"):
        mz_windows(100.0, ppm)


def stack(mz):
    values = np.arange(len(mz), dtype=float)[:, None, None] * np.ones((1, 2, 3))
    return as_stack(values, mz)


def test_the_nearest_channel_within_the_width_is_taken_in_the_order_asked_for():
    image = stack([np.nan, 100.0, 100.0008, 300.0])
    found = choose_channels(image, [300.0, 100.0005], 5, "a.npz")
    np.testing.assert_array_equal(found.mz, [300.0, 100.0008])
    np.testing.assert_array_equal(found.values[:, 0, 0], [3, 2])
    assert choose_channels(image, None, 5, "a.npz") is image
    whole = stack([100.0, 300.0])
    assert choose_channels(whole, [100.0, 300.0], 5, "a.npz") is whole


def test_an_mz_at_the_edge_of_the_width_is_inside():
    image = stack([500.0, 600.0])
    inside = 500.0 - mz_windows(500.0, 10).low[0]
    assert choose_channels(image, [500.0], 10, "a").channels == 1
    for off, found in ((0.999 * inside, True), (1.001 * inside, False)):
        if found:
            assert choose_channels(image, [500.0 + off], 10, "a").mz[0] == 500.0
        else:
            with pytest.raises(
                ConfigurationError, match=r"nearest is m/z 500\.0000.*2 channels from"
            ):
                choose_channels(image, [600.0, 500.0 + off], 10, "a")


def test_a_stack_without_mz_gets_one_a_channel():
    image = stack([np.nan, np.nan])
    np.testing.assert_array_equal(choose_channels(image, [9.0, 8.0], 5, "a").mz, [9, 8])
    with pytest.raises(ConfigurationError, match=r"2 channels have.*\(got 1\)"):
        choose_channels(image, [9.0], 5, "a")


LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("value", [np.inf, -np.inf, LARGEST * 1.0001, -LARGEST * 1.0001])
def test_what_float32_cannot_hold_is_counted_and_refused(value):
    with pytest.raises(Exception, match="a: 2 intensities are infinite"):
        refuse_infinite(np.array([[1.0, value], [value, np.nan]]), "a")


@pytest.mark.parametrize(
    "values",
    [[LARGEST, -LARGEST, np.nan], [np.nan], [], np.array([2**63], np.uint64), np.zeros((2, 0))],
)
def test_what_float32_holds_passes(values):
    refuse_infinite(np.asarray(values), "a")
