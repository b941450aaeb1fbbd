import subprocess
import sys
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy import ndimage
from sklearn import cross_decomposition

from msibench import MSImage, Problem, Skip
from msibench.degradation.binning import area_mean
from msibench.errors import ConfigurationError, DataError
from msibench.io.imzml.image_writer import write_imzml
from msibench.testing import MethodContract
from msibench_cca import msibench_methods
from msibench_cca.back_to_mz import check_spectra
from msibench_cca.canonical import predict_finer
from msibench_cca.config import CCAConfig
from msibench_cca.grid_artefact import WithoutGrid, remove_grid
from msibench_cca.maps import Maps
from msibench_cca.masks import (
    area_weights,
    resample,
    same_section,
    sections_of,
    tissue_mask,
)
from msibench_cca.method import CCAFusion
from msibench_cca.mz_grid import make_grid
from msibench_cca.pipeline import fuse
from msibench_cca.registration import move, register_rigid

SPECS = {spec.name: spec for spec in msibench_methods()}


class TestAsPublished(MethodContract):
    spec = SPECS["cca-as-published"]
    low_shape = (8, 7)
    expected_failures: ClassVar = {
        "check_batch_equals_one_by_one": "components are shared by all ion images of the section"
    }


class TestRegression(MethodContract):
    spec = SPECS["cca-regression"]
    low_shape = (8, 7)


MODES = sorted(SPECS)


def build(name, **changes):
    return CCAFusion(**{**SPECS[name].config, **changes})


def smooth(channels, rows, columns, seed):
    noise = np.random.default_rng(seed).random((channels, rows, columns))
    field = ndimage.gaussian_filter(noise, (0, 2, 2), mode="wrap")
    low, high = field.min((1, 2), keepdims=True), field.max((1, 2), keepdims=True)
    return (field - low) / (high - low)


def sections(rows=12, columns=10, factor=4, hidden=3, channels=5, seed=0):
    """Two modalities that see other mixtures of the same three tissues."""
    tissue = smooth(hidden, rows * factor, columns * factor, seed)
    rng = np.random.default_rng(seed + 1)
    truth = np.tensordot(rng.random((channels, hidden)), tissue, 1) * 30
    second = np.tensordot(rng.random((4, hidden)), tissue, 1)
    low = MSImage(area_mean(truth, factor).astype(np.float32), np.arange(channels) + 790.0)
    fine = MSImage(second.astype(np.float32), np.arange(4) + 50.0)
    return Problem(low=low, factor=factor, second=fine), truth


def correlation(one, two):
    return np.corrcoef(one.ravel(), two.ravel())[0, 1]


@pytest.mark.parametrize("name", MODES)
def test_every_hyper_parameter_has_a_source(name):
    assert SPECS[name].config.keys() == SPECS[name].sources.keys()


@pytest.mark.parametrize("name", MODES)
def test_ions_that_the_second_modality_explains_are_recovered(name):
    problem, truth = sections()

    fine = build(name).upscale(problem)

    assert fine.shape == truth.shape
    assert fine.dtype == np.float32
    assert fine.min() >= 0
    least = 0.95 if name == "cca-regression" else 0.6  # weak pairs come back too strong
    assert min(correlation(a, b) for a, b in zip(fine, truth, strict=True)) > least


@pytest.mark.slow
def test_regression_is_nearer_the_truth_than_the_published_prediction_where_correlation_is_weak():
    problem, truth = sections(24, 20)
    rng = np.random.default_rng(5)
    noisy = problem.second.values + rng.gamma(1, 0.5, problem.second.values.shape)
    weak = replace(problem, second=replace(problem.second, values=noisy))

    errors = {name: np.sqrt(((build(name).upscale(weak) - truth) ** 2).mean()) for name in MODES}

    assert errors["cca-regression"] < errors["cca-as-published"]


