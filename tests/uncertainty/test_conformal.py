"""Split conformal calibration holds what it says, whatever the errors look like."""

import numpy as np
import pytest

from msibench.errors import ConfigurationError
from msibench.uncertainty.conformal import (
    KnownPixels,
    calibrate,
    checkerboard,
    known_pixels,
    together,
)
from msibench.uncertainty.difficulty import FEATURES, features
from msibench.uncertainty.noise import noise_gain


def made(count=20_000, seed=0, draw="normal"):
    """Errors whose size is 0.1 of the noise feature and 0.5 of the slope."""
    rng = np.random.default_rng(seed)
    told = np.zeros((len(FEATURES), count))
    told[0], told[1] = rng.uniform(0.1, 1, (2, count))
    told[FEATURES.index("level")] = 1.0
    error = {
        "normal": rng.normal,
        "laplace": rng.laplace,
        "skewed": lambda size: rng.exponential(size=size) - 0.3,
    }[draw](size=count)
    size = 0.1 * told[0] + 0.5 * told[1]
    return KnownPixels(residual=size * error, features=told, half=np.arange(count) % 2 == 0)


@pytest.mark.parametrize("draw", ["normal", "laplace", "skewed"])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_new_pixels_are_held_as_often_as_the_level_says(draw, level):
    calibrated = calibrate(made(draw=draw))
    new = made(seed=1, draw=draw)
    down, up = calibrated.reach(new.features[:, None], level)
    held = (-down[0] <= new.residual) & (new.residual <= up[0])
    assert held.mean() == pytest.approx(level, abs=0.012)


def test_the_difficulty_finds_what_the_errors_are_made_of():
    weights = calibrate(made()).weights
    mean = np.sqrt(2 / np.pi)  # of the absolute value of a normal number
    np.testing.assert_allclose(weights[:2] / mean, [0.1, 0.5], atol=0.03)
    assert (weights >= 0).all()


def test_too_few_pixels_and_no_error_at_all_give_no_interval():
    assert calibrate(made(count=199)) is None
    still = made()
    assert (
        calibrate(KnownPixels(residual=np.zeros(20_000), features=still.features, half=still.half))
        is None
    )


def test_a_level_that_so_few_pixels_cannot_tell_is_refused():
    calibrated = calibrate(made(count=300))
    with pytest.raises(ConfigurationError, match=r"too few .* at most 0\.9966"):
        calibrated.quantile(0.999)
    with pytest.raises(ConfigurationError, match=r"0\.9 means 90 %"):
        calibrated.quantile(90)


@pytest.mark.parametrize("counts", [3.0, 40.0])
def test_the_gain_of_counted_ions_is_one(counts):
    rows, columns = np.mgrid[:90, :80]
    mean = counts * (1 + np.sin(rows / 12) * np.cos(columns / 9) / 2)
    image = np.random.default_rng(2).poisson(mean).astype(float)
    assert noise_gain(image) == pytest.approx(1, abs=0.15)
    assert noise_gain(7 * image) == pytest.approx(7, abs=1.1)
    assert noise_gain(np.zeros((5, 6))) == 0
    image[:, 40:] = np.nan
    assert noise_gain(image) == pytest.approx(1, abs=0.25)


def test_the_counting_noise_of_smaller_pixels_is_larger_by_the_factor():
    flat = np.full((8, 12), 25.0)
    once, finer = (features(flat, factor=4, gain=gain, scale=25.0) for gain in (1.0, 16.0))
    np.testing.assert_allclose(once[0], 5.0)
    np.testing.assert_allclose(finer[0], 20.0)
    np.testing.assert_array_equal(once[1], 0)


def test_pixels_that_were_not_measured_are_not_known():
    truth = np.ones((8, 8))
    truth[0] = np.nan
    mask = np.ones((8, 8), dtype=bool)
    mask[:, 0] = False
    told = features(np.ones((8, 8)), factor=2, gain=1.0, scale=1.0)
    known = known_pixels(np.ones((8, 8)), truth, told, factor=2, scale=1.0, mask=mask)
    assert len(known.residual) == 49
    assert together([known, known]).features.shape == (len(FEATURES), 98)


def test_the_checkerboard_has_two_colours_of_whole_blocks():
    board = checkerboard((32, 48), 2)
    assert board.mean() == 0.5
    assert not board[:8, :8].any()
    assert board[:8, 8:16].all()


def test_weights_are_those_of_least_squares_with_none_below_0():
    from scipy.optimize import nnls

    from msibench.uncertainty.conformal import _never_negative

    rng = np.random.default_rng(4)
    for _ in range(60):
        rows = rng.normal(size=(30, 5)) * 10.0 ** rng.uniform(-3, 3, 5)
        wanted = rng.normal(size=30)
        found = _never_negative(rows.T @ rows, rows.T @ wanted)
        assert (found >= 0).all()
        assert np.linalg.norm(rows @ found - wanted) == pytest.approx(
            nnls(rows, wanted)[1], rel=1e-9
        )
    np.testing.assert_array_equal(_never_negative(np.eye(3), -np.ones(3)), 0)


def test_features_that_say_the_same_share_a_weight_and_the_fit_ends():
    told = made(2000).features
    told[2] = told[3] = told[4] = 2 * told[1]
    told[0] = 0
    known = KnownPixels(
        residual=told[1] * made(2000).residual, features=told, half=np.arange(2000) % 2 == 0
    )
    calibrated = calibrate(known)
    assert np.isfinite(calibrated.weights).all()
    assert (calibrated.weights >= 0).all()
    assert calibrated.quantile(0.9) > 0
