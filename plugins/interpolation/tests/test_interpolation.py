import numpy as np
import pytest
from scipy import fft

from msibench import MSImage, Problem
from msibench.degradation import protocol
from msibench.metrics import skill
from msibench.testing import MethodContract
from msibench_interpolation import msibench_methods
from msibench_interpolation.back_projected import BackProjected
from msibench_interpolation.config import KERNELS
from msibench_interpolation.method import Interpolation, fine_taps
from msibench_interpolation.wiener import Axis, Wiener, _spectrum

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


@pytest.mark.parametrize("kernel", KERNELS)
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


class TestBicubicBackProjected(MethodContract):
    spec = SPECS["bicubic-backprojected"]


class TestLanczos3BackProjected(MethodContract):
    spec = SPECS["lanczos3-backprojected"]


class TestWiener(MethodContract):
    spec = SPECS["wiener"]


@pytest.mark.parametrize("name", ["area-x4@1", "bicubic-x4@1", "gaussian-x4@1", "spot-x4@1"])
def test_what_was_measured_stands_exactly_and_the_detail_is_the_kernels(name):
    chain = protocol(name)
    low = MSImage(0.5 + stack(8, 9).values / 10, mz=[400.0, 500.0])
    problem = Problem(low=low, factor=4, protocol=name)
    fine = BackProjected("bicubic").upscale(problem)
    np.testing.assert_allclose(chain.degrade(fine), low.values, atol=1e-5)
    plain = Interpolation("bicubic").upscale(problem)
    np.testing.assert_allclose(chain.split(fine)[1], chain.split(plain)[1], atol=1e-5)


@pytest.mark.parametrize(("shape", "factor"), [((24, 20), 4), ((12, 21), 3), ((8, 10), 2)])
def test_the_area_mean_is_diagonal_in_the_cosine_basis(shape, factor):
    fine = np.random.default_rng(0).random(shape)
    rows, columns = (Axis.of(side // factor, factor) for side in shape)
    spectrum = fft.dctn(fine, norm="ortho")
    folded = np.zeros((rows.coarse, columns.coarse))
    place = (rows.alias[:, None], columns.alias[None])
    np.add.at(folded, place, rows.gain[:, None] * columns.gain[None] * spectrum)
    coarse = protocol(f"area-x{factor}@1").degrade(fine[None])[0]
    np.testing.assert_allclose(folded, fft.dctn(coarse, norm="ortho"), atol=1e-12)


def test_the_wiener_estimate_is_the_one_of_least_expected_error():
    rows, columns, factor, noise = 3, 4, 2, 0.05
    prior = _spectrum(rows * factor, columns * factor, 1.0)
    basis = [fft.idct(np.eye(side * factor), norm="ortho", axis=0) for side in (rows, columns)]
    cosines = np.kron(*basis)
    covariance = cosines @ np.diag(prior.ravel()) @ cosines.T
    means = [np.kron(np.eye(side), np.full((1, factor), 1 / factor)) for side in (rows, columns)]
    operator = np.kron(*means)
    low = np.random.default_rng(0).random((rows, columns))
    centred = (low - low.mean()).ravel()
    of_data = operator @ covariance @ operator.T
    scale = np.trace(of_data) / len(of_data)
    ridge = noise * scale * np.eye(len(of_data))
    expected = covariance @ operator.T @ np.linalg.solve(of_data + ridge, centred) + low.mean()
    found = Wiener(1.0, [noise])._estimate(low, Axis.of(rows, factor), Axis.of(columns, factor))
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-9)


def test_the_deconvolution_beats_bicubic_on_a_field_such_as_it_expects():
    rng = np.random.default_rng(0)
    fine = fft.idctn(
        np.sqrt(_spectrum(96, 128, 1.0)) * rng.standard_normal((96, 128)), norm="ortho"
    )
    fine = (fine - fine.min())[None]
    chain = protocol("area-x4@1")
    low = MSImage(chain.degrade(fine).astype(np.float32), mz=[400.0])
    problem = Problem(low=low, factor=4, protocol=chain.name)
    wiener, bicubic = (
        float(skill(method.upscale(problem), fine, protocol=chain)[0])
        for method in (Wiener(**SPECS["wiener"].config), Interpolation("bicubic"))
    )
    assert wiener > bicubic + 0.02


def test_candidates_that_are_no_positive_numbers_are_refused():
    for slope, noises in ((0, [0.1]), (1, []), (1, [0.0])):
        with pytest.raises(ValueError, match="positive numbers"):
            Wiener(slope, noises)
