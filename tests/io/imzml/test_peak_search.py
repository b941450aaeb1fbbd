"""The search for peaks on bins, each step against its plain definition."""

import numpy as np
import pytest

from msibench.io.imzml import strongest_peaks as module
from msibench.io.imzml.strongest_peaks import (
    BINS_PER_WINDOW,
    FEWEST_SAMPLES,
    Bins,
    Sampling,
    _apart,
    _around,
    _in_window,
    sampling_of,
    strongest_of_axis,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("half", [0, 1, 2, 5, 9])
def test_a_window_is_the_sum_of_its_bins(half):
    values = RNG.random(10)
    expected = [values[max(0, at - half) : at + half + 1].sum() for at in range(10)]
    np.testing.assert_allclose(_in_window(values, half), expected)


def test_nothing_lies_beyond_the_ends():
    found = _around(np.array([1.0, 2.0, 3.0]), np.array([0, 2, 1]), np.array([-1, 0, 1, 2]))
    np.testing.assert_array_equal(found, [[0, 1, 2, 3], [2, 3, 0, 0], [1, 2, 3, 0]])


@pytest.mark.parametrize("distance", [1, 2, 3, 7])
def test_places_are_apart_and_the_best_come_first(distance):
    order = RNG.permutation(30)
    taken = []
    for index, place in enumerate(order):
        if all(abs(place - order[other]) >= distance for other in taken):
            taken.append(index)
    np.testing.assert_array_equal(_apart(order, distance, 30), taken)


@pytest.mark.parametrize("ppm", [1.0, 5.0, 50.0])
def test_a_half_width_is_five_bins_whatever_the_mz(ppm):
    top = 2000.0 if ppm > 1 else 150.0  # as many bins as may be
    bins = Bins(100.0, top, ppm, None)
    assert bins.search == BINS_PER_WINDOW == 5
    for mz in (100.0, 117.5, top * 0.99):
        at, beyond = np.interp(np.log([mz, mz * (1 + ppm * 1e-6)]), bins.nodes, bins.places)
        assert beyond - at == pytest.approx(5, rel=1e-6)
    first, last = np.interp(np.log([100.0, top]), bins.nodes, bins.places)
    assert first == pytest.approx(0.5)
    assert int(last) + 1 < bins.amount.size <= int(last) + 3
    assert bins.moment.size == bins.amount.size
    assert Bins(100.0, 100.0, ppm, None).amount.size >= 2


def test_there_are_no_more_bins_than_may_be(monkeypatch):
    monkeypatch.setattr(module, "MOST_BINS", 1000)
    bins = Bins(100.0, 2000.0, 1.0, None)
    assert 990 <= bins.amount.size <= 1000
    assert bins.search == 1


def test_windows_are_as_wide_as_samples_of_profiles_ask():
    step = 4e-5
    sampling = Sampling(np.log([100.0, 2000.0]), np.array([step, step]))
    bins = Bins(100.0, 2000.0, 5.0, sampling)
    at, beyond = np.interp(np.log(500.0) + np.array([0, 1.2 * step]), bins.nodes, bins.places)
    assert beyond - at == pytest.approx(5, rel=1e-6)
    narrow = Bins(100.0, 2000.0, 100.0, sampling)
    np.testing.assert_allclose(narrow.places, Bins(100.0, 2000.0, 100.0, None).places)


def test_peaks_are_means_of_their_windows():
    mz = np.array([200.0, 200.0004, 300.0, 400.0, 400.0, np.nan, 500.0, -1.0, 600.0, 700.0])
    total = np.array([30.0, 10.0, 80.0, 10.0, 30.0, 9.0, np.inf, 5.0, 0.0, -3.0])
    found = strongest_of_axis(mz, total, 9, 4, 5.0, None)
    np.testing.assert_allclose(found.mz, [300, 200.0001, 400], rtol=1e-8)
    np.testing.assert_allclose(found.intensity, [20, 10, 10])
    assert found.offered == 3
    one = strongest_of_axis(mz, total, 1, 0, 5.0, None)
    np.testing.assert_allclose(one.intensity, [80])
    assert one.offered == 3
    none = strongest_of_axis(mz[-2:], total[-2:], 9, 4, 5.0, None)
    assert (none.mz.size, none.intensity.size, none.offered) == (0, 0, 0)


def test_a_narrow_window_lies_around_the_strongest_bin_that_the_search_may_look_at():
    bins = Bins(100.0, 2000.0, 5.0, None)
    bins.search = 2 * BINS_PER_WINDOW  # as for profiles: the window itself is half as wide
    place = bins.amount.size // 2

    def centre_of(amounts):
        bins.amount[:] = 0
        for step, amount in amounts.items():
            bins.amount[place + step] = amount
        (centre,) = bins._centres(np.array([place]))
        return np.interp(np.log(centre), bins.nodes, bins.places) - (place + 0.5)

    assert centre_of({0: 1, 10: 2}) == pytest.approx(10, abs=1e-3)
    assert centre_of({0: 1, -10: 2}) == pytest.approx(-10, abs=1e-3)
    assert centre_of({0: 1, 11: 2}) == pytest.approx(0, abs=1e-3)
    assert centre_of({0: 1, -11: 2}) == pytest.approx(0, abs=1e-3)
    assert centre_of({0: 3, 5: 1}) == pytest.approx(1.25, abs=1e-3)
    assert centre_of({0: 3, 6: 1}) == pytest.approx(0, abs=1e-3)


def test_samples_of_profiles_lie_evenly_and_peaks_do_not():
    even = 100.0 * 1.0001 ** np.arange(400)
    uneven = np.sort(RNG.uniform(100, 1000, 400))
    found = sampling_of([even], profile=None)
    np.testing.assert_allclose(found.step, np.log(1.0001), rtol=1e-6)
    assert found.step.size == found.log_mz.size == module.SAMPLING_GROUPS
    groups = np.array_split(np.log(even)[1:], module.SAMPLING_GROUPS)
    np.testing.assert_allclose(found.log_mz, [np.median(group) for group in groups])
    assert sampling_of([uneven], profile=None) is None
    assert sampling_of([uneven], profile=True) is not None
    assert sampling_of([even], profile=False) is None
    assert sampling_of([], profile=True) is None
    mixed = sampling_of([uneven, even], profile=None)
    np.testing.assert_allclose(mixed.step, found.step)


def test_few_samples_say_nothing():
    just = 100.0 * 1.0001 ** np.arange(FEWEST_SAMPLES + 1)
    assert sampling_of([just], profile=True) is not None
    assert sampling_of([just[1:]], profile=True) is None
    repeated = np.repeat(just, 2)
    assert sampling_of([repeated], profile=True) is not None
    assert sampling_of([np.concatenate([[-5.0, 0.0], just[1:]])], profile=True) is None
    order = sampling_of([just[::1] * 2, just], profile=True)
    assert (np.diff(order.log_mz) > 0).all()
