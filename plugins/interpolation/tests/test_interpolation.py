import numpy as np
import pytest

from msibench import MSImage, Problem
from msibench.testing import MethodContract
from msibench_interpolation import msibench_methods
from msibench_interpolation.method import Interpolation, fine_taps

SPECS = {spec.name: spec for spec in msibench_methods()}


class TestNearest(MethodContract):
    spec = SPECS["nearest"]


class TestBilinear(MethodContract):
    spec = SPECS["bilinear"]


class TestBicubic(MethodContract):
    spec = SPECS["bicubic"]


class TestBicubic075(MethodContract):
    spec = SPECS["bicubic-075"]


class TestLanczos3(MethodContract):
    spec = SPECS["lanczos3"]


def stack(rows, columns):
    values = np.random.default_rng(rows * columns).random((2, rows, columns), dtype=np.float32)
    return MSImage(values, mz=[400.0, 500.0])


@pytest.mark.parametrize(
    ("name", "mode"), [("nearest", "nearest"), ("bilinear", "bilinear"), ("bicubic-075", "bicubic")]
)
@pytest.mark.parametrize("shape", [(7, 11), (1, 5), (3, 2)])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_torch_agrees_on_the_kernels_that_it_has(name, mode, shape, factor):
    torch = pytest.importorskip("torch")
    low = stack(*shape)
    aligned = {} if mode == "nearest" else {"align_corners": False}
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(low.values)[None], scale_factor=factor, mode=mode, **aligned
    )[0].numpy()
    ours = Interpolation(name, clip=False).upscale(Problem(low=low, factor=factor))
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(9, 8), (12, 7)])
@pytest.mark.parametrize(("name", "kind"), [("bicubic", "BICUBIC"), ("lanczos3", "LANCZOS")])
def test_pil_agrees_away_from_the_edges(name, kind, shape):
    from PIL import Image

    low = stack(*shape)
    ours = Interpolation(name, clip=False).upscale(Problem(low=low, factor=4))[0]
    size = (shape[1] * 4, shape[0] * 4)
    theirs = np.asarray(Image.fromarray(low.values[0]).resize(size, Image.Resampling[kind]))
    inner = (slice(12, -12), slice(12, -12))
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=2e-6)


@pytest.mark.parametrize("kernel", SPECS)
def test_weights_sum_to_one(kernel):
    _, weight = fine_taps(6, 3, kernel)
    np.testing.assert_allclose(weight.sum(axis=1), 1)


def test_clipping_can_be_turned_off_for_a_kernel_that_undershoots():
    low = MSImage(np.array([[[0, 0, 0, 9, 0, 0, 0, 0]]], dtype=np.float32), mz=[400.0])
    problem = Problem(low=low, factor=2)
    assert Interpolation("bicubic", clip=False).upscale(problem).min() < 0
    assert Interpolation("bicubic", clip=True).upscale(problem).min() == 0


def test_an_unknown_kernel_is_named():
    with pytest.raises(ValueError, match="kernel must be one of nearest"):
        Interpolation("cubic")
