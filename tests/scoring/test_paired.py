import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special, stats

from msibench.scoring.multiple_tests import holm
from msibench.scoring.paired import every_pair, moderated, paired_difference, win_rate


def test_holm_is_the_published_example():
    # Holm (1979) as worked in R: p.adjust(c(0.01, 0.02, 0.03, 0.04), "holm")
    np.testing.assert_allclose(holm([0.01, 0.02, 0.03, 0.04]), [0.04, 0.06, 0.06, 0.06])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_nor_changes_their_order(p):
    adjusted = holm(p)
    assert (adjusted >= np.array(p) - 1e-15).all()
    assert (adjusted <= 1).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_holm_does_not_count_what_was_not_tested():
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])


@pytest.mark.parametrize(("sections", "images"), [(5, 1), (6, 6), (12, 3)])
def test_with_sections_of_one_size_it_is_the_paired_t_test_of_section_means(sections, images):
    rng = np.random.default_rng(sections)
    names = np.repeat(np.arange(sections), images)
    test, base = rng.standard_normal((2, len(names)))
    found = paired_difference(test, base, names)
    means = (test - base).reshape(sections, images).mean(axis=1)
    oracle = stats.ttest_1samp(means, 0)
    interval = oracle.confidence_interval(0.95)
    assert found.freedom == pytest.approx(sections - 1)
    assert found.p == pytest.approx(oracle.pvalue)
    assert [found.low, found.high] == pytest.approx([interval.low, interval.high])
    assert found.p_below() == pytest.approx(stats.ttest_1samp(means, 0, alternative="less").pvalue)
    assert str(found.scope) == "sections"


def test_inside_one_section_it_is_the_paired_t_test_of_images():
    test, base = np.random.default_rng(0).standard_normal((2, 10))
    found = paired_difference(test, base, np.zeros(10))
    assert found.p == pytest.approx(stats.ttest_rel(test, base).pvalue)
    assert str(found.scope) == "images"
    assert "ion images of these sections only" in str(found.note)


def test_unequal_sections_have_the_degrees_of_freedom_of_their_quadratic_form():
    sizes = np.array([1, 2, 4, 9, 30, 3])
    names = np.repeat(np.arange(6), sizes)
    values = np.random.default_rng(3).standard_normal(len(names))
    share = sizes / sizes.sum()
    residual = np.eye(6) - share[None, :]
    form = residual.T @ np.diag(share**2 / (1 - share)) @ residual
    expected = min(
        np.trace(form @ v) ** 2 / np.trace(form @ v @ form @ v)
        for v in (np.eye(6), np.diag(1 / sizes))
    )
    found = paired_difference(values, np.zeros(len(names)), names)
    assert found.freedom == pytest.approx(expected)
    means = np.array([values[names == s].mean() for s in range(6)])
    assert found.error**2 == pytest.approx(means @ form @ means)


@pytest.mark.parametrize("sizes", [(6, 6, 6, 6, 6, 6), (1, 2, 4, 9, 30, 3)])
@pytest.mark.parametrize("between", [0.0, 1.0])
def test_the_paired_difference_keeps_its_level(sizes, between):
    rng = np.random.default_rng(7)
    names = np.repeat(np.arange(len(sizes)), sizes)
    values = between * rng.standard_normal((len(sizes), 4000))[names]
    values = values + rng.standard_normal(values.shape)
    assert (paired_difference(values, np.zeros(values.shape), names).p <= 0.05).mean() <= 0.06


def test_a_shared_shift_widens_the_error_by_its_variance():
    rng = np.random.default_rng(8)
    names = np.repeat(np.arange(6), 6)
    values = rng.normal(0, 0.25, (36, 4000)) + rng.normal(0, 0.1, 4000)
    zero = np.zeros(values.shape)
    assert (paired_difference(values, zero, names).p <= 0.05).mean() > 0.15
    told = paired_difference(values, zero, names, shared_variance=0.01)
    assert 0.035 <= (told.p <= 0.05).mean() <= 0.06
    measured = paired_difference(values, zero, names, shared_variance=0.01, shared_freedom=2)
    assert (measured.high - measured.low > told.high - told.low).all()