@pytest.mark.parametrize("mode", ["as-published", "regression"])
def test_a_stage_predicts_as_scikit_learn_or_as_least_squares(mode):
    rng = np.random.default_rng(0)
    finer = Maps(rng.random((3, 16, 12)), np.ones((16, 12), bool), np.ones((3, 2)), 0.0)
    x = area_mean(finer.values, 2).reshape(3, -1).T
    y = x @ rng.random((3, 3)) + 0.2 * rng.random((len(x), 3))
    coarse = Maps(y.T.reshape(3, 8, 6), np.ones((8, 6), bool), np.ones((3, 4)), 0.0)

    maps, stage = predict_finer(coarse, finer, CCAConfig(mode=mode, components=3))

    at = finer.values.reshape(3, -1).T
    if mode == "as-published":
        expected = cross_decomposition.CCA(3, max_iter=100_000, tol=1e-18).fit(x, y).predict(at)
    else:
        ones = np.column_stack([np.ones(len(x)), x])
        expected = np.column_stack([np.ones(len(at)), at]) @ np.linalg.lstsq(ones, y)[0]
    np.testing.assert_allclose(maps.values.reshape(3, -1).T, expected, atol=1e-5)
    assert stage.pixels == 48


def test_the_middle_modality_is_a_stage_of_its_own():
    problem, truth = sections()
    middle = MSImage(area_mean(problem.second.values, 2).astype(np.float32), problem.second.mz)
    method = build("cca-regression")

    fine = method.upscale(replace(problem, middle=middle))

    assert len(method.report()["stages"]) == 2
    assert min(correlation(a, b) for a, b in zip(fine, truth, strict=True)) > 0.9


def test_a_middle_grid_need_not_divide():
    problem, truth = sections()
    odd = resample(
        Maps(problem.second.values.astype(float), np.ones((48, 40), bool), np.ones((4, 1)), 0),
        (31, 27),
    )[0]

    fine = build("cca-regression").upscale(
        replace(problem, middle=MSImage(odd.astype(np.float32), problem.second.mz))
    )

    assert min(correlation(a, b) for a, b in zip(fine, truth, strict=True)) > 0.8


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize(("rows", "columns", "factor"), [(3, 5, 2), (1, 4, 3), (2, 2, 1)])
def test_small_sections_with_fewer_pixels_than_components_are_taken(name, rows, columns, factor):
    problem, truth = sections(rows, columns, factor)

    fine = build(name).upscale(problem)

    assert fine.shape == truth.shape
    assert np.isfinite(fine).all()


@pytest.mark.parametrize("name", MODES)
def test_one_channel_on_either_side_is_taken(name):
    problem, _ = sections()
    single = replace(problem, low=problem.low.select([2]), second=problem.second.select([0]))

    fine = build(name).upscale(single)

    assert fine.shape == (1, 48, 40)
    assert np.isfinite(fine).all()


def test_without_a_second_modality_it_is_not_applicable():
    answer = build("cca-regression").upscale(replace(sections()[0], second=None))

    assert isinstance(answer, Skip)
    assert "second, finer MSI modality" in answer.reason


def test_an_empty_mask_is_not_applicable():
    problem, _ = sections()
    low = replace(problem.low, mask=np.zeros((12, 10), dtype=bool))

    assert isinstance(build("cca-regression").upscale(replace(problem, low=low)), Skip)


@pytest.mark.parametrize("level", [0.0, 3.0])
def test_a_constant_section_stays_constant(level):
    problem, _ = sections()
    flat = replace(problem.low, values=np.full((5, 12, 10), level, dtype=np.float32))

    fine = build("cca-regression").upscale(replace(problem, low=flat))

    np.testing.assert_allclose(fine, level, rtol=0.01, atol=1e-3)


