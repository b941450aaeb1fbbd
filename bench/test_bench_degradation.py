"""Degradation and resampling beside the peers: PIL, torch and scikit-image.

``pytest bench/test_bench_degradation.py --benchmark-only``
"""

import numpy as np
import pytest
import torch
from PIL import Image

from msibench.degradation import area_mean, bicubic_reduce, protocol
from msibench.image import GuideImage, as_stack
from msibench.registration import Affine, resample, thin_plate

STACK = np.random.default_rng(0).random((45, 256, 256), dtype=np.float32)
FACTOR = 4


def by_reshape(stack):
    channels, rows, columns = stack.shape
    blocks = stack.reshape(channels, rows // FACTOR, FACTOR, columns // FACTOR, FACTOR)
    return blocks.astype(np.float64).mean(axis=(2, 4))


def by_pil(stack):
    size = (stack.shape[2] // FACTOR, stack.shape[1] // FACTOR)
    return np.stack([Image.fromarray(image).resize(size, Image.BICUBIC) for image in stack])


def by_torch(stack):
    return torch.nn.functional.interpolate(
        torch.from_numpy(stack)[None], scale_factor=1 / FACTOR, mode="bicubic", antialias=True
    )[0].numpy()


@pytest.mark.benchmark(group="area mean, 45 x 256 x 256, x4")
@pytest.mark.parametrize("how", [by_reshape, lambda stack: area_mean(stack, FACTOR)],
                         ids=["numpy", "msibench"])  # fmt: skip
def test_area_mean(benchmark, how):
    assert benchmark(how, STACK).shape == (45, 64, 64)


@pytest.mark.benchmark(group="antialiased bicubic, 45 x 256 x 256, x4")
@pytest.mark.parametrize("how", [by_pil, by_torch, lambda stack: bicubic_reduce(stack, FACTOR)],
                         ids=["pil", "torch", "msibench"])  # fmt: skip
def test_bicubic(benchmark, how):
    assert benchmark(how, STACK).shape == (45, 64, 64)


@pytest.mark.benchmark(group="prepare, 45 x 256 x 256, x4")
@pytest.mark.parametrize("name", ["area-x4@1", "bicubic8-x4@1", "area-poisson-x4@1"])
def test_prepare(benchmark, name):
    section = as_stack(STACK, np.arange(45) + 700.0)
    assert benchmark(protocol(name).prepare, section).low.shape == (64, 64)


@pytest.mark.benchmark(group="resample an RGB slide of 2048 x 2048 onto 512 x 512")
@pytest.mark.parametrize("bent", [False, True], ids=["affine", "thin-plate"])
def test_resample(benchmark, bent):
    rng = np.random.default_rng(1)
    slide = GuideImage(rng.random((3, 2048, 2048), dtype=np.float32))
    transform = Affine(4 * np.eye(2), [1.5, 1.5])
    if bent:
        fixed = rng.uniform(0, 511, (30, 2))
        transform = thin_plate(transform(fixed) + rng.normal(0, 2, (30, 2)), fixed)
    out = benchmark.pedantic(resample, (slide, transform, (512, 512)), rounds=2)
    assert out.shape == (512, 512)


@pytest.mark.benchmark(group="thin plate of 60 landmarks at 500 x 500 points")
@pytest.mark.parametrize("peer", [True, False], ids=["scikit-image", "msibench"])
def test_thin_plate(benchmark, peer):
    rng = np.random.default_rng(2)
    fixed = rng.uniform(0, 500, (60, 2))
    moving = fixed + rng.normal(0, 3, (60, 2))
    points = np.stack(np.meshgrid(np.arange(500.0), np.arange(500.0)), axis=-1).reshape(-1, 2)
    if peer:
        skimage = pytest.importorskip("skimage.transform")
        spline = skimage.ThinPlateSplineTransform.from_estimate(fixed, moving)
    else:
        spline = thin_plate(moving, fixed)
    assert benchmark.pedantic(spline, (points,), rounds=3).shape == points.shape
