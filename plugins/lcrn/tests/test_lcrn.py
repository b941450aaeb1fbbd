import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from msibench import GuideImage, MSImage, Problem, Skip
from msibench.testing import MethodContract
from msibench.testing.mirror import mirrored
from msibench.training.ions import scale_ions
from msibench_lcrn import QUICK, SPEC
from msibench_lcrn.config import PAPER_BUDGET, QUICK_BUDGET, SOURCES, LcrnConfig
from msibench_lcrn.method import LCRN
from msibench_lcrn.network import LcrnNetwork
from msibench_lcrn.objective import EDGE_KERNELS, LcrnObjective, cut

SMALL = {**QUICK_BUDGET, "channels": (4, 3), "epochs": 12, "learning_rate": 0.01}


def section(channels=2, factor=3, guide_channels=3, seed=0):
    """An ion image that follows the guide's bright disc, on a grid that is not square."""
    rng = np.random.default_rng(seed)
    rows, columns = 8, 6
    y, x = np.mgrid[: rows * factor, : columns * factor]
    disc = ((y - 11) ** 2 + (x - 8) ** 2 < 40).astype(np.float32)
    guide = np.stack([disc * share for share in (1, 0.6, 0.3, 1)])[:guide_channels]
    fine = disc * np.arange(1, channels + 1)[:, None, None] * 100
    low = fine.reshape(channels, rows, factor, columns, factor).mean((2, 4))
    low += rng.random(low.shape) * 0.1
    return Problem(
        low=MSImage(low, np.arange(channels) + 500.0), factor=factor, guide=GuideImage(guide)
    )


def objective_of(problem, **change):
    config = dataclasses.replace(LcrnConfig(), **change)
    return LcrnObjective(
        scale_ions(problem.low),
        problem.guide.values,
        problem.factor,
        config,
        5,
        torch.device("cpu"),
    )


def test_the_network_has_the_blocks_of_the_paper():
    shapes = {name: tuple(value.shape) for name, value in LcrnNetwork().named_parameters()}

    assert shapes["initial.0.weight"] == (64, 3, 3, 3)
    assert shapes["block1.first.weight"] == (32, 64, 3, 3)
    assert shapes["block1.second.weight"] == (32, 32, 3, 3)
    assert shapes["block1.skip.weight"] == (32, 64, 1, 1)
    assert shapes["block2.first.weight"] == (1, 32, 3, 3)
    assert shapes["block2.skip.weight"] == (1, 32, 1, 1)
    assert sum(value.numel() for value in LcrnNetwork().parameters()) == 31_916


def test_a_pixel_depends_on_no_more_than_the_radius_says():
    network, image = (
        LcrnNetwork(channels=(6, 4), activation="gelu"),
        torch.rand(1, 3, 25, 21, requires_grad=True),
    )
    network(image)[0, 0, 12, 10].backward()
    rows, columns = torch.nonzero(image.grad[0].abs().sum(0), as_tuple=True)
    assert network.radius == 5
    assert (int(rows.min()), int(rows.max())) == (7, 17)
    assert (int(columns.min()), int(columns.max())) == (5, 15)