def test_moderated_variances_are_those_of_smyth_with_half_the_weight():
    """The prior solves the published moment equations; half its weight is used, at most four times."""
    variance, freedom = np.array([0.5, 1.0, 2.0, 80.0]), np.full(4, 3.0)
    drawn, degrees = moderated(variance, freedom)
    prior = 2 * (degrees[0] - 3)
    logs = np.log(variance) - special.digamma(1.5) + np.log(1.5)
    assert special.polygamma(1, prior / 2) == pytest.approx(
        logs.var(ddof=1) - special.polygamma(1, 1.5)
    )
    common = np.exp(logs.mean() + special.digamma(prior / 2) - np.log(prior / 2))
    np.testing.assert_allclose(drawn, (prior / 2 * common + 3 * variance) / (prior / 2 + 3))
    alike = moderated(np.full(5, 2.0), np.full(5, 7.0))
    np.testing.assert_allclose(alike[1], 7 + 28)
    np.testing.assert_array_equal(moderated([1.0, 9.0], [4.0, 4.0])[0], [1.0, 9.0])


def test_equal_methods_are_told_apart_in_at_most_five_of_a_hundred_studies():
    rng = np.random.default_rng(3)
    for erratic in (1.0, 4.0):
        wrong = 0
        for _ in range(300):
            values = rng.standard_normal((6, 10)) * np.r_[np.ones(9), erratic]
            wrong += (holm(every_pair(values, np.arange(6))[2].p) <= 0.05).any()
        assert wrong / 300 <= 0.065


def test_equal_values_differ_by_nothing_and_rounding_is_no_difference():
    values = np.random.default_rng(0).uniform(20, 30, 12)
    names = np.repeat(np.arange(6), 2)
    for other in (values, values * (1 + 1e-15)):
        found = paired_difference(other, values, names)
        assert (float(found.mean), float(found.low), float(found.p)) == (0.0, 0.0, 1.0)
    sure = paired_difference(values + 1.0, values, names)
    assert sure.p < 1e-6
    assert sure.p_below() > 0.999


def test_too_few_images_give_a_mean_a_reason_and_no_infinite_number():
    found = paired_difference(np.ones(3), np.zeros(3), np.arange(3))
    assert found.mean == 1.0
    assert np.isnan([found.low, found.high, found.p, found.error]).all()
    assert "too few images (3) for an interval" in str(found.note)


def test_win_rate_counts_a_tie_half_and_leaves_out_what_is_undefined():
    assert win_rate([1, 2, 3, np.nan], [0, 2, 4, 5]) == pytest.approx(0.5)
    assert np.isnan(win_rate([np.nan], [1.0]))


def test_a_paired_difference_is_sharper_than_the_means_it_is_made_of():
    rng = np.random.default_rng(1)
    names = np.repeat(np.arange(6), 4)
    hardness = rng.normal(0, 5, 24)
    difference = paired_difference(hardness + 1 + rng.normal(0, 0.1, 24), hardness, names)
    assert 0.8 < difference.low < 1 < difference.high < 1.2


def test_the_t_distribution_is_that_of_scipy_stats():
    """Taken from scipy.special, which imports in a tenth of the time."""
    from scipy import stats
    from scipy.special import ndtri, stdtr, stdtrit

    rng = np.random.default_rng(0)
    value, freedom = rng.normal(0, 5, 500), rng.uniform(0.5, 300, 500)
    share = rng.uniform(0, 1, 500)
    np.testing.assert_array_equal(stdtr(freedom, value), stats.t.cdf(value, freedom))
    np.testing.assert_array_equal(stdtr(freedom, -value), stats.t.sf(value, freedom))
    np.testing.assert_array_equal(stdtrit(freedom, share), stats.t.ppf(share, freedom))
    np.testing.assert_array_equal(-ndtri(share), stats.norm.isf(share))


