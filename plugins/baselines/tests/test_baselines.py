import subprocess
import sys
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from scipy import ndimage

from msibench import GuideImage, MSImage, Problem, Skip
from msibench.degradation.binning import area_mean
from msibench.errors import ConfigurationError
from msibench.plugin_manager import resolve_target
from msibench.testing import MethodContract
from msibench.training.consistent_twin import ConsistentTwin
from msibench_baselines import msibench_methods
from msibench_baselines.features import guide_features
from msibench_baselines.linear import LinearFusion

SPECS = {spec.name: spec for spec in msibench_methods()}
FAST = ["pls", "ridge", "ols", "guided-filter", "joint-bilateral", "guide-only"]
QUICK = ["cnn3-quick", "unet-quick", "pixtransform-quick"]
SHORT = {
    "cnn3-quick": {"epochs": 2},
    "unet-quick": {"epochs": 2},
    "pixtransform-quick": {"iterations": 10},
}


def build(name, **changes):
    spec = SPECS[name]
    return resolve_target(spec.target)(**{**spec.config, **SHORT.get(name, {}), **changes})


def section(rows=9, columns=7, channels=3, factor=2, colours=3, seed=0):
    rng = np.random.default_rng(seed)
    fine = rows * factor, columns * factor
    guide = rng.random((colours, *fine), dtype=np.float32)
    values = 50 * rng.random((channels, rows, columns), dtype=np.float32)
    return Problem(
        low=MSImage(values, np.arange(channels) + 100.0), factor=factor, guide=GuideImage(guide)
    )


class TestPLS(MethodContract):
    spec = SPECS["pls"]
    expected_failures: ClassVar = {
        "check_batch_equals_one_by_one": "latent variables are shared by all ion images"
    }


class TestRidge(MethodContract):
    spec = SPECS["ridge"]


class TestOLS(MethodContract):
    spec = SPECS["ols"]


class TestGuidedFilter(MethodContract):
    spec = SPECS["guided-filter"]


class TestJointBilateral(MethodContract):
    spec = SPECS["joint-bilateral"]


class TestGuideOnly(MethodContract):
    spec = SPECS["guide-only"]


class TestThreeLayerCNN(MethodContract):
    spec = SPECS["cnn3-quick"]
    config: ClassVar = SHORT["cnn3-quick"]


class TestUNet(MethodContract):
    spec = SPECS["unet-quick"]
    config: ClassVar = SHORT["unet-quick"]


class TestPixTransform(MethodContract):
    spec = SPECS["pixtransform-quick"]
    config: ClassVar = SHORT["pixtransform-quick"]


@pytest.mark.parametrize("name", sorted(SPECS))
def test_every_hyper_parameter_has_a_source(name):
    spec = SPECS[name]

    assert spec.config.keys() == spec.sources.keys()
    assert all(spec.sources.values())
    assert spec.budget in ("", "paper", "quick")
    assert (spec.budget == "quick") == name.endswith("-quick")
    assert spec.control == (name == "guide-only")


@pytest.mark.parametrize("name", [*FAST, *QUICK])
@pytest.mark.parametrize(
    ("rows", "columns", "channels", "factor", "colours"),
    [(9, 7, 3, 2, 3), (5, 4, 1, 3, 1), (1, 3, 2, 2, 4), (6, 5, 2, 1, 2)],
)
def test_predictions_lie_on_the_fine_grid_and_are_finite(
    name, rows, columns, channels, factor, colours
):
    problem = section(rows, columns, channels, factor, colours)

    fine = build(name).upscale(problem)

    assert fine.shape == (channels, rows * factor, columns * factor)
    assert fine.dtype == np.float32
    assert np.isfinite(fine).all()
    assert fine.min() >= 0


@pytest.mark.parametrize("name", [*FAST, *QUICK])
def test_without_a_guide_it_is_not_applicable(name):
    answer = build(name).upscale(replace(section(), guide=None))

    assert isinstance(answer, Skip)
    assert "needs a guide" in answer.reason


@pytest.mark.parametrize("name", FAST)
def test_an_empty_mask_is_not_applicable(name):
    problem = section()
    low = replace(problem.low, mask=np.zeros((9, 7), dtype=bool))

    assert isinstance(build(name).upscale(replace(problem, low=low)), Skip)


@pytest.mark.parametrize("name", [*FAST, *QUICK])
@pytest.mark.parametrize("level", [0.0, 7.0])
def test_constant_ion_images_and_guides_are_taken(name, level):
    problem = section()
    flat = replace(problem.low, values=np.full((3, 9, 7), level, dtype=np.float32))

    fine = build(name).upscale(replace(problem, low=flat))

    assert np.isfinite(fine).all()
    if name not in QUICK or level == 0:
        np.testing.assert_allclose(fine, level, rtol=1e-4, atol=1e-4)
    grey = GuideImage(np.full((3, 18, 14), 0.5, dtype=np.float32))
    assert np.isfinite(build(name).upscale(replace(problem, guide=grey))).all()


@pytest.mark.parametrize("name", [*FAST, *QUICK])
def test_pixels_that_were_not_measured_change_nothing_elsewhere(name):
    problem = section()
    holed, other = problem.low.values.copy(), problem.low.values.copy()
    holed[0, 2, 3] = np.nan
    holed[1] = np.nan
    other[0, 2, 3] = np.nan
    other[1] = 0

    fine = build(name).upscale(replace(problem, low=replace(problem.low, values=holed)))
    same = build(name).upscale(replace(problem, low=replace(problem.low, values=other)))

    assert np.isfinite(fine).all()
    np.testing.assert_allclose(fine[0], same[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*FAST, *QUICK])