@pytest.mark.parametrize("kernel", ["laplacian8", "laplacian4", "sobel"])
@pytest.mark.parametrize("how", ["grey", "mean", "each"])
def test_the_loss_is_that_of_the_paper(kernel, how):
    problem = section()
    objective = objective_of(
        problem, edge_kernel=kernel, guide_to_edges=how, mse_weight=0.7, edge_weight=0.2
    )
    output = torch.rand(2, 24, 18)

    losses = objective(lambda image: output[:, None, None], torch.arange(2), 0)

    low = torch.from_numpy(problem.low.values)[None]
    target = F.interpolate(low / low.amax((2, 3), keepdim=True), scale_factor=3, mode="bilinear")[0]
    guide = torch.from_numpy(problem.guide.values)
    grey = torch.einsum("c,chw->hw", torch.tensor([0.299, 0.587, 0.114]), guide)[None]
    reference = {"grey": grey, "mean": guide.mean(0, keepdim=True), "each": guide}[how]
    kernels = torch.tensor(EDGE_KERNELS[kernel], dtype=torch.float32)[:, None]
    for ion in range(2):
        edges = F.conv2d(output[ion][None, None], kernels)
        sharp = F.conv2d(reference[:, None], kernels)
        mse = (output[ion] - target[ion]).square().mean()
        edge = (edges - sharp).square().mean()
        expected = torch.stack((0.7 * mse + 0.2 * edge, mse, edge))
        torch.testing.assert_close(losses[ion], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fidelity", ["magnified", "footprint"])
@pytest.mark.parametrize("tile", [16, 17])
def test_cutting_the_image_changes_neither_loss_nor_gradient(tile, fidelity):
    problem = section(factor=5)
    network = LcrnNetwork(channels=(5, 4)).double()
    results = []
    for size in (tile, 999):
        objective = objective_of(problem, tile=size, fidelity=fidelity)
        objective.guide = objective.guide.double()
        total = sum(
            objective(lambda image: network(image).double()[None], torch.tensor([1]), part)
            for part in range(objective.parts)
        )
        network.zero_grad()
        total[0, 0].backward()
        results.append((objective.parts, total.detach(), network.initial[0].weight.grad.clone()))
    (cut_parts, cut_loss, cut_gradient), (whole_parts, whole_loss, whole_gradient) = results
    assert (cut_parts, whole_parts) == (6, 1)
    torch.testing.assert_close(cut_loss, whole_loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(cut_gradient, whole_gradient, rtol=1e-4, atol=1e-6)


def test_through_the_footprint_means_over_coarse_pixels_are_compared():
    problem = section()
    objective = objective_of(problem, fidelity="footprint", edge_weight=0.0)
    output = torch.rand(2, 24, 18)
    losses = objective(lambda image: output[:, None, None], torch.arange(2), 0)
    low = torch.from_numpy(problem.low.values)
    means = output.reshape(2, 8, 3, 6, 3).mean((2, 4))
    expected = (means - low / low.amax((1, 2), keepdim=True)).square().mean((1, 2))
    torch.testing.assert_close(losses[:, 1], expected, rtol=1e-5, atol=1e-6)


def test_tiles_cover_the_grid_once():
    covered = np.zeros((37, 50), int)
    for tile in cut((37, 50), 16, 6):
        covered[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop] += 1
        assert max(len(tile.rows), len(tile.columns)) <= 16
    assert (covered == 1).all()


def test_the_paper_s_largest_section_is_cut_into_parts_of_bounded_memory():
    tiles = cut((2700, 980), LcrnConfig().tile, 6)
    largest = max((len(tile.rows) + 12) * (len(tile.columns) + 12) for tile in tiles)
    assert largest * 64 * 4 < 12e6  # bytes of the widest layer


def test_the_early_stop_ends_at_five_rises_of_the_edge_loss_and_restores_the_best():
    method = LCRN(**{**SMALL, "epochs": 300, "learning_rate": 0.05, "rises": 5})
    method.upscale(section(channels=1))
    report = method.report()
    edge = np.array(report["curves"][0]["edge"])

    assert report["stopped_early"] == [True]
    assert report["epochs"][0] < 200
    assert (np.diff(edge) > 0).sum() == 5
    assert edge[-1] > edge[-2]  # the fifth rise is the last epoch
    assert report["best_epoch"] == [int(np.argmin(report["curves"][0]["total"]))], "best restored"


@pytest.mark.slow
def test_patience_lets_the_optimiser_jitter_where_counting_rises_ends():
    """Section 2.4: the fit ends once the edge loss is no longer optimised, not once it has trembled."""
    short = {**SMALL, "epochs": 300, "learning_rate": 0.02}
    counted = LCRN(**{**short, "rises": 5, "patience": None})
    waited = LCRN(**{**short, "rises": None, "patience": 20})
    for method in (counted, waited):
        method.upscale(section(channels=1))
    (few,), (many,) = counted.report()["epochs"], waited.report()["epochs"]
    assert many > few
    edge = np.array(waited.report()["curves"][0]["edge"])
    if waited.report()["stopped_early"][0]:
        assert np.argmin(edge) == many - 21
    assert waited.report()["curves"][0]["total"][-1] < counted.report()["curves"][0]["total"][-1]


def test_a_fit_without_early_stop_runs_to_the_end():
    method = LCRN(**{**SMALL, "rises": None, "restore": "last"})
    method.upscale(section(channels=1))
    assert method.report()["epochs"] == [12]


def test_detail_of_the_guide_that_belongs_to_the_ion_is_found():
    problem = section(channels=1)
    method = LCRN(**{**QUICK_BUDGET, "epochs": 200, "rises": None, "edge_weight": 0.05})

    fine = method.upscale(problem)[0]

    disc = problem.guide.values[0]
    nearest = np.kron(problem.low.values[0], np.ones((3, 3)))
    error = np.sqrt(((fine / 100 - disc) ** 2).mean())
    assert error < 0.7 * np.sqrt(((nearest / 100 - disc) ** 2).mean())


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_guide_of_any_channel_count_is_taken(channels):
    fine = LCRN(**{**SMALL, "epochs": 2}).upscale(section(guide_channels=channels))
    assert fine.shape == (2, 24, 18)
    assert fine.dtype == np.float32
    assert (fine >= 0).all()


def test_opacity_is_left_out():
    with_alpha, without = section(guide_channels=4), section(guide_channels=3)
    settings = {**SMALL, "epochs": 2}
    np.testing.assert_array_equal(
        LCRN(**settings).upscale(with_alpha), LCRN(**settings).upscale(without)
    )


def test_holes_empty_and_constant_ions_come_back_finite():
    problem = section(channels=4)
    values = problem.low.values.copy()
    values[0, 2:5, 1:3] = np.nan
    values[1] = 0
    values[2] = 7
    values[3] = np.nan
    mask = np.isfinite(values[0])
    low = MSImage(values, problem.low.mz, mask=mask)

    fine = LCRN(**SMALL).upscale(dataclasses.replace(problem, low=low))

    assert np.isfinite(fine).all()
    assert (fine[1] == 0).all()
    assert (fine[3] == 0).all()
    assert fine[2].max() > 0


def test_the_unit_of_the_input_is_restored():
    problem = section(channels=1)
    louder = dataclasses.replace(problem, low=MSImage(problem.low.values * 1024, problem.low.mz))
    np.testing.assert_allclose(
        LCRN(**SMALL).upscale(louder), LCRN(**SMALL).upscale(problem) * 1024, rtol=1e-5
    )


def test_the_same_seed_gives_the_same_bytes_with_one_thread_or_two():
    problem = section(channels=2, factor=5)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            results.append(LCRN(**{**SMALL, "tile": 16, "epochs": 4}).upscale(problem).tobytes())
    finally:
        torch.set_num_threads(before)
    assert len(set(results)) == 1
    other = LCRN(**SMALL).upscale(dataclasses.replace(problem, seed=1))
    assert other.tobytes() != results[0]


def test_a_factor_of_twenty_and_a_section_of_one_pixel_can_be_done():
    guide = GuideImage(np.random.default_rng(0).random((3, 20, 20)))
    problem = Problem(low=MSImage(np.full((1, 1, 1), 5), [1.0]), factor=20, guide=guide)
    assert LCRN(**{**SMALL, "epochs": 2}).upscale(problem).shape == (1, 20, 20)
    tiny = Problem(
        low=MSImage(np.full((1, 2, 1), 5), [1.0]), factor=1, guide=GuideImage(np.ones((3, 2, 1)))
    )
    assert LCRN(**{**SMALL, "epochs": 2}).upscale(tiny).shape == (1, 2, 1)


def test_without_a_guide_or_without_tissue_it_says_why_it_does_not_run():
    problem = section()
    assert "needs a guide" in LCRN(**SMALL).upscale(dataclasses.replace(problem, guide=None)).reason
    empty = MSImage(problem.low.values, problem.low.mz, mask=np.zeros((8, 6), bool))
    assert isinstance(LCRN(**SMALL).upscale(dataclasses.replace(problem, low=empty)), Skip)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel_size": 4}, "odd"),
        ({"channels": (64,)}, "two counts"),
        ({"edge_weight": -1}, "negative"),
        ({"tile": 3}, "at least 16"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        LCRN(**change)


@pytest.mark.parametrize("spec", [SPEC, QUICK], ids=lambda spec: spec.name)
def test_every_hyper_parameter_has_a_source(spec):
    assert set(spec.config) == set(spec.sources) == set(SOURCES)
    LCRN(**spec.config)


def test_the_published_budget_is_that_of_the_paper():
    assert PAPER_BUDGET["learning_rate"] == 3e-4
    assert PAPER_BUDGET["epochs"] == 2000
    assert PAPER_BUDGET["rises"] is None, "its letter, 5, counts jitter"
    assert PAPER_BUDGET["patience"] == 50
    assert PAPER_BUDGET["channels"] == (64, 32)


def test_the_plugin_is_found_without_torch():
    script = "import sys, msibench_lcrn; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_bladder_tissue_is_fused_in_a_short_run():
    cube = np.load(mirrored("bladder/bladder.npz"))["cube"][:3, 40:88, 100:160]
    low = cube.reshape(3, 12, 4, 15, 4).mean((2, 4))
    guide = np.repeat(cube.sum(0, keepdims=True), 3, 0)
    problem = Problem(
        low=MSImage(low, np.arange(3) + 400.0), factor=4, guide=GuideImage(guide / guide.max())
    )
    method = LCRN(**{**QUICK_BUDGET, "epochs": 10})
    fine = method.upscale(problem)
    assert fine.shape == (3, 48, 60)
    mse = method.report()["curves"][0]["mse"]
    assert np.isfinite(mse).all()


class TestLcrnContract(MethodContract):
    spec = SPEC
    config = SMALL
