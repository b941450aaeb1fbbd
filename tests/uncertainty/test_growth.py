"""How much larger errors are expected at the wanted scale than one scale up."""

import numpy as np
import pytest

import msibench as mb
from msibench.uncertainty.conformal import KnownPixels
from msibench.uncertainty.difficulty import FEATURES
from msibench.uncertainty.growth import MOST_NOISE, growths


def known(residual, unit=1.0):
    size = len(residual)
    return KnownPixels(
        residual=residual / unit, features=np.ones((len(FEATURES), size)), half=np.arange(size) < 9, unit=unit
    )  # fmt: skip


def counted(seed, counts=50, shape=(96, 96)):
    image = np.random.default_rng(seed).poisson(counts, (2, *shape)).astype(np.float32)
    return mb.MSImage(image, np.arange(2.0) + 100, 10.0)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("unit", [1.0, 20.0])
def test_errors_that_are_counting_noise_grow_with_the_factor(factor, unit):
    truth = counted(0)
    errors = [known(image.ravel() - 50.0, unit) for image in truth.values]
    for growth in growths(errors, truth, factor, enough=1000):
        assert growth.measurement == pytest.approx(factor * np.sqrt(MOST_NOISE), rel=0.05)
        assert growth.signal == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("factor", [2, 4])
def test_errors_of_structure_fall_as_its_detail_does(factor):
    y, x = np.mgrid[:96, :96]
    wave = 100 + 50 * np.sin(x / 9) * np.cos(y / 8)
    truth = mb.MSImage(np.array([wave, wave], np.float32), np.arange(2.0) + 100, 10.0)
    rng = np.random.default_rng(1)
    for growth in growths([known(rng.normal(size=9000))] * 2, truth, factor, enough=1000):
        assert growth.measurement == pytest.approx(0.5 ** (np.log2(factor) / 2), rel=0.02)
        assert growth.signal == pytest.approx(growth.measurement, rel=0.02)


def test_of_few_pixels_the_share_of_all_ions_counts_and_of_none_nothing_is_undefined():
    truth = counted(2)
    many = known(truth.values[0].ravel() - 50.0)
    one, few, none = growths(
        [many, known(np.full(9, 1e3)), None], mb.MSImage(truth.values[[0, 1, 1]], np.arange(3.0), 10.0),
        2, enough=1000,
    )  # fmt: skip
    assert few.measurement == pytest.approx(one.measurement, rel=0.02)
    assert np.isfinite([none.measurement, none.signal]).all()
    assert all(np.isfinite(g.signal) for g in growths([None, None], truth, 4, enough=1000))
