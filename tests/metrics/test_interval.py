"""Intervals are judged by closed forms: the normal distribution's coverage, width and Winkler score."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from msibench.contracts.metric import CalibratedInterval, Evaluation, ToldInterval
from msibench.errors import MSIBenchError
from msibench.image import MSImage
from msibench.metrics.interval import (
    LEVELS,
    coverage,
    evaluate,
    evaluate_calibrated,
    interval_score,
    interval_width,
    structures,
)
from msibench.metrics.trust_specs import interval_metrics

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


def evaluation(told, calibrated=None, shape=(3, 60, 70)):
    truth = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    image = MSImage(truth, np.arange(float(len(truth))))
    return Evaluation(
        prediction=np.zeros(shape, np.float32), truth=image, low=image, factor=1,
        degrade=lambda images: images, interval=told, calibrated=calibrated,
    )  # fmt: skip


def test_the_calibration_error_of_a_normal_interval_is_that_of_its_stretch():
    shape = (3, 60, 70)
    lower, upper = interval(0.9, shape, stretch=1.5)
    told = ToldInterval(lower=lower, upper=upper, level=0.9)
    off = [abs(2 * NORMAL.cdf(1.5 * NORMAL.inv_cdf((1 + one) / 2)) - 1 - one) for one in LEVELS]
    found = evaluate(evaluation(told), measure="interval_calibration_error")
    np.testing.assert_allclose(found.values, np.mean(off), atol=0.02)
    assert found.reasons == ("", "", "")
    none = evaluate(evaluation(None), measure="interval_calibration_error")
    assert np.isnan(none.values).all()
    assert set(none.reasons) == {"the method tells no interval"}


def test_calibrated_intervals_are_measured_at_their_own_levels_and_undefined_where_there_are_none():
    shape = (3, 60, 70)
    levels = np.arange(50, 100) / 100
    normal = np.array([NORMAL.inv_cdf((1 + one) / 2) for one in levels])
    quantiles = np.stack([normal, normal, np.full(50, np.nan)])
    ones = np.ones(shape, np.float32)
    found = CalibratedInterval(
        reach=ones, signal=ones / 2, quantiles=quantiles, levels=levels, up=np.ones(3),
        floor=-np.inf, calibrated="here",
    )  # fmt: skip
    given = evaluation(None, found)
    for measure, right in (
        ("interval_coverage", 0.9), ("interval_calibration_error", 0.0),
        ("interval_width", 2 * NORMAL.inv_cdf(0.95)),
    ):  # fmt: skip
        told = evaluate_calibrated(given, measure=measure)
        np.testing.assert_allclose(told.values[:2], right, atol=0.02)
        assert np.isnan(told.values[2])
        assert told.reasons[2] == "the harness could calibrate no interval for this ion image"
    nothing = evaluate_calibrated(evaluation(None), measure="interval_width")
    assert np.isnan(nothing.values).all()
    assert set(nothing.reasons) == {"the track asks for no interval of the harness (intervals)"}
    failed = replace(evaluation(None), not_calibrated="it fell")
    assert set(evaluate_calibrated(failed, measure="signal_coverage").reasons) == {
        "the harness could calibrate no interval for this prediction: it fell"
    }
    with pytest.raises(MSIBenchError, match="not among those calibrated"):
        found.ends(given.prediction, 0.3)


def test_another_level_is_that_of_a_normal_distribution_to_either_side_of_the_prediction():
    rng = np.random.default_rng(8)
    fine, truth = rng.normal(size=(2, 3, 20, 25))
    down, up = rng.random((2, 3, 20, 25)) + 0.5
    told = ToldInterval(lower=fine - down, upper=fine + up, level=0.9)
    image = MSImage(truth.astype(np.float32), np.arange(3.0))
    given = Evaluation(
        prediction=fine.astype(np.float32), truth=image, low=image, factor=1,
        degrade=lambda images: images, interval=told,
    )  # fmt: skip
    off = []
    for level in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99):
        wider = NORMAL.inv_cdf((1 + level) / 2) / NORMAL.inv_cdf(0.95)
        held = (fine - wider * down <= truth) & (truth <= fine + wider * up)
        off.append(np.abs(held.mean((1, 2)) - level))
    found = evaluate(given, measure="interval_calibration_error")
    np.testing.assert_allclose(found.values, np.mean(off, axis=0), atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_the_structure_that_is_held_least_counts_on_the_tissue(masked):
    truth = np.random.default_rng(5).normal(size=(3, 40, 50)).astype(np.float32)
    mask = np.arange(50) < 30 if masked else np.ones(50, bool)
    mask = np.broadcast_to(mask, (40, 50))
    reach = np.full(truth.shape, 1.5, np.float32)
    told = ToldInterval(lower=-reach, upper=reach, level=0.9)
    image = MSImage(truth, np.arange(3.0), mask=mask.copy() if masked else None)
    given = Evaluation(
        prediction=0 * truth, truth=image, low=image, factor=1, degrade=lambda images: images,
        interval=told,
    )  # fmt: skip
    held = np.abs(truth) <= 1.5
    wanted = [
        min(inside[where & mask].mean() for where in structures(one).values())
        for one, inside in zip(truth, held, strict=True)
    ]
    found = evaluate(given, measure="worst_interval_coverage")
    np.testing.assert_allclose(found.values, wanted)
    assert (found.values < held[:, mask].mean(1)).all()
    for name, where in structures(truth[0]).items():
        np.testing.assert_array_equal(where, structures(truth[0], smooth=1.0)[name])
        assert (where != structures(truth[0], smooth=2.0)[name]).any()


def test_the_signal_is_held_by_the_interval_of_the_signal():
    shape = (2, 20, 30)
    ones = np.ones(shape, np.float32)
    found = CalibratedInterval(
        reach=2 * ones, signal=ones, quantiles=np.ones((2, 50)), levels=np.arange(50, 100) / 100,
        up=np.ones(2), floor=-np.inf, calibrated="here",
    )  # fmt: skip
    signal = np.random.default_rng(1).normal(size=shape)
    given = replace(evaluation(None, found, shape), noise_free=signal)
    told = evaluate_calibrated(given, measure="signal_coverage")
    np.testing.assert_allclose(told.values, (np.abs(signal) <= 1).mean((1, 2)))


def test_measures_of_intervals_have_the_versions_on_record():
    kept = json.loads(Path(__file__).with_name("versions.json").read_text())
    for begins in ("interval", "calibrated"):
        for spec in interval_metrics(begins, begins, "evaluate", "it tells", ()):
            assert (spec.name, spec.version) == (spec.name, kept[spec.name]["version"])
            measure = spec.name.replace("calibrated", "interval")
            assert spec.params == {"measure": measure}