def test_pixels_that_were_not_measured_are_left_out_of_the_fit():
    problem, truth = sections()
    holed = problem.low.values.copy()
    holed[:, 3, 3] = np.nan
    holed[4, 0, 0] = np.nan
    second = problem.second.values.copy()
    second[:, :5, :5] = np.nan

    fine = build("cca-regression").upscale(
        replace(
            problem,
            low=replace(problem.low, values=holed),
            second=replace(problem.second, values=second),
        )
    )

    assert np.isfinite(fine).all()
    assert correlation(fine[:, 8:], truth[:, 8:]) > 0.85


def test_the_grid_keeps_every_mz_that_occurs_and_no_other():
    class Spectra:
        shape = (1, 2)
        pixels = np.array([[0, 0], [0, 1]])

        def __len__(self):
            return 2

        def spectrum(self, i):
            return (np.array([[100.0, 100.25, 300.0], [100.25, 200.0, 200.5]][i]), np.ones(3))

    grid = make_grid(Spectra())

    np.testing.assert_allclose(grid.mz, [100, 100.25, 200, 200.5, 300])
    assert grid.scale == pytest.approx(4)
    assert grid.assign(np.array([200.0, 150.0, 300.1])).tolist() == [2, -1, 4]
    assert grid.nearest(50, np.array([200.005, 250.0, 99.999, 301.0])).tolist() == [2, -1, 0, -1]


