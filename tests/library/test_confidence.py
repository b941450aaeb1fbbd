"""mb.confidence: intervals for every pixel, or words why not."""

import numpy as np
import pytest

import msibench as mb
from msibench.degradation import protocol
from msibench.metrics.interval import coverage
from msibench.testing import Subject
from msibench.testing.method_checks import (
    check_interval_holds_the_prediction,
    check_interval_widens_with_its_level,
)

METHODS = """
import numpy as np
from msibench import Interval

class Nearest:
    def upscale(self, problem):
        return np.nan_to_num(problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2))

class Random(Nearest):
    def upscale(self, problem):
        fine = super().upscale(problem)
        rng = np.random.default_rng(problem.seed)
        return (fine * rng.uniform(0.8, 1.2, fine.shape)).astype(np.float32)

class Knows(Nearest):
    def interval(self, problem, *, level):
        fine = self.upscale(problem)
        return Interval.from_deviation(fine, 1 + 0.3 * np.sqrt(fine), level=level)

class Certain(Knows):
    def interval(self, problem, *, level):
        fine = self.upscale(problem)
        return Interval(fine, fine, fine)

class Shrinks(Knows):
    def interval(self, problem, *, level):
        return super().interval(problem, level=1 - level)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(METHODS)
    return "mine.py"


def section(seed=0, shape=(96, 80), channels=2, counts=30.0):
    """Counted ions of a smooth anatomy with edges; another seed is another animal."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    images = []
    for channel in range(channels):
        at = rng.uniform(0, min(shape), (6, 2))
        mean = counts * (0.3 + 0.2 * np.sin((y + 9 * channel) / 7))
        for row, column in at:
            mean += counts * ((y - row) ** 2 + (x - column) ** 2 < 60)
        images.append(rng.poisson(mean))
    return mb.MSImage(np.array(images, dtype=np.float32), 400 + 50.0 * np.arange(channels), 10.0)


def held(done, fine, problem):
    truth = protocol(problem.protocol).prepare(fine).truth.values
    return float(coverage(done.lower.values, done.upper.values, truth).mean())


@pytest.mark.parametrize("factor", [2, 4])
def test_calibrated_on_other_sections_it_holds_what_it_says(factor):
    others = [section(seed, shape=(160, 144)) for seed in (1, 2, 3)]
    found = []
    for seed in (4, 5, 6):
        fine = section(seed, shape=(160, 144))
        problem = mb.degrade(fine, f"area-x{factor}@1")
        done = mb.confidence(problem, "bicubic", calibration=others)
        found.append(held(done, fine, problem))
    assert np.mean(found) == pytest.approx(0.9, abs=0.02)
    assert "3 calibration sections" in done.calibrated


def test_calibrated_on_itself_one_scale_up_it_stays_near_and_says_so():
    fine = section(4)
    problem = mb.degrade(fine, "area-x2@1")
    done = mb.confidence(problem, "bicubic", 0.9)
    assert held(done, fine, problem) == pytest.approx(0.9, abs=0.08)
    assert "this section itself" in done.calibrated
    assert done.prediction.shape == (96, 80)
    assert done.prediction.pixel_size_um == 10.0
    assert (done.lower.values <= done.prediction.values).all()
    assert (done.prediction.values <= done.upper.values).all()
    assert (done.lower.values >= 0).all()
    assert (done.upper.values > done.lower.values).all()


def test_the_prediction_is_that_of_upscale():
    problem = mb.degrade(section(), "area-x4@1")
    fine = mb.upscale(problem, "bicubic")
    done = mb.confidence(problem, "bicubic")
    np.testing.assert_allclose(done.prediction.values, fine.values, rtol=1e-6)


def test_another_level_needs_no_new_calibration():
    problem = mb.Problem(low=section(shape=(48, 40)), factor=2)
    done = mb.confidence(problem, "bicubic", 0.5)
    wide = done.at(0.99)
    again = mb.confidence(problem, "bicubic", 0.99)
    np.testing.assert_array_equal(wide.upper.values, again.upper.values)
    assert (wide.upper.values >= done.upper.values).all()
    assert wide.supported().sum() < done.supported().sum()


def test_an_ion_that_is_nowhere_has_no_interval_rather_than_one_of_no_width():
    low = section(shape=(40, 30), channels=3)
    low.values[1] = 0
    low.values[:, :3, :4] = np.nan
    done = mb.confidence(mb.Problem(low=low, factor=2), "bicubic")
    assert done.undefined == {1: "nothing is present in this ion image"}
    assert np.isnan(done.lower.values[1]).all()
    assert np.isnan(done.upper.values[:, :6, :8]).all()
    assert np.isfinite(done.upper.values[0, 8:]).all()
    assert not done.supported()[1].any()


def test_a_random_method_is_the_mean_of_its_seeds_and_says_so(mine):
    problem = mb.Problem(low=section(shape=(40, 30)), factor=2)
    done = mb.confidence(problem, f"{mine}:Random")
    assert done.seeds == 5
    assert "5 seeds" in done.calibrated
    each = [
        mb.upscale(mb.Problem(low=problem.low, factor=2, seed=seed), f"{mine}:Random").values
        for seed in range(5)
    ]
    np.testing.assert_allclose(done.prediction.values, np.mean(each, axis=0), rtol=1e-5)
    assert mb.confidence(problem, f"{mine}:Nearest").seeds == 1