@pytest.mark.parametrize(
    ("sizes", "scope"), [((5,), "images"), ((4,), ""), ((2,) * 4, "images"), ((2, 2, 2, 1), "")]
)
def test_an_interval_inside_fixed_sections_needs_four_spare_images(sizes, scope):
    values = np.random.default_rng(0).standard_normal(sum(sizes))
    found = paired_difference(
        values, np.zeros(len(values)), np.repeat(np.arange(len(sizes)), sizes)
    )
    assert found.scope == scope
    assert np.isfinite(found.low) == bool(scope)


@pytest.mark.parametrize(("change", "p"), [(-1.0, 0.0), (1.0, 1.0), (0.0, 0.5)])
def test_a_change_without_any_spread_is_certain(change, p):
    found = paired_difference(np.full(6, 2.0 + change), np.full(6, 2.0), np.arange(6))
    assert found.p_below() == p
    assert found.p == (1.0 if change == 0 else 0.0)
    assert found.low == found.high == change


def test_a_level_outside_0_to_1_is_refused():
    for level in (0.0, 1.0):
        with pytest.raises(ValueError, match="0 < level < 1"):
            paired_difference(np.ones(6), np.zeros(6), np.arange(6), level=level)


def smyth(variance, freedom):
    """Posterior variances by plain loops and a root found by bisection (Smyth 2004, 6.2)."""
    known = [i for i, f in enumerate(freedom) if np.isfinite([variance[i], f]).all()]
    used = [i for i in known if variance[i] > 0]
    if len(used) < 3:
        return list(variance), list(freedom)
    logs = [
        np.log(variance[i]) - special.digamma(freedom[i] / 2) + np.log(freedom[i] / 2) for i in used
    ]
    spread = np.var(logs, ddof=1) - np.mean([special.polygamma(1, freedom[i] / 2) for i in used])
    prior, common = np.inf, np.exp(np.mean(logs))
    if spread > 0:
        half = optimize.brentq(lambda y: special.polygamma(1, y) - spread, 1e-3, 1e6, xtol=1e-13)
        prior = 2 * half
        common *= np.exp(special.digamma(half)) / half
    drawn, degrees = list(variance), list(freedom)
    for i in known:
        weight = min(0.5 * prior, 4 * freedom[i])
        drawn[i] = (weight * common + freedom[i] * variance[i]) / (weight + freedom[i])
        degrees[i] = weight + freedom[i]
    return drawn, degrees


@pytest.mark.parametrize(
    ("variance", "freedom"),
    [
        ([0.5, 1.0, 1.9], [4.0, 4.0, 4.0]),  # three are enough, and agree
        ([0.2, 0.9, 6.0, 1.0], [9.0, 9.0, 8.0, 7.0]),
        ([0.1, 0.9, 6.0, 30.0], [2.0, 1.0, 0.5, 3.0]),  # they do not
        ([0.5, 1.0, 0.0], [4.0, 4.0, 4.0]),  # two that vary are too few
        ([0.5, 1.0, 0.0, 3.0, 0.01], [4.0, 4.0, 4.0, 6.0, 3.0]),
        ([0.5, 1.0, np.nan, 3.0, 2.0], [4.0, 4.0, 4.0, 4.0, np.nan]),
        ([0.5, 1.0, np.inf, 3.0, 0.4], [4.0, 1.0, 1.0, 4.0, 4.0]),
    ],
)
def test_moderated_variances_are_those_of_plain_loops(variance, freedom):
    drawn, degrees = moderated(variance, freedom)
    wanted = smyth(variance, freedom)
    np.testing.assert_allclose(drawn, wanted[0], rtol=1e-6)
    np.testing.assert_allclose(degrees, wanted[1], rtol=1e-6)