def test_off_tissue_the_guide_is_not_followed(name):
    problem = section()
    mask = np.ones((9, 7), dtype=bool)
    mask[:, 4:] = False
    masked = replace(problem, low=replace(problem.low, mask=mask))
    stained = problem.guide.values.copy()
    stained[:, :, 10:] = 1 - stained[:, :, 10:]

    one = build(name).upscale(masked)
    two = build(name).upscale(replace(masked, guide=GuideImage(stained)))

    np.testing.assert_array_equal(one[:, :, 10:], two[:, :, 10:])


@pytest.mark.parametrize("name", [*FAST, *QUICK])
def test_a_consistent_twin_misses_less_of_its_input(name):
    problem = section()
    alone = build(name)
    twin = ConsistentTwin(build(name))

    fine = twin.upscale(problem)

    facts = twin.report()
    assert facts["misses_of_its_input"] < 0.5 * facts["misses_of_its_input_before"]
    missed = np.linalg.norm(area_mean(fine, 2) - problem.low.values)
    assert missed < np.linalg.norm(area_mean(alone.upscale(problem), 2) - problem.low.values)


@pytest.mark.parametrize("name", FAST)
def test_a_guide_that_is_unknown_in_places_is_taken(name):
    problem = section()
    values = problem.guide.values.copy()
    values[:, :6] = np.nan
    mask = np.ones((18, 14), dtype=bool)
    mask[:, :4] = False

    fine = build(name).upscale(replace(problem, guide=GuideImage(values, mask=mask)))

    assert np.isfinite(fine).all()
    everywhere = GuideImage(values, mask=np.zeros((18, 14), dtype=bool))
    assert isinstance(build(name).upscale(replace(problem, guide=everywhere)), Skip)


@pytest.mark.parametrize("name", ["pls", "ridge", "ols", "cnn3-quick", "pixtransform-quick"])
def test_an_ion_that_follows_the_guide_is_recovered(name):
    rng = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(rng.random((3, 40, 48)), (0, 1.5, 1.5))
    guide = ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)
    truth = 20 * np.tensordot(np.float32([[2, 1, 0], [0, 0.5, 3]]), guide, 1)
    problem = Problem(
        low=MSImage(area_mean(truth, 2), [100.0, 200.0]), factor=2, guide=GuideImage(guide)
    )
    longer = {"cnn3-quick": {"epochs": 120}, "pixtransform-quick": {"iterations": 300}}

    fine = build(name, **longer.get(name, {})).upscale(problem)

    for ion in range(2):
        least = 0.99 if name in ("pls", "ridge", "ols") else 0.8
        assert np.corrcoef(fine[ion].ravel(), truth[ion].ravel())[0, 1] > least


def test_pls_with_all_components_is_least_squares():
    problem = section(12, 11)
    options = {"ridge": 0.0, "features": ("colour",)}

    pls = LinearFusion(model="pls", components=3, **options).upscale(problem)
    ols = LinearFusion(model="ols", components=0, **options).upscale(problem)

    np.testing.assert_allclose(pls, ols, rtol=1e-3, atol=1e-3)


def test_filters_keep_an_edge_that_the_guide_shows():
    step = np.zeros((1, 24, 24), dtype=np.float32)
    step[:, :, 10:] = 1  # inside a coarse pixel of 4
    problem = Problem(
        low=MSImage(area_mean(step * 9 + 1, 4), [100.0]), factor=4, guide=GuideImage(step)
    )

    for name in ("guided-filter", "joint-bilateral"):
        fine = build(name).upscale(problem)[0]
        assert fine[:, 10].mean() - fine[:, 9].mean() > 6


def test_the_control_shows_the_guide_and_the_ions_mean():
    problem = section()

    fine = build("guide-only").upscale(problem)

    grey = problem.guide.values.mean(0)
    for ion in range(3):
        assert abs(np.corrcoef(fine[ion].ravel(), grey.ravel())[0, 1]) > 0.95


def test_a_16_bit_guide_that_was_not_scaled_is_taken():
    problem = section()
    wide = GuideImage(problem.guide.values * 65535)

    np.testing.assert_allclose(
        build("ridge").upscale(replace(problem, guide=wide)),
        build("ridge").upscale(problem),
        rtol=2e-2,
        atol=1,
    )


def test_opacity_is_left_out():
    problem = section()
    opaque = np.concatenate([problem.guide.values, np.ones((1, 18, 14), np.float32)])

    np.testing.assert_array_equal(
        build("ols").upscale(replace(problem, guide=GuideImage(opaque))),
        build("ols").upscale(problem),
    )


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("pls", {"components": 0}),
        ("ridge", {"ridge": -1.0}),
        ("ols", {"features": ("texture",)}),
        ("guided-filter", {"radius": 0}),
        ("joint-bilateral", {"sigma_range": 0.0}),
        ("cnn3-quick", {"kernels": (3, 3)}),
        ("unet-quick", {"kernels": (4,)}),
        ("pixtransform-quick", {"iterations": 0}),
    ],
)
def test_options_that_cannot_be_meant_are_refused(name, changes):
    with pytest.raises(ConfigurationError):
        build(name, **changes).upscale(section())


def test_features_are_one_per_name_and_guide_channel():
    guide = section().guide.values

    found = guide_features(guide, 2, ("colour", "gradient"))

    assert found.shape == (6, 18, 14)
    np.testing.assert_array_equal(found[:3], guide)


def test_the_parts_of_a_cnn_do_not_change_its_result():
    problem = section(20, 18, 1)

    whole, parts = (build("cnn3-quick", tile=tile).upscale(problem) for tile in (192, 16))

    np.testing.assert_allclose(whole, parts, rtol=1e-3, atol=1e-2)


def test_discovery_imports_no_torch():
    script = (
        "import sys, msibench_baselines as b; list(b.msibench_methods()); "
        "sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
