import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from msibench.scoring.statistics import (
    holm,
    paired_difference,
    section_means,
    signed_rank,
    win_rate,
)


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


def test_the_signed_rank_test_takes_section_means_as_replicates():
    rng = np.random.default_rng(0)
    names = np.repeat(np.arange(8), 5)
    test, base = rng.standard_normal((2, 40))
    _, means = section_means(test - base, names)
    result = signed_rank(test, base, names)
    assert result.sections == 8
    assert result.p == pytest.approx(stats.wilcoxon(means).pvalue)


def test_too_few_sections_give_a_reason_instead_of_a_p():
    result = signed_rank(np.ones(10), np.zeros(10), np.repeat(np.arange(5), 2))
    assert np.isnan(result.p)
    assert result.reason == "too few sections (5 < 6) for a test"


def test_equal_methods_are_not_different():
    result = signed_rank(np.ones(6), np.ones(6), np.arange(6))
    assert result.p == 1.0


def test_the_signed_rank_test_keeps_its_level():
    rng = np.random.default_rng(5)
    rejected = [
        signed_rank(*rng.standard_normal((2, 20)), np.repeat(np.arange(10), 2)).p <= 0.05
        for _ in range(400)
    ]
    assert np.mean(rejected) <= 0.08


def test_win_rate_counts_a_tie_half_and_leaves_out_what_is_undefined():
    assert win_rate([1, 2, 3, np.nan], [0, 2, 4, 5]) == pytest.approx(0.5)
    assert np.isnan(win_rate([np.nan], [1.0]))


def test_a_paired_difference_is_sharper_than_the_means_it_is_made_of():
    rng = np.random.default_rng(1)
    names = np.repeat(np.arange(6), 4)
    hardness = rng.normal(0, 5, 24)
    difference = paired_difference(hardness + 1 + rng.normal(0, 0.1, 24), hardness, names)
    assert 0.8 < difference.low < 1 < difference.high < 1.2
