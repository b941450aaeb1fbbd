from pathlib import Path

import numpy as np
import pytest

from msibench import MSImage, Problem, Skip
from msibench.contracts.method import MethodSpec, Task, consistent_twin
from msibench.datasets import load_card, read_section
from msibench.degradation import area_mean, back_project, protocol
from msibench.errors import UnknownNameError
from msibench.plugin_manager import resolve_target
from msibench.plugin_manager.discovery import discover
from msibench.results.keys import changed_code, code_digests
from msibench.runner.plan import make_plan
from msibench.tracks import track_from_text

CATALOGUE = discover()


def problem(factor=3, missing=False, name=""):
    values = np.random.default_rng(5).gamma(2.0, 10.0, (2, 8, 9)).astype(np.float32)
    if missing:
        values[1, 2, 3] = np.nan
    return Problem(low=MSImage(values, [400.0, 500.0]), factor=factor, protocol=name)


class Flat:
    """Paints the mean of each ion."""

    def upscale(self, problem):
        mean = np.nanmean(problem.low.values, axis=(1, 2))
        return np.broadcast_to(mean[:, None, None], (2, *problem.fine_shape)).astype(np.float32)


class Declines:
    def upscale(self, problem):
        return Skip("needs a guide")


class Learns(Flat):
    learned = False

    def fit(self, pairs, *, seed, budget):
        self.learned = True

    def report(self):
        return {"loss": 1.0}


def twin_of(kind):
    return resolve_target(f"{Path(__file__)}:{kind}+consistent")()


def test_a_fine_image_that_holds_its_input_stays_as_it_is():
    fine = np.random.default_rng(0).random((2, 12, 15))
    again = back_project(fine, area_mean(fine, 3), lambda image: area_mean(image, 3))
    np.testing.assert_allclose(again, fine, rtol=1e-6)


def test_a_flat_image_becomes_a_magnification_of_its_input():
    twin = twin_of("Flat")
    fine = twin.upscale(problem())
    assert fine.dtype == np.float32
    assert fine.min() >= 0
    report = twin.report()
    assert report["misses_of_its_input"] < 0.15 * report["misses_of_its_input_before"]
    missed = np.linalg.norm(area_mean(fine, 3) - problem().low.values)
    assert missed / np.linalg.norm(problem().low.values) == pytest.approx(
        report["misses_of_its_input"], abs=1e-5
    )


def test_the_residual_is_that_of_the_problems_own_protocol():
    fine = np.random.default_rng(1).random((1, 24, 28)) + 1
    chosen = protocol("bicubic-x4@1")
    low = MSImage(chosen.degrade(fine), [400.0])
    made = resolve_target(f"{Path(__file__)}:Flat1+consistent")()
    given = Problem(low=low, factor=4, protocol="bicubic-x4@1")
    flat = Flat1().upscale(given)
    result = made.upscale(given)
    np.testing.assert_array_equal(result, back_project(flat, low.values, chosen.degrade))
    by_area = back_project(flat, low.values, lambda image: area_mean(image, 4))
    assert np.abs(result - by_area).max() > 1e-3


class Flat1(Flat):
    def upscale(self, problem):
        return np.full((1, *problem.fine_shape), problem.low.values.mean(), np.float32)


def test_nothing_is_added_where_the_input_is_not_known():
    fine = twin_of("Flat").upscale(problem(missing=True))
    assert np.isfinite(fine).all()


def test_what_a_method_declines_its_twin_declines():
    assert twin_of("Declines").upscale(problem()).reason == "needs a guide"


def test_a_twin_learns_and_reports_as_its_method_does():
    twin = twin_of("Learns")
    twin.fit([], seed=0, budget=None)
    twin.upscale(problem())
    assert twin.method.learned
    assert twin.report()["loss"] == 1.0
    assert not hasattr(twin_of("Flat"), "fit")


def test_every_method_has_a_twin_by_name():
    spec = CATALOGUE.method("guided-filter+consistent")
    assert spec == consistent_twin(CATALOGUE.method("guided-filter"))
    assert spec.task is Task.GUIDED
    with pytest.raises(UnknownNameError, match="Did you mean 'guided-filter'"):
        CATALOGUE.method("guided-filtr+consistent")


def test_the_key_of_a_twin_holds_the_code_of_both():
    base = CATALOGUE.method("ols").target
    own, twins = code_digests(base), code_digests(f"{base}+consistent")
    assert own.items() <= twins.items()
    added = {"msibench/training/consistent_twin.py", "msibench/degradation/back_projection.py"}
    assert added <= twins.keys() - own.keys()
    assert not changed_code(f"{base}+consistent", twins)


def test_a_track_names_twins():
    text = """
schema_version = 1
name = "t"
methods = ["ols", "ols+consistent"]
[[problems]]
dataset = "phantom"
protocols = ["area-x4@1"]
"""
    plan = make_plan(track_from_text(text, None, "t"), CATALOGUE)
    cells = {cell.label: cell.key for cell in plan.cells}
    assert set(cells) == {"ols", "ols+consistent"}
    assert len(set(cells.values())) == 2


def test_ready_methods_are_not_doubled():
    assert not [name for name in CATALOGUE.methods if name.endswith("+consistent")]


@pytest.mark.parametrize(
    "name",
    ["guided-filter", "joint-bilateral", pytest.param("smsdl-net-quick", marks=pytest.mark.slow)],
)
def test_filters_that_lose_to_bicubic_alone_beat_it_with_their_residual(name):
    """On the phantom the guide holds part of the ions; what the filters blur, the residual gives back."""
    card = load_card(CATALOGUE.dataset("phantom"))
    section = read_section(card, "synthetic-1")
    chosen = protocol("area-x4@1")
    prepared = chosen.prepare(section.image, counts_per_unit=section.counts_per_unit)
    given = Problem(low=prepared.low, factor=4, guide=section.guide, protocol=chosen.name)

    def psnr(name):
        spec: MethodSpec = CATALOGUE.method(name)
        fine = resolve_target(spec.target)(**spec.config).upscale(given)
        error = np.square(fine - prepared.truth.values).mean((1, 2))
        return float((10 * np.log10(1 / error)).mean())

    bicubic = psnr("bicubic")
    assert psnr(name) < bicubic
    assert psnr(f"{name}+consistent") > bicubic + 0.4