def test_an_ion_that_is_nowhere_near_the_middle_is_tried_where_it_is(mine):
    low = section(shape=(96, 96), channels=1)
    low.values[:, 15:81, 15:81] = 0
    problem = mb.Problem(low=low, factor=2)
    assert mb.confidence(problem, f"{mine}:Nearest").seeds == 1
    assert mb.confidence(problem, f"{mine}:Random").seeds == 5


def test_a_method_that_knows_its_uncertainty_is_calibrated_too(mine):
    fine = section(4)
    problem = mb.degrade(fine, "area-x2@1")
    done = mb.confidence(problem, f"{mine}:Knows", calibration=[section(1), section(2)])
    assert held(done, fine, problem) == pytest.approx(0.9, abs=0.03)


def test_checks_pass_an_honest_interval_and_fail_others(mine):
    from msibench.library.installed import catalogue
    from msibench.plugin_manager import resolve_method

    def subject(name):
        return Subject(spec=resolve_method(f"{mine}:{name}", catalogue()))

    check_interval_holds_the_prediction(subject("Knows"))
    check_interval_widens_with_its_level(subject("Knows"))
    with pytest.raises(AssertionError, match="no width"):
        check_interval_holds_the_prediction(subject("Certain"))
    with pytest.raises(AssertionError, match="does not hold that of 50 %"):
        check_interval_widens_with_its_level(subject("Shrinks"))


@pytest.mark.parametrize(
    ("shape", "factor", "level", "words"),
    [
        ((14, 14), 2, 0.9, "196 tissue pixels .* at least 200"),
        ((7, 60), 4, 0.9, "7 x 60 pixels are too few"),
        ((40, 30), 2, 90, "0.9 means 90 %"),
        ((40, 30), 1, 0.9, "adds no detail"),
    ],
)
def test_bad_input_is_refused_with_the_reason(shape, factor, level, words):
    with pytest.raises(mb.MSIBenchError, match=words):
        mb.confidence(mb.Problem(low=section(shape=shape), factor=factor), "bicubic", level)


def test_calibration_that_does_not_fit_is_refused():
    problem = mb.degrade(section(), "area-x2@1")
    pair = mb.Pair(low=section(shape=(20, 20)), high=section(shape=(80, 80)), factor=4)
    with pytest.raises(mb.MSIBenchError, match="factor 4, the problem 2"):
        mb.confidence(problem, "bicubic", calibration=[pair])


def test_what_lies_off_the_tissue_is_not_veiled():
    low = section(shape=(48, 40))
    mask = np.zeros(low.shape, dtype=bool)
    mask[8:40, 6:34] = True
    whole = mb.confidence(mb.Problem(low=low, factor=2), "bicubic").veil()
    masked = mb.MSImage(low.values, low.mz, low.pixel_size_um, mask=mask)
    inside = mb.confidence(mb.Problem(low=masked, factor=2), "bicubic").veil()
    fine = mask.repeat(2, 0).repeat(2, 1)
    assert whole[:, ~fine].any()
    assert not inside[:, ~fine].any()
    assert inside[:, fine].any()


def test_where_most_pixels_are_known_exactly_an_interval_still_has_a_width():
    low = section(shape=(60, 60), channels=1)
    low.values[:, :, 20:] = 0
    done = mb.confidence(mb.Problem(low=low, factor=2), "bicubic", 0.5)
    assert (done.upper.values > done.lower.values).all()


@pytest.mark.parametrize(("counts", "most"), [(5, 0.93), (50, 0.95)])
def test_intervals_of_a_smooth_field_fall_with_its_detail(counts, most):
    """One scale up this field has detail that it has not below the pixel: as wide there, 0.99 to 1 were held."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(11)
    field = gaussian_filter(rng.normal(size=(2, 144, 144)), (0, 4, 4), mode="wrap")
    mean = counts * (field - field.min()) / np.ptp(field)
    fine = mb.MSImage(rng.poisson(mean).astype(np.float32), np.array([400.0, 500.0]), 10.0)
    problem = mb.degrade(fine, "area-x4@1")
    assert 0.72 < held(mb.confidence(problem, "bicubic"), fine, problem) < most


def test_an_interval_that_a_method_does_not_tell_here_is_that_of_the_harness_alone(mine):
    from pathlib import Path

    text = (
        METHODS
        + """
class Silent(Nearest):
    def interval(self, problem, *, level):
        from msibench import Skip
        return Skip("not today")
"""
    )
    Path("mine.py").write_text(text)
    problem = mb.Problem(low=section(shape=(40, 30)), factor=2)
    silent, plain = (mb.confidence(problem, f"mine.py:{name}") for name in ("Silent", "Nearest"))
    np.testing.assert_array_equal(silent.upper.values, plain.upper.values)
