import numpy as np
import pytest
from scipy import stats

from msibench.scoring.bootstrap import mean_and_sem, two_level_bootstrap


def nested(rng, kind, sections, images, between, within, repeats):
    """Values of `repeats` simulated studies with mean 0, one a column."""
    draw = {"normal": rng.standard_normal, "skewed": lambda s: rng.exponential(size=s) - 1}[kind]
    values = between * draw((sections, 1, repeats)) + within * draw((sections, images, repeats))
    return values.reshape(sections * images, repeats), np.repeat(np.arange(sections), images)


def coverage(kind, sections, images, between, within, repeats, draws=600, level=0.95):
    rng = np.random.default_rng(20250)
    values, names = nested(rng, kind, sections, images, between, within, repeats)
    hits = 0
    for first in range(0, repeats, 50):  # columns of one call share their draws
        block = two_level_bootstrap(
            values[:, first : first + 50], names, draws=draws, seed=first, level=level
        )
        hits += int(((block.low <= 0) & (block.high >= 0)).sum())
    return hits / repeats


SHORT = [(5, 12, 1.0, 1.0), (6, 1, 1.0, 0.3), (10, 8, 0.0, 1.0), (20, 8, 0.5, 1.0)]


@pytest.mark.parametrize(("sections", "images", "between", "within"), SHORT)
def test_a_nominal_95_percent_interval_covers_93_to_97_percent(sections, images, between, within):
    assert 0.93 <= coverage("normal", sections, images, between, within, 1500) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("sections", [5, 6, 10, 20, 40])
@pytest.mark.parametrize(
    ("images", "between", "within"),
    [(12, 1, 0.01), (12, 1, 1), (12, 0, 1), (1, 1, 0.3), (45, 0.3, 1)],
)
def test_the_interval_covers_for_every_mix_of_variation(sections, images, between, within):
    assert 0.93 <= coverage("normal", sections, images, between, within, 4000, draws=2000) <= 0.97


def test_skewed_sections_cost_little_coverage():
    assert 0.91 <= coverage("skewed", 6, 12, 1.0, 1.0, 1000) <= 0.97
    assert 0.92 <= coverage("skewed", 30, 4, 1.0, 1.0, 500) <= 0.97


def test_another_level_covers_as_it_says():
    assert 0.77 <= coverage("normal", 10, 5, 1.0, 1.0, 1000, level=0.8) <= 0.83


def test_inside_fixed_sections_the_interval_covers_other_images_of_them():
    rng = np.random.default_rng(3)
    offsets = np.array([-4.0, 4.0])
    hits = 0
    for trial in range(20):
        values = (offsets[:, None, None] + rng.standard_normal((2, 15, 50))).reshape(30, 50)
        block = two_level_bootstrap(values, np.repeat([0, 1], 15), draws=1000, seed=trial)
        hits += int(((block.low <= 0) & (block.high >= 0)).sum())
    assert set(block.scope) == {"images"}
    assert 0.93 <= hits / 1000 <= 0.97


def test_many_sections_of_one_image_give_the_t_interval():
    values = np.random.default_rng(0).standard_normal(200)
    interval = two_level_bootstrap(values, np.arange(200))
    half = stats.t.ppf(0.975, 199) * values.std(ddof=1) / np.sqrt(200)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_too_few_sections_are_said_instead_of_hidden():
    values = np.arange(12.0)
    interval = two_level_bootstrap(values, np.repeat(["a", "b", "c"], 4))
    assert interval.scope == "images"
    assert "too few sections (3 < 5)" in str(interval.note)
    alone = two_level_bootstrap(values[:3], ["a", "b", "c"])
    assert np.isnan(alone.low)
    assert "too few images" in str(alone.note)
    assert alone.mean == 1.0


def test_columns_with_holes_are_what_they_are_alone_without_the_holes():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((40, 3))
    values[::7, 1] = np.nan
    values[3, 1] = np.inf
    names = np.repeat(np.arange(8), 5)
    together = two_level_bootstrap(values, names, draws=4000)
    kept = np.isfinite(values[:, 1])
    alone = two_level_bootstrap(values[kept, 1], names[kept], draws=4000)
    assert together.mean[1] == pytest.approx(alone.mean)
    assert together.images[1] == kept.sum()
    width = alone.high - alone.low
    assert together.low[1] == pytest.approx(alone.low, abs=0.1 * width)
    assert together.high[1] == pytest.approx(alone.high, abs=0.1 * width)


def test_a_column_is_the_same_alone_and_in_company_and_under_any_order_of_images():
    rng = np.random.default_rng(2)
    values, names = rng.standard_normal((30, 4)), np.repeat(np.arange(6), 5)
    together = two_level_bootstrap(values, names)
    alone = two_level_bootstrap(values[:, 2], names)
    assert together.low[2] == pytest.approx(float(alone.low), rel=1e-12)
    assert two_level_bootstrap(values, names, seed=1).low[2] != together.low[2]


def test_unequal_sections_are_weighed_by_their_images():
    values = np.concatenate([np.zeros(30), np.ones(10)])
    names = np.concatenate([np.repeat(np.arange(6), 5), np.repeat(np.arange(6, 10), [1, 2, 3, 4])])
    interval = two_level_bootstrap(values, names)
    assert interval.mean == pytest.approx(0.25)
    assert interval.low < 0.25 < interval.high
    assert interval.sections == 10


def test_equal_values_give_an_interval_of_no_width():
    interval = two_level_bootstrap(np.full(12, 0.3), np.repeat(np.arange(6), 2))
    assert interval.low == pytest.approx(0.3)
    assert interval.high == pytest.approx(0.3)


def test_nothing_defined_gives_a_reason():
    interval = two_level_bootstrap(np.full((12, 2), np.nan), np.repeat(np.arange(6), 2))
    assert np.isnan(interval.mean).all()
    assert list(interval.note) == ["no defined value"] * 2


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="one section name per image"):
        two_level_bootstrap(np.zeros(3), ["a", "b"])
    with pytest.raises(ValueError, match="draws >= 100"):
        two_level_bootstrap(np.zeros(3), ["a", "b", "c"], draws=3)


def test_mean_and_sem_are_those_of_the_papers():
    mean, sem, count = mean_and_sem([1.0, 2.0, 4.0, np.nan, np.inf])
    assert (mean, count) == (pytest.approx(7 / 3), 3)
    assert sem == pytest.approx(stats.sem([1.0, 2.0, 4.0]))
    assert mean_and_sem([])[2] == 0
    assert np.isnan(mean_and_sem([1.0])[1])


def test_no_interval_reaches_further_than_draws_can_say():
    """One section of six differs: draws without it hold no variation, and no pivot of 1e6 is printed."""
    values = np.zeros(36)
    values[:6] = -5.0
    interval = two_level_bootstrap(values, np.repeat(np.arange(6), 6), level=0.999)
    assert np.isnan([interval.low, interval.high]).all()
    assert str(interval.note) == "too few values differ for an interval"


@pytest.mark.parametrize("shape", [(0,), (0, 3)])
def test_no_image_at_all_is_no_defined_value(shape):
    interval = two_level_bootstrap(np.zeros(shape), [], draws=100)
    assert interval.mean.shape == shape[1:]
    assert np.isnan([interval.mean, interval.low, interval.high]).all()
    assert (np.asarray(interval.note) == "no defined value").all()
    with pytest.raises(ValueError, match=r"values must be \(image,\) or \(image, column\)"):
        two_level_bootstrap(3.0, [])
