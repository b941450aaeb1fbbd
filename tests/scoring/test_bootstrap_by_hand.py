"""The interval against the textbook: draws are lists of values, and every sum is written out."""

import math

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from msibench.metrics.products import _libraries
from msibench.scoring.bootstrap import _resample, _Sums, mean_and_sem, two_level_bootstrap
from msibench.scoring.replicates import few_replicates

UNEQUAL = (1, 2, 3, 4, 5, 3)
HOLES = {4, 9}


def by_hand(values, sizes, draws, seed, level):
    """Bootstrap-t interval of one column (Davison & Hinkley 1997, 5.2), draw by draw."""
    rng = np.random.default_rng(seed)
    fixed = len(sizes) < 5
    sections = np.split(np.asarray(values), np.cumsum(sizes)[:-1])
    if fixed:
        picks = np.ones((draws, len(sizes)), dtype=int)
    else:
        taken = rng.integers(len(sizes), size=(draws, len(sizes)), dtype=np.uint16)
        picks = np.array([np.bincount(row, minlength=len(sizes)) for row in taken])
    drawn = [[] for _ in range(draws)]
    for number, section in enumerate(sections):
        for slot in range(1, picks[:, number].max() + 1):
            which = [draw for draw in range(draws) if picks[draw, number] >= slot]
            images = np.zeros((len(which), 1), dtype=int)  # a lone image needs no draw
            if len(section) > 1:
                images = rng.integers(
                    len(section), size=(len(which), len(section)), dtype=np.uint16
                )
            for draw, chosen in zip(which, images, strict=True):
                drawn[draw].append(section[chosen])
    mean, error = mean_and_error(sections, fixed)
    pivots = []
    for resampled in drawn:
        mean_star, error_star = mean_and_error(resampled, fixed)
        above = mean_star - mean
        pivots.append(above / error_star if error_star else math.copysign(math.inf, above))
    pivots.sort()
    first = max(math.ceil((1 - level) / 2 * draws) - 1, 0)
    return mean - pivots[draws - 1 - first] * error, mean - pivots[first] * error


def mean_and_error(sections, fixed):
    """Mean over images, and its linearised standard error over sections or inside them."""
    known = [section[np.isfinite(section)] for section in sections]
    known = [section for section in known if len(section)]
    count = sum(map(len, known))
    mean = sum(float(section.sum()) for section in known) / count
    variance = 0.0
    for section in known:
        if fixed and len(section) > 1:
            squares = float(((section - section.mean()) ** 2).sum())
            variance += len(section) / (len(section) - 1) * squares
        elif not fixed:
            k = len(known)
            variance += k / (k - 1) * float((section - mean).sum()) ** 2
    return mean, math.sqrt(variance) / count


@pytest.mark.parametrize("sizes", [(3,) * 6, UNEQUAL, (4, 6, 3), (5, 5)])
@pytest.mark.parametrize("level", [0.95, 0.8])
@pytest.mark.parametrize("holes", [False, True])
def test_the_interval_is_that_of_the_textbook(sizes, level, holes):
    values = np.random.default_rng(7).gamma(2.0, size=sum(sizes))
    if holes:
        values[list(HOLES)] = np.nan
    names = np.repeat(np.arange(len(sizes)), sizes)
    found = two_level_bootstrap(values, names, draws=200, seed=3, level=level)
    low, high = by_hand(values, sizes, 200, 3, level)
    assert found.low == pytest.approx(low, rel=1e-9)
    assert found.high == pytest.approx(high, rel=1e-9)
    assert found.mean == pytest.approx(np.nanmean(values))
    assert found.images == np.isfinite(values).sum()


@pytest.mark.parametrize(
    ("sizes", "scope"),
    [
        ((1,) * 5, "sections"),
        ((2,) * 4, "images"),
        ((2, 2, 2, 1), ""),
        ((5,), "images"),
        ((4,), ""),
    ],
)
def test_what_an_interval_holds_for_changes_at_five_sections_and_four_spare_images(sizes, scope):
    values = np.random.default_rng(0).standard_normal(sum(sizes))
    found = two_level_bootstrap(values, np.repeat(np.arange(len(sizes)), sizes), draws=100)
    assert found.scope == scope
    assert bool(scope) or np.isnan(found.low)


@pytest.mark.parametrize(
    ("specimens", "sections", "images", "said"),
    [
        (5, 5, 5, ""),
        (5, 9, 9, ""),
        (4, 5, 5, "the interval holds for sections of these specimens only"),
        (1, 4, 8, "the interval holds for ion images of these sections only"),
        (4, 4, 8, "the interval holds for ion images of these sections only"),
        (4, 4, 7, "too few images (7) for an interval"),
        (0, 0, 0, "no defined value"),
    ],
)
def test_what_is_said_changes_at_the_same_numbers(specimens, sections, images, said):
    assert few_replicates(specimens, sections, images).endswith(said)
    assert bool(few_replicates(specimens, sections, images)) == bool(said)


def test_draws_and_level_have_ends():
    values, names = np.arange(10.0), np.repeat(np.arange(5), 2)
    two_level_bootstrap(values, names, draws=100)
    for wrong in ({"draws": 99}, {"level": 0.0}, {"level": 1.0}):
        with pytest.raises(ValueError, match="draws >= 100 and 0 < level < 1"):
            two_level_bootstrap(values, names, **wrong)


