"""Odd, oblong, tiny and sparse images, against the slow versions and other packages."""

import numpy as np
import pytest

from msibench.metrics import nqm, ssim, vif, vifp
from msibench.metrics.metrix_padding import pad_like_metrix

SHAPES = [(37, 53), (53, 37), (101, 65), (64, 51), (33, 129), (7, 9), (17, 131), (2, 3)]
KINDS = ["dense", "sparse", "whole numbers", "one pixel"]


def pair_of(shape, kind):
    rng = np.random.default_rng([*shape, KINDS.index(kind)])
    reference = rng.random(shape) * 255
    if kind == "sparse":
        reference *= rng.random(shape) < 0.03
        reference[shape[0] // 2, shape[1] // 3] = 200
    elif kind == "whole numbers":
        reference = np.floor(reference)
    elif kind == "one pixel":
        reference = np.zeros(shape)
        reference[shape[0] // 2, shape[1] // 3] = 200
    test = np.clip(0.8 * reference + rng.normal(0, 15, shape), 0, 255)
    return test, reference


@pytest.mark.sweep
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_nqm_of_any_size_is_what_the_steps_written_out_give(shape, kind, direct_nqm):
    test, reference = pair_of(shape, kind)
    assert float(nqm(test, reference)) == pytest.approx(direct_nqm.nqm(test, reference), rel=1e-10)


@pytest.mark.sweep
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_vif_of_any_size_is_what_direct_sums_give(shape, kind, direct_vif):
    test, reference = pair_of(shape, kind)
    value = float(vif(test, reference, data_range=255))
    assert value == pytest.approx(direct_vif.vif(test, reference), rel=1e-10)


@pytest.mark.parametrize("shape", [*SHAPES, (1, 5), (128, 160), (200, 127), (97, 128)])
def test_padding_goes_pixel_by_pixel_as_in_metrix(shape, direct_vif):
    image = np.random.default_rng(0).random(shape)
    padded = pad_like_metrix(image)
    np.testing.assert_array_equal(padded, direct_vif.pad(image))
    assert all(side >= 128 and side % 32 == 0 for side in padded.shape)


@pytest.mark.sweep
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(41, 53), (101, 65), (64, 83)])
def test_piq_gives_the_same_vifp_and_ssim(shape, kind):
    piq, torch = pytest.importorskip("piq"), pytest.importorskip("torch")
    test, reference = pair_of(shape, kind)
    options = {"data_range": 255.0, "reduction": "none"}
    tensors = [torch.as_tensor(image)[None, None] for image in (test, reference)]
    assert float(ssim(test, reference, data_range=255)) == pytest.approx(
        float(piq.ssim(*tensors, **options)), rel=1e-6
    )
    # piq adds 1e-8 to both sums of the fraction.
    assert float(vifp(test, reference, data_range=255)) == pytest.approx(
        float(piq.vif_p(*tensors, **options)), rel=1e-6
    )


def test_nqm_sees_nothing_above_64_cycles_per_image():
    rng = np.random.default_rng(0)
    reference = 100 + 50 * rng.random((160, 192))
    u, v = np.fft.fftfreq(192) * 192, np.fft.fftfreq(160) * 160
    high = np.hypot(u[None], v[:, None]) > 66
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(0, 20, reference.shape)) * high).real
    assert float(nqm(reference + noise, reference)) > 200
    assert float(nqm(reference + rng.normal(0, 20, reference.shape), reference)) < 20
