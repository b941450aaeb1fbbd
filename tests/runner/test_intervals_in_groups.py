"""Intervals of a section that is predicted a few ion images at a time are those of the section as a whole."""

import numpy as np
import pytest

import msibench as mb
from msibench.image import Interval, Skip
from msibench.results.arrays import read_arrays
from msibench.results.told_intervals import intervals_of
from msibench.runner.child.main import _predict

NOWHERE = 2
"""Channel of an ion that is not present."""


class Knows:
    def upscale(self, problem):
        return problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2)

    def interval(self, problem, *, level):
        fine = self.upscale(problem)
        return Interval.from_deviation(fine, 0.1 + 0.2 * np.sqrt(fine), level=level)


class KnowsSometimes(Knows):
    def interval(self, problem, *, level):
        return Skip("not today")


class Fails(Knows):
    def upscale(self, problem):
        if problem.low.shape[0] < 40:
            raise RuntimeError("needs 40 rows")
        return super().upscale(problem)


def section(shape=(48, 44), channels=6):
    rng = np.random.default_rng(3)
    y, x = np.mgrid[: shape[0], : shape[1]]
    images = [
        rng.poisson(20 + 15 * np.sin((y + 9 * k) / 6) * np.cos(x / 7)) for k in range(channels)
    ]
    images[NOWHERE] *= 0
    mask = np.ones(shape, dtype=bool)
    mask[:5] = False
    return mb.MSImage(np.array(images, np.float32), 100.0 + np.arange(channels), 10.0, mask=mask)


def predicted(method, path, *, parts, low=None):
    """The file of a prediction, and what is reported."""
    low = section() if low is None else low
    every = mb.Problem(low=low, factor=2)
    present = low.present()
    some = mb.Problem(low=low.select(present), factor=2)
    ions = len(present)
    cuts = [slice(0, 2), slice(2, ions)] if parts else [slice(0, ions)]
    task = {"intervals": "one-scale-up", "each_ion_alone": True, "never_negative": True}
    return path, _predict(method, some, every, present, cuts, path, {}, task).report


@pytest.fixture(params=["whole", "parts"])
def parts(request, monkeypatch):
    if request.param == "parts":
        monkeypatch.setenv("MSIBENCH_LARGE_MIB", "0.05")
    return request.param == "parts"


@pytest.fixture
def both(tmp_path, monkeypatch):
    whole, _ = predicted(Knows(), tmp_path / "whole.h5", parts=False)
    monkeypatch.setenv("MSIBENCH_LARGE_MIB", "0.05")
    parts, report = predicted(Knows(), tmp_path / "parts.h5", parts=True)
    assert report["groups_of_ion_images"] == 2
    assert "calibrated on this section itself" in report["intervals"]
    return whole, parts


def test_every_array_is_that_of_the_whole(both):
    names = (
        "prediction", "lower", "upper", "calibrated_reach", "calibrated_signal", "calibrated_quantiles",
        "calibrated_levels", "calibrated_up",
    )  # fmt: skip
    (whole, about), (parts, said) = (read_arrays(path, names) for path in both)
    assert about == said
    for name in names:
        np.testing.assert_array_equal(whole[name], parts[name], err_msg=name)


def test_an_ion_that_is_nowhere_has_none(both):
    for path in both:
        found = intervals_of(path)
        assert np.isnan(found.told.lower[NOWHERE]).all()
        assert np.isnan(found.calibrated.reach[NOWHERE]).all()
        assert np.isfinite(found.calibrated.reach[NOWHERE + 1]).all()
        assert np.isfinite(found.told.upper[NOWHERE - 1]).all()


def test_a_method_that_tells_none_here_has_that_of_the_harness(tmp_path, parts):
    path, _ = predicted(KnowsSometimes(), tmp_path / "a.h5", parts=parts)
    assert intervals_of(path).told is None
    assert np.isfinite(intervals_of(path).calibrated.quantiles[0, 0])
    assert intervals_of(path).not_calibrated == ""


def test_why_there_is_none_is_kept(tmp_path, parts):
    path, report = predicted(Fails(), tmp_path / "a.h5", parts=parts)
    assert "needs 40 rows" in intervals_of(path).not_calibrated
    assert report["intervals"] == f"not calibrated: {intervals_of(path).not_calibrated}"


def test_fewer_than_200_tissue_pixels_are_refused(tmp_path, parts):
    path, _ = predicted(Knows(), tmp_path / "a.h5", parts=parts, low=section((16, 16)))
    assert "176 tissue pixels were measured; expected at least 200" in (
        intervals_of(path).not_calibrated
    )
