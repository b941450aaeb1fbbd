"""Intervals are judged by closed forms: the normal distribution's coverage, width and Winkler score."""

from statistics import NormalDist

import numpy as np
import pytest

from msibench.metrics.interval import (
    coverage,
    interval_score,
    interval_width,
    structures,
)

NORMAL = NormalDist()


def sample(shape=(2, 200, 250), seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def interval(level, shape=(2, 200, 250), stretch=1.0):
    reach = np.full(shape, stretch * NORMAL.inv_cdf((1 + level) / 2))
    return -reach, reach


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_a_normal_interval_covers_and_scores_as_the_closed_form_says(level):
    truth, (lower, upper) = sample(), interval(level)
    z = NORMAL.inv_cdf((1 + level) / 2)
    beyond = NORMAL.pdf(z) - z * (1 - NORMAL.cdf(z))  # expected distance above z
    expected = 2 * z + 2 / (1 - level) * 2 * beyond
    np.testing.assert_allclose(coverage(lower, upper, truth), level, atol=0.005)
    np.testing.assert_allclose(interval_width(lower, upper, truth, scale=[1, 2]), [2 * z, z])
    score = interval_score(lower, upper, truth, level=level)
    np.testing.assert_allclose(score, expected, rtol=0.02)


def test_the_true_quantiles_have_the_least_score():
    truth = sample()
    scores = [
        interval_score(*interval(0.9, stretch=by), truth, level=0.9).mean()
        for by in (0.5, 0.8, 1.0, 1.25, 2.0)
    ]
    assert np.argmin(scores) == 2


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_an_interval_of_half_the_width_covers_less_by_the_closed_form(level):
    half = 2 * NORMAL.cdf(NORMAL.inv_cdf((1 + level) / 2) / 2) - 1
    covered = coverage(*interval(level, stretch=0.5), sample())
    np.testing.assert_allclose(covered, half, atol=0.005)


def test_what_is_undefined_is_not_counted_as_held():
    truth = np.zeros((2, 3, 4))
    lower, upper = np.full_like(truth, -1), np.ones_like(truth)
    lower[0, 0], upper[0, 0] = np.nan, np.nan
    truth[0, 1, 0] = 5
    lower[1] = np.nan
    found = coverage(lower, upper, truth)
    assert found[0] == pytest.approx(7 / 8)
    assert np.isnan(found[1])
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 0] = True
    assert coverage(lower, upper, truth, mask=mask)[0] == 0


def test_structures_find_the_edge_and_the_spot_that_were_drawn():
    image = np.zeros((40, 50))
    image[:, 25:] = 1.0
    image[10, 8] = 50.0
    found = structures(image)
    assert found["edges"][20, 24]
    assert found["edges"][30, 25]
    assert found["spots"][10, 8]
    assert found["high intensity"][10, 8]
    assert all(mask.mean() <= 0.1 for mask in found.values())
    assert not structures(np.ones((9, 9)))["edges"].any()