@pytest.mark.parametrize("sizes", [(3,) * 6, (2, 3, 5, 2, 4, 1), (7, 6)])
def test_a_column_with_holes_is_what_it_is_without_these_images(sizes):
    """A whole section and single images are undefined; a column stands by itself, unless moderated."""
    rng = np.random.default_rng(4)
    names = np.repeat(np.arange(len(sizes)), sizes)
    test, base = rng.standard_normal((2, len(names), 4)) + 5.0
    test[:2, 1], base[3, 1], base[-2, 1] = np.nan, np.inf, np.nan
    together = paired_difference(test, base, names)
    for column in range(4):
        kept = np.isfinite(test[:, column]) & np.isfinite(base[:, column])
        alone = paired_difference(test[kept, column], base[kept, column], names[kept])
        for field in ("mean", "error", "freedom", "low", "high", "p", "images", "sections"):
            assert getattr(together, field)[column] == pytest.approx(getattr(alone, field)), field


def test_a_level_of_95_percent_and_no_moderation_are_what_is_meant_without_a_word():
    test, base = np.random.default_rng(2).standard_normal((2, 12, 4))
    names = np.repeat(np.arange(6), 2)
    plain = paired_difference(test, base, names)
    said = paired_difference(
        test, base, names, level=0.95, shared_variance=0.0, shared_freedom=np.inf, moderate=False
    )
    moderate = paired_difference(test, base, names, moderate=True)
    assert (plain.low == said.low).all()
    assert (plain.low != moderate.low).all()
    first, second, pairs = every_pair(test, names)
    wanted = paired_difference(test[:, first], test[:, second], names, moderate=True)
    np.testing.assert_array_equal(pairs.low, wanted.low)
    assert list(zip(first, second, strict=True)) == [
        (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)
    ]  # fmt: skip


@pytest.mark.parametrize("sizes", [(1,) * 5 + (2,), (4, 4, 4, 5, 5, 40), (6, 6, 6, 6, 6, 1)])
def test_of_two_degrees_of_freedom_the_smaller_is_taken(sizes):
    """Of section means that vary alike, and of means that vary as one over their images."""
    share = np.array(sizes) / sum(sizes)
    residual = np.eye(6) - share[None, :]
    form = residual.T @ np.diag(share**2 / (1 - share)) @ residual
    both = [
        np.trace(form @ v) ** 2 / np.trace(form @ v @ form @ v)
        for v in (np.eye(6), np.diag(1 / np.array(sizes)))
    ]
    names = np.repeat(np.arange(6), sizes)
    values = np.random.default_rng(3).standard_normal(len(names))
    found = paired_difference(values, np.zeros(len(names)), names)
    assert found.freedom == pytest.approx(min(both))
    assert both[0] != pytest.approx(both[1])


@pytest.mark.parametrize("unit", [2.0**-40, 2.0**40])
@pytest.mark.parametrize("sections", [2, 6])
def test_a_unit_changes_no_p_of_a_difference(unit, sections):
    test, base = np.random.default_rng(5).standard_normal((2, 12))
    names = np.arange(12) % sections
    here = paired_difference(test, base, names)
    there = paired_difference(test * unit, base * unit, names)
    assert (there.p, there.low, there.freedom) == (here.p, here.low * unit, here.freedom)


def test_no_difference_at_all_keeps_its_degrees_of_freedom():
    values = np.arange(12.0)
    found = paired_difference(values, values, np.repeat(np.arange(6), 2))
    assert found.freedom == pytest.approx(5)
    assert (found.error, found.low, found.high) == (0.0, 0.0, 0.0)


def test_a_single_image_is_its_own_mean_difference():
    assert paired_difference([3.5], [1.0], ["s"]).mean == 2.5


def test_a_win_by_more_than_one_is_a_win():
    assert win_rate([5, 2, 0.5], [1, 2, 0.0]) == pytest.approx(2.5 / 3)
    assert win_rate([1, 1], [4, 1]) == 0.25
