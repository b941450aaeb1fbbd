"""Fusion methods that fit themselves to a section.

Goals: LCRN on a CPU at least as fast as a plain PyTorch loop over the same network; 16 ions in one run
not slower than one by one on a CPU and at least 3 times as fast on a GPU; LCRN at 2700 x 980 fine
pixels at 100 iterations a second on a data-centre GPU (the paper's RTX 4090: 14.3).

``pytest bench/test_bench_fusion.py --benchmark-only``; the sections are a quarter of the paper's along
each edge unless ``MSIBENCH_BENCH_FULL=1``.
"""

import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from msibench.image import as_stack
from msibench.training.fitting import FitSettings, fit_ions
from msibench.training.ions import scale_ions
from msibench_lcrn.config import LcrnConfig
from msibench_lcrn.network import LcrnNetwork
from msibench_lcrn.objective import EDGE_KERNELS, LUMA, LcrnObjective

FULL = os.environ.get("MSIBENCH_BENCH_FULL") == "1"
LOW, FACTOR = ((135, 49), 20) if FULL else ((45, 35), 15)
EPOCHS = 2
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ),
]


def section(ions, low, factor):
    rng = np.random.default_rng(0)
    guide = rng.random((3, low[0] * factor, low[1] * factor), np.float32)
    return scale_ions(as_stack(rng.random((ions, *low)))), guide


def plain_loop(ions, guide, factor, epochs, device, channels=(64, 32)):
    """LCRN as anybody would write it: the whole image at once, torch.optim.Adam, one ion at a time."""
    x = torch.from_numpy(guide)[None].to(device)
    kernel = torch.tensor(EDGE_KERNELS["laplacian8"], dtype=torch.float32, device=device)[:, None]
    sharp = F.conv2d((x * torch.tensor(LUMA, device=device)[:, None, None]).sum(1, True), kernel)
    curves = []
    for image in torch.from_numpy(ions.values).to(device):
        target = F.interpolate(image[None, None], scale_factor=factor, mode="bilinear")
        torch.manual_seed(0)
        network = LcrnNetwork(channels=channels).to(device)
        optimiser = torch.optim.Adam(network.parameters(), lr=3e-4)
        curve = []
        for _ in range(epochs):
            optimiser.zero_grad()
            output = network(x)
            edge = F.mse_loss(F.conv2d(output, kernel), sharp)
            loss = F.mse_loss(output, target) + edge
            loss.backward()
            optimiser.step()
            curve.append(loss.item())
        curves.append(curve)
    return curves


def ours(
    ions, guide, factor, epochs, device, *, group=None, channels=(64, 32), precision="float32"
):
    objective = LcrnObjective(ions, guide, factor, LcrnConfig(), 5, torch.device(device))
    settings = FitSettings(
        epochs=epochs,
        rises=None,
        watch="edge",
        group=group,
        precision=precision,
        device=device,
    )
    return fit_ions(
        lambda: LcrnNetwork(channels=channels),
        objective,
        range(len(ions.values)),
        settings,
        seed=0,
        example=objective.example,
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("who", ["msibench", "plain PyTorch"])
def test_lcrn_iterations(benchmark, who, device):
    ions, guide = section(1, LOW, FACTOR)
    benchmark.group = f"LCRN, {EPOCHS} iterations, {guide.shape[1]} x {guide.shape[2]}, {device}"
    run = ours if who == "msibench" else plain_loop
    benchmark.pedantic(
        run, (ions, guide, FACTOR, EPOCHS, device), rounds=2 if FULL else 5, warmup_rounds=1
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("who", ["one run", "one by one", "plain PyTorch, one by one"])
def test_sixteen_ions(benchmark, who, device):
    ions, guide = section(16, (32, 24), 4)
    benchmark.group = f"16 ions, 5 iterations, 128 x 96, {device}"

    def one_by_one():
        for ion in range(16):
            alone = scale_ions(as_stack(ions.values[ion]))
            ours(alone, guide, 4, 5, device, channels=(16, 8))

    def one_run():
        ours(ions, guide, 4, 5, device, channels=(16, 8))

    def plain():
        plain_loop(ions, guide, 4, 5, device, channels=(16, 8))

    run = {"one run": one_run, "one by one": one_by_one}.get(who, plain)
    benchmark.pedantic(run, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("device", DEVICES[1:])
def test_bfloat16_iterations_on_a_gpu(benchmark, device):
    ions, guide = section(1, (135, 49), 20)
    benchmark.group = "LCRN, 100 iterations, 2700 x 980, bfloat16, compiled"
    half = benchmark.pedantic(
        ours, (ions, guide, 20, 100, device), {"precision": "bfloat16"}, rounds=3, warmup_rounds=1
    )
    single = ours(ions, guide, 20, 100, device)
    benchmark.extra_info["largest difference of the curves, %"] = float(
        100 * np.abs(half.curves[0, :, 0] / single.curves[0, :, 0] - 1).max()
    )