def test_columns_beyond_one_block_are_what_they_are_alone():
    values = np.random.default_rng(5).standard_normal((10, 515))
    names = np.repeat(np.arange(5), 2)
    together = two_level_bootstrap(values, names, draws=100)
    for column in (0, 511, 512, 514):
        alone = two_level_bootstrap(values[:, column], names, draws=100)
        assert together.low[column] == pytest.approx(float(alone.low), rel=1e-12)
        assert together.high[column] == pytest.approx(float(alone.high), rel=1e-12)


def test_draws_in_blocks_are_the_draws_at_once(monkeypatch):
    values = np.random.default_rng(6).standard_normal((24, 2))
    names = np.repeat(np.arange(6), 4)
    whole = two_level_bootstrap(values, names, draws=105)
    monkeypatch.setattr("msibench.scoring.bootstrap._CELLS", 64)
    parts = two_level_bootstrap(values, names, draws=105)
    np.testing.assert_array_equal(parts.low, whole.low)
    np.testing.assert_array_equal(parts.high, whole.high)


@pytest.mark.parametrize(
    ("sizes", "holes", "level"),
    [
        (UNEQUAL, {0, 4, 9}, 0.95),  # a section without any value
        ((3,) * 6, (), 0.995),  # the ends are the first and the last draw
        ((4, 1, 3), (), 0.8),
    ],
)
def test_sections_without_a_value_and_the_outermost_draws_are_those_of_the_textbook(
    sizes, holes, level
):
    values = np.random.default_rng(7).gamma(2.0, size=sum(sizes))
    values[list(holes)] = np.nan
    names = np.repeat(np.arange(len(sizes)), sizes)
    found = two_level_bootstrap(values, names, draws=200, seed=3, level=level)
    low, high = by_hand(values, sizes, 200, 3, level)
    assert [found.low, found.high] == pytest.approx([low, high], rel=1e-9)


@pytest.mark.parametrize("sizes", [(3,) * 6, UNEQUAL, (6, 4)])
@pytest.mark.parametrize("unit", [2.0**-40, 2.0**40])
def test_a_unit_that_is_a_power_of_two_changes_no_digit(sizes, unit):
    values = np.random.default_rng(8).standard_normal(sum(sizes))
    names = np.repeat(np.arange(len(sizes)), sizes)
    here, there = (two_level_bootstrap(v, names, draws=100) for v in (values, values * unit))
    assert (there.low, there.high) == (here.low * unit, here.high * unit)


def test_large_equal_values_have_an_interval_of_no_width_whatever_their_last_digit():
    values = 1e9 * (1 + np.tile([0.0, 2.3e-16], 6))
    assert len(set(values)) == 2
    found = two_level_bootstrap(values, np.repeat(np.arange(6), 2), draws=100)
    assert found.low == found.mean == found.high


def test_without_options_ten_thousand_draws_from_seed_0_give_95_percent():
    values, names = np.random.default_rng(9).standard_normal(10), np.repeat(np.arange(5), 2)
    plain = two_level_bootstrap(values, names)
    said = two_level_bootstrap(values, names, draws=10_000, seed=0, level=0.95)
    assert (plain.low, plain.high) == (said.low, said.high)
    for other in ({"draws": 10_001}, {"seed": 1}, {"level": 0.951}):
        assert two_level_bootstrap(values, names, **other).low != plain.low


def test_draws_that_hold_no_variation_around_the_mean_stand_at_0():
    """One image up, one down, four on the mean: three draws in ten have the mean 0, so 0.4 to 0.6 do."""
    values = np.array([1.0, -1.0, 0.0, 0.0, 0.0, 0.0])
    found = two_level_bootstrap(values, np.arange(6), draws=2000, level=0.2)
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)


def test_an_image_on_the_mean_adds_nothing_inside_fixed_sections():
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 3.0]
    found = two_level_bootstrap(values, [0, 0, 0, 0, 0, 1], draws=200)
    low, high = by_hand(values, (5, 1), 200, 0, 0.95)
    assert [found.low, found.high] == pytest.approx([low, high], rel=1e-9)


def test_a_single_image_is_its_own_mean():
    assert two_level_bootstrap([3.5], ["s"], draws=100).mean == 3.5
    assert two_level_bootstrap([3.5, np.nan], ["s", "s"], draws=100).mean == 3.5


def test_blas_keeps_to_one_thread(monkeypatch):
    def threads():
        return {each["num_threads"] for each in _libraries().info() if each["user_api"] == "blas"}

    def watched(*summed):
        inside.update(threads())
        return add(*summed)

    inside, add = set(), _Sums.add
    monkeypatch.setattr(_Sums, "add", watched)
    with threadpool_limits(2, "blas"):
        two_level_bootstrap(np.arange(10.0), np.arange(10), draws=100)
        assert threads() == {2}, "what was there before is there again"
    assert inside == {1}


@pytest.mark.parametrize(
    ("size", "kind"), [(3, np.uint16), (65535, np.uint16), (65536, np.uint32), (70000, np.uint32)]
)
def test_up_to_65535_things_are_drawn_as_narrow_numbers(size, kind):
    taken = np.random.default_rng(4).integers(size, size=size, dtype=kind)
    drawn = _resample(np.random.default_rng(4), 1, size)
    np.testing.assert_array_equal(drawn[0], np.bincount(taken, minlength=size))


def test_the_mean_of_one_value_has_no_error_and_that_of_two_has():
    mean, sem, count = mean_and_sem([1.5])
    assert (mean, count) == (1.5, 1)
    assert math.isnan(sem)
    assert mean_and_sem([1.0, 3.0]) == (2.0, 1.0, 2)
    assert math.isnan(mean_and_sem([])[0])
