import numpy as np
import pytest

from msibench.scoring.ranking import _ranks_of, rank_groups, ranks, weight_sensitivity


def test_methods_that_cannot_be_told_from_the_leader_share_its_group():
    apart = np.zeros((4, 4), dtype=bool)
    apart[[0, 0, 1], [2, 3, 3]] = True
    np.testing.assert_array_equal(rank_groups([0.9, 0.8, 0.7, 0.6], apart | apart.T), [1, 1, 2, 2])


def test_the_order_of_the_methods_does_not_matter():
    apart = ~np.eye(3, dtype=bool)
    turned = [2, 0, 1]
    np.testing.assert_array_equal(rank_groups(np.array([0.9, 0.5, 0.1])[turned], apart), [3, 1, 2])


def test_unscored_methods_have_no_group():
    apart = np.zeros((3, 3), dtype=bool)
    np.testing.assert_array_equal(rank_groups([0.9, np.nan, 0.1], apart), [1, 0, 1])


def test_ties_share_the_better_rank():
    np.testing.assert_array_equal(ranks([1.0, 3.0, 3.0, np.nan]), [3, 1, 1, np.nan])


def test_a_method_that_is_best_in_everything_always_keeps_its_rank():
    scores = [[0.9, 0.9, 0.9], [0.8, 0.1, 0.5], [0.1, 0.8, 0.5]]
    share = weight_sensitivity(scores, [1, 1, 1])
    assert share[0] == 1.0
    assert share[1] < 1.0
    assert share[2] < 1.0


def test_two_methods_that_trade_places_keep_their_ranks_as_often_as_the_weights_say():
    # the first leads while its weight is above 1/2; Beta(15, 15) puts half its mass there
    share = weight_sensitivity([[1.0, 0.02], [0.0, 1.0]], [1, 1], draws=20_000)
    assert share[0] == pytest.approx(0.55, abs=0.04)
    sharp = weight_sensitivity([[1.0, 0.02], [0.0, 1.0]], [1, 1], concentration=3000)
    assert sharp[0] > share[0]


def test_sensitivity_is_the_same_for_the_same_seed_and_needs_weights():
    scores = np.random.default_rng(0).standard_normal((4, 3))
    one, two = (weight_sensitivity(scores, [1, 2, 3], draws=500, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match="one weight above 0 per metric"):
        weight_sensitivity(scores, [1, 0, 1])


def test_a_method_without_a_score_keeps_no_rank():
    share = weight_sensitivity([[0.5, 0.5], [np.nan, 0.1]], [1, 1])
    assert share[0] == 1.0
    assert np.isnan(share[1])


def test_only_the_ratios_of_the_weights_matter():
    scores = np.random.default_rng(0).standard_normal((4, 3))
    share = weight_sensitivity(scores, [1, 2, 3], draws=500)
    np.testing.assert_array_equal(weight_sensitivity(scores, [10, 20, 30], draws=500), share)
    assert (share < 1.0).any()


def test_weights_are_drawn_around_the_chosen_ones():
    # weights of 0.9 and 0.1: the first leads while its weight is above 1/2, as nearly all draws have it
    share = weight_sensitivity([[1.0, 0.0], [0.0, 1.0]], [9, 1], draws=2000)
    assert (share > 0.99).all()


def test_scores_that_differ_by_rounding_tie():
    scores = np.array([[0.5, 0.5], [0.5 + 4e-13, 0.5 + 4e-12]])
    np.testing.assert_array_equal(_ranks_of(scores), [[1, 2], [1, 1]])


def test_six_equal_weights_vary_by_0_067_as_is_said():
    """A Dirichlet weight of mean w has the variance w (1 - w) / (c + 1); each method is one metric."""
    scores = np.random.default_rng(1).random((6, 6))
    share = weight_sensitivity(scores, [1] * 6, draws=500)
    deviation = np.sqrt(1 / 6 * 5 / 6 / (30 + 1))
    assert deviation == pytest.approx(0.067, abs=5e-4)
    said = weight_sensitivity(scores, [1] * 6, draws=500, concentration=30.0)
    np.testing.assert_array_equal(share, said)
    for options in ({"concentration": 31.0}, {"seed": 1}):
        assert (share != weight_sensitivity(scores, [1] * 6, draws=500, **options)).any()
    np.testing.assert_array_equal(share, weight_sensitivity(scores, [1] * 6, draws=500, seed=0))


def test_the_shape_of_what_is_separated_is_checked():
    with pytest.raises(ValueError, match=r"\(method, method\) = \(3, 3\), got \(2, 2\)"):
        rank_groups([0.9, 0.8, 0.7], np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("shape", "weights"),
    [((2, 3), [1, 1]), ((2, 2, 3), np.ones((2, 3))), ((3,), np.float64(1)), ((2, 2), [1, -1])],
)
def test_weights_that_do_not_fit_the_scores_are_refused(shape, weights):
    with pytest.raises(ValueError, match=r"expected scores \(method, metric\) and one weight"):
        weight_sensitivity(np.ones(shape), weights)


def test_scores_that_nobody_has_keep_no_rank():
    assert np.isnan(weight_sensitivity(np.full((2, 2), np.nan), [1, 1])).all()


def test_ten_thousand_weights_are_drawn():
    scores = np.random.default_rng(1).random((6, 6))
    ten = weight_sensitivity(scores, [1] * 6)
    np.testing.assert_array_equal(ten, weight_sensitivity(scores, [1] * 6, draws=10_000, seed=0))
    np.testing.assert_allclose(ten * 10_000, np.round(ten * 10_000), rtol=0, atol=1e-9)