def test_a_repeated_pattern_is_taken_out():
    scene = smooth(2, 60, 80, 0) * 5
    pattern = np.random.default_rng(1).random((20, 20))
    marked = (scene + np.tile(pattern, (3, 4)) * 4).astype(np.float32)

    cleaned = remove_grid(marked, 20, keep_level=True)

    assert correlation(cleaned, scene) > correlation(marked, scene) + 0.1
    assert cleaned.mean() == pytest.approx(marked.mean(), rel=0.05)
    published = remove_grid(marked, 20, keep_level=False)
    mean = marked.reshape(2, 3, 20, 4, 20).mean((1, 3))
    np.testing.assert_allclose(
        published, np.maximum(marked - np.tile(mean, (1, 3, 4)), 0), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("keep_level", [True, False])
def test_sparse_rows_lose_the_pattern_as_dense_images_do(keep_level):
    images = (np.random.default_rng(0).random((3, 8, 12)) + 0.5).astype(np.float32)
    pixels = np.argwhere(np.ones((8, 12), dtype=bool))
    rows = sparse.csr_array(images.reshape(3, -1).T)

    blocks = WithoutGrid([rows[:50], rows[50:]], pixels, (8, 12), 4, keep_level=keep_level)

    found = np.vstack([block.toarray() for block in blocks]).T.reshape(3, 8, 12)
    expected = remove_grid(images, 4, keep_level=keep_level)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_tile_as_large_as_the_image_is_refused():
    with pytest.raises(ConfigurationError, match="repeated pattern"):
        remove_grid(np.ones((1, 8, 8), np.float32), 8, keep_level=True)


def test_masks_have_no_holes_and_debris_is_no_section():
    known = np.zeros((20, 30), dtype=bool)
    known[2:6, 2:5] = True
    known[8:18, 10:28] = True
    known[12, 15] = False

    mask = tissue_mask(known, 1)

    assert mask[12, 15]
    small, large = sections_of(mask, known)
    assert (small.rows, small.columns, small.pixels) == (slice(2, 6), slice(2, 5), 12)
    assert (large.rows, large.columns, large.pixels) == (slice(8, 18), slice(10, 28), 179)
    known[19, 0] = True
    assert len(sections_of(tissue_mask(known, 1), known)) == 2
    with pytest.raises(DataError, match="no tissue"):
        sections_of(np.zeros((3, 3), bool), np.zeros((3, 3), bool))


def slide(*boxes, shape=(40, 60), scale=1):
    known = np.zeros((shape[0] * scale, shape[1] * scale), dtype=bool)
    for top, left, bottom, right in boxes:
        known[top * scale : bottom * scale, left * scale : right * scale] = True
    return sections_of(known, known)


def test_the_same_section_is_taken_in_every_modality_though_another_is_its_largest():
    coarse = slide((4, 3, 14, 23), (4, 33, 12, 51), (24, 5, 36, 18))
    fine = slide((4, 3, 14, 20), (4, 33, 14, 58), (24, 5, 36, 18), scale=4)  # its second is larger

    one, other = same_section([coarse, fine])
    assert (one.rows, one.columns) == (slice(4, 14), slice(3, 23))
    assert (other.rows, other.columns) == (slice(16, 56), slice(12, 80))
    for number, (top, left) in enumerate([(4, 3), (4, 33), (24, 5)], start=1):
        one, other = same_section([coarse, fine], number)
        assert (one.rows.start, one.columns.start) == (top, left)
        assert (other.rows.start, other.columns.start) == (4 * top, 4 * left)
    assert same_section([coarse, fine], "2") == same_section([coarse, fine], 2)


def test_slides_with_other_margins_show_the_same_sections():
    coarse = slide((4, 3, 14, 23), (24, 30, 36, 50))
    shifted = slide((4, 13, 14, 33), (24, 40, 36, 60), shape=(60, 90), scale=2)
    for number in (1, 2):
        one, other = same_section([coarse, shifted], number)
        assert other.rows.start == 2 * one.rows.start
        assert other.columns.start == 2 * (one.columns.start + 10)


def test_a_section_that_is_not_there_is_refused():
    coarse, fine = slide((4, 3, 14, 23), (24, 30, 36, 50)), slide((4, 3, 14, 23), (30, 3, 38, 9))
    for wrong in (0, 3, "liver"):
        with pytest.raises(DataError, match="from 1 to 2"):
            same_section([coarse, fine], wrong)
    with pytest.raises(DataError, match="has no section where the coarse one's lies"):
        same_section([coarse, fine], 2)


@pytest.mark.slow
def test_the_pipeline_fuses_the_section_that_is_named(tmp_path):
    """Two sections on a slide; in the finer file the other one is the larger."""
    problem, _ = sections()
    mz = np.arange(5) * 1.0 + 788
    low = np.zeros((5, 12, 24), np.float32)
    low[:, :, :10], low[:, 1:11, 13:22] = problem.low.values, problem.low.values[:, :10, :9]
    fine = np.zeros((4, 48, 96), np.float32)
    fine[:, :, :36], fine[:, 2:46, 50:94] = (
        problem.second.values[:, :, :36],
        np.tile(problem.second.values, 2)[:, :44, :44],
    )
    paths = [tmp_path / "coarse.imzML", tmp_path / "fine.imzML"]
    write_imzml(paths[0], MSImage(low, mz, mask=low.any(0)))
    write_imzml(paths[1], MSImage(fine, mz[:4], mask=fine.any(0)))

    first = fuse(*paths, config=CCAConfig(mask_dilation=1))
    second = fuse(*paths, config=CCAConfig(mask_dilation=1, section=2))

    assert [crop[1].start for crop in first.crops] == [0, 0]
    assert [crop[1].start for crop in second.crops] == [13, 50]


def test_the_finest_modality_is_registered_onto_the_middle_one(monkeypatch):
    problem, _ = sections()
    middle = MSImage(area_mean(problem.second.values, 2).astype(np.float32), problem.second.mz)
    seen = []

    def watched(moving, fixed, *, steps, rate):
        seen.append((moving.shape, fixed.shape))
        return register_rigid(moving, fixed, steps=steps, rate=rate)

    monkeypatch.setattr("msibench_cca.registration.register_rigid", watched)
    build("cca-regression", register=True, register_steps=8).upscale(
        replace(problem, middle=middle)
    )
    assert seen == [((24, 20), (12, 10)), ((48, 40), (24, 20))]


def test_grid_removal_and_registration_are_switched_on_by_a_track():
    from msibench.plugin_manager.discovery import discover
    from msibench.runner.plan import make_plan
    from msibench.tracks import track_from_text

    text = """
schema_version = 1
name = "t"
methods = ["cca-regression",
  { method = "cca-regression", label = "cca-mended", config = { grid_tile = 8, register = true } }]
[[problems]]
dataset = "phantom"
protocols = ["area-x4@1"]
sections = ["synthetic-1"]
"""
    plan = make_plan(track_from_text(text, None, "t"), discover())
    chosen = {cell.label: cell.competitor.config for cell in plan.cells}
    assert chosen["cca-mended"]["grid_tile"] == 8
    assert not chosen["cca-regression"]["register"]
    problem, truth = sections()
    pattern = np.tile(np.random.default_rng(3).random((8, 8)), (6, 5)) * 3
    gridded = replace(
        problem,
        second=replace(problem.second, values=(problem.second.values + pattern).astype(np.float32)),
    )
    kept, mended = (
        CCAFusion(**{**chosen[name], "register": False}).upscale(gridded)
        for name in ("cca-regression", "cca-mended")
    )
    assert np.abs(mended - truth).mean() < np.abs(kept - truth).mean()


@pytest.mark.parametrize(("fine", "coarse"), [(12, 4), (13, 5), (7, 7)])
def test_area_weights_are_means_that_keep_the_total(fine, coarse):
    weights = area_weights(fine, coarse)

    np.testing.assert_allclose(weights.sum(1), 1)
    np.testing.assert_allclose(weights.sum(0), coarse / fine)


@pytest.mark.parametrize("shape", [(40, 64), (50, 50)])
def test_a_rigid_motion_is_found_and_undone(shape):
    scene = smooth(1, *shape, 3)[0]
    scene *= ndimage.gaussian_filter(np.pad(np.ones((shape[0] - 20, shape[1] - 20)), 10), 2)
    centre = (np.array(shape) - 1) / 2
    turn = np.deg2rad(6)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    offset = centre - matrix @ centre + np.array([2.0, -1.5])
    moving = ndimage.affine_transform(scene, matrix, offset, order=1)

    maps = Maps(moving[None], np.ones(shape, bool), np.ones((1, 1)), 0)
    fixed = Maps(
        area_mean(scene, 2)[None], np.ones((shape[0] // 2, shape[1] // 2), bool), np.ones((1, 1)), 0
    )

    found = register_rigid(maps, fixed, steps=240, rate=0.01)

    assert abs(abs(found.angle_deg) - 6) < 0.6
    assert found.correlation > max(found.correlation_before, 0.98)
    back = move(maps, found).values[0]
    assert correlation(back[8:-8, 8:-8], scene[8:-8, 8:-8]) > 0.98


def test_nothing_is_moved_where_there_is_nothing_to_go_by():
    flat = Maps(np.ones((1, 8, 6)), np.ones((8, 6), bool), np.ones((1, 1)), 0)

    found = register_rigid(flat, flat, steps=8, rate=0.01)

    assert found.refused
    assert move(flat, found) is flat


@pytest.mark.slow
def test_a_method_may_register_first():
    problem, truth = sections(16, 14)
    shifted = np.roll(problem.second.values, (4, -3), (1, 2))
    moved = replace(problem, second=replace(problem.second, values=shifted))

    plain, registered = (
        build("cca-regression", register=flag).upscale(moved) for flag in (False, True)
    )

    inner = np.s_[:, 8:-8, 8:-8]
    assert correlation(registered[inner], truth[inner]) > correlation(plain[inner], truth[inner])


def test_two_imzml_files_are_fused_end_to_end(tmp_path):
    problem, truth = sections(16, 14)
    tissue = np.zeros((16, 14), dtype=bool)
    tissue[2:14, 1:12] = True
    fine_tissue = tissue.repeat(4, 0).repeat(4, 1)
    coarse_mz = np.array([760.5, 788.2, 790.8273, 810.4, 850.0])
    paths = [tmp_path / "coarse.imzML", tmp_path / "fine.imzML"]
    write_imzml(
        paths[0],
        replace(problem.low, mz=coarse_mz, mask=tissue, pixel_size_um=100.0),
        mode="processed",
    )
    finer = replace(
        problem.second, mz=coarse_mz[:4] * (1 + 20e-6), mask=fine_tissue, pixel_size_um=25.0
    )
    write_imzml(paths[1], finer, mode="processed")

    fusion = fuse(*paths, config=CCAConfig(register=False, mz_gap=0.001))
    streamed = fuse(*paths, config=CCAConfig(register=False, mz_gap=0.001), scratch=tmp_path)

    box = slice(8, 56), slice(4, 48)
    assert fusion.predicted.shape == (48, 44)
    np.testing.assert_allclose(fusion.mz, coarse_mz, atol=1e-3)
    image = fusion.ion_image(790.8273, half_width=0.5)
    assert correlation(image.values[0], truth[2][box]) > 0.95
    assert image.pixel_size_um == 25.0
    assert fusion.spectrum(3, 4).shape == (5,)
    check = fusion.check(half_width=5.0, box=(slice(2, 6), slice(3, 8)))
    assert check.cosine > 0.99
    assert check.window_predicted.shape == (48, 44)
    np.testing.assert_allclose(
        streamed.ion_image(790.8273, half_width=0.5).values, image.values, rtol=0.02, atol=0.5
    )


def test_a_shifted_fine_file_is_registered(tmp_path):
    problem, truth = sections(20, 18, seed=4)
    tissue = np.zeros((20, 18), dtype=bool)
    tissue[3:17, 2:16] = True
    fine_tissue = tissue.repeat(4, 0).repeat(4, 1)
    fine_tissue = np.roll(fine_tissue, (5, 3), (0, 1))
    second = np.roll(problem.second.values, (5, 3), (1, 2))
    mz = np.arange(5) + 790.0
    paths = [tmp_path / "coarse.imzML", tmp_path / "fine.imzML"]
    write_imzml(paths[0], replace(problem.low, mz=mz, mask=tissue))
    write_imzml(paths[1], MSImage(second, mz[:4], mask=fine_tissue))

    fusion = fuse(*paths, config=CCAConfig(register=True))

    image = fusion.ion_image(790.0, half_width=0.5).values[0]
    assert correlation(image[4:-4, 4:-4], truth[0][12:68, 8:64][4:-4, 4:-4]) > 0.9
    assert len(fusion.motions) == 1


def test_files_without_a_common_mz_are_refused_with_a_way_out(tmp_path):
    problem, _ = sections(6, 5)
    paths = [tmp_path / "coarse.imzML", tmp_path / "fine.imzML"]
    write_imzml(paths[0], problem.low)
    write_imzml(paths[1], problem.second)

    with pytest.raises(DataError, match="match_ppm"):
        fuse(*paths)
    fusion = fuse(*paths, config=CCAConfig(match_ppm=None))
    assert fusion.predicted.shape == (24, 20)


def test_a_window_without_mz_is_refused():
    maps = Maps(np.ones((1, 2, 2)), np.ones((2, 2), bool), np.ones((1, 3)), 0)

    with pytest.raises(DataError, match="nearest is 300"):
        check_spectra(maps, maps, np.array([100.0, 200.0, 300.0]))


@pytest.mark.parametrize(
    "changes",
    [{"mode": "sklearn"}, {"components": 0}, {"ridge": -1}, {"grid_tile": 1}, {"match_ppm": 0}],
)
def test_options_that_cannot_be_meant_are_refused(changes):
    with pytest.raises(ConfigurationError):
        CCAConfig(**changes)


def test_discovery_imports_no_torch():
    script = "import sys, msibench_cca as c; list(c.msibench_methods()); sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
