"""Proof on the phantom, whose guide shows structures that no ion image has."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from msibench.image import GuideImage
from msibench.metrics import guide_leakage
from msibench.metrics.upsampling import bicubic
from msibench.metrics.wrong_guides import mirrored, shuffled_blocks
from msibench_datasets.phantom.generator import make_phantom

FACTOR = 4


def low_of(fine):
    channels, rows, columns = fine.shape
    return fine.reshape(channels, rows // FACTOR, FACTOR, columns // FACTOR, FACTOR).mean((2, 4))


def painted(low, guide, signal):
    """Enlarge, and paint the guide's detail in, as strong as the signal's own detail."""
    enlarged = bicubic(low, FACTOR)
    grey = guide.mean(0)
    detail = grey - gaussian_filter(grey, FACTOR / 2)
    own = signal - enlarged
    strength = np.sqrt((own**2).mean((1, 2), keepdims=True) / (detail**2).mean())
    return enlarged - strength * detail


@pytest.fixture(scope="module", params=[1, 2])
def phantom(request):
    return make_phantom(seed=request.param)


@pytest.fixture(scope="module")
def arrays(phantom):
    truth, signal = (part.astype(np.float64) / 60 for part in (phantom.counts, phantom.expected))
    return truth, signal, low_of(truth)


def leak(prediction, phantom, arrays, guide=None):
    _, signal, low = arrays
    shown = phantom.guide if guide is None else guide
    return guide_leakage(prediction, signal, low, shown, mask=phantom.mask)


def test_painting_the_guide_leaks(phantom, arrays):
    _, signal, low = arrays
    values = leak(painted(low, phantom.guide, signal), phantom, arrays)
    assert np.median(values) > 0.4
    assert values.min() > 0.05


def test_bicubic_does_not_leak(phantom, arrays):
    np.testing.assert_allclose(leak(bicubic(arrays[2], FACTOR), phantom, arrays), 0, atol=1e-12)


def test_another_interpolation_hardly_leaks(phantom, arrays):
    nearest = np.kron(arrays[2], np.ones((FACTOR, FACTOR)))
    assert leak(nearest, phantom, arrays).mean() < 0.02


def test_neither_the_signal_nor_the_measured_truth_leaks(phantom, arrays):
    truth, signal, low = arrays
    np.testing.assert_allclose(leak(signal, phantom, arrays), 0, atol=1e-12)
    assert leak(truth, phantom, arrays).mean() < 0.005
    against_itself = guide_leakage(truth, truth, low, phantom.guide, mask=phantom.mask)
    np.testing.assert_allclose(against_itself, 0, atol=1e-12)


def test_the_known_uncharted_structures_show_in_the_painting_only(phantom, arrays):
    truth, signal, low = arrays
    uncharted = phantom.uncharted[None]
    painting = leak(painted(low, phantom.guide, signal), phantom, arrays, uncharted)
    assert np.median(painting) > 0.1
    for honest in (truth, signal, bicubic(low, FACTOR)):
        assert leak(honest, phantom, arrays, uncharted).max() < 0.01


def test_more_paint_leaks_more(phantom, arrays):
    _, signal, low = arrays
    painting = painted(low, phantom.guide, signal)
    rising = [
        leak(signal + share * (painting - signal), phantom, arrays).mean()
        for share in (0.0, 0.25, 0.5, 1.0)
    ]
    assert rising == sorted(rising)


def test_detail_that_follows_a_wrong_guide_is_found_with_that_guide(phantom, arrays):
    _, signal, low = arrays
    guide = GuideImage(phantom.guide)
    for wrong in (mirrored(guide), shuffled_blocks(guide, block=16, seed=0)):
        painting = painted(low, wrong.values.astype(np.float64), signal)
        with_wrong = leak(painting, phantom, arrays, wrong.values)
        with_right = leak(painting, phantom, arrays)
        assert np.median(with_wrong) > 3 * np.median(with_right)


def test_scale_of_guide_and_of_ions_does_not_matter(phantom, arrays):
    _, signal, low = arrays
    painting = painted(low, phantom.guide, signal)
    plain = leak(painting, phantom, arrays)
    np.testing.assert_allclose(
        leak(painting, phantom, arrays, 100 * phantom.guide + 3), plain, rtol=1e-4
    )
    scaled = guide_leakage(50 * painting, 50 * signal, 50 * low, phantom.guide, mask=phantom.mask)
    np.testing.assert_allclose(scaled, plain, rtol=1e-6)


def test_the_enlargement_is_torchs_bicubic():
    low = np.random.default_rng(0).random((2, 5, 9))
    for factor in (2, 3, 4):
        peer = torch.nn.functional.interpolate(
            torch.tensor(low)[None], scale_factor=factor, mode="bicubic", align_corners=False
        )[0]
        np.testing.assert_allclose(bicubic(low, factor), peer.numpy(), atol=1e-12)


def test_no_detail_anywhere_is_undefined_and_nan_is_not_a_number():
    low = np.ones((1, 3, 4))
    flat = np.ones((1, 12, 16))
    guide = np.random.default_rng(0).random((3, 12, 16))
    assert np.isnan(guide_leakage(flat, flat, low, guide)).all()
    broken = flat.copy()
    broken[0, 1, 1] = np.nan
    assert np.isnan(guide_leakage(broken, flat, low, guide)).all()


def test_a_constant_guide_cannot_leak():
    rng = np.random.default_rng(0)
    truth = rng.random((1, 12, 16))
    values = guide_leakage(rng.random((1, 12, 16)), truth, low_of(truth), np.ones((3, 12, 16)))
    np.testing.assert_array_equal(values, 0)


def test_a_guide_of_another_grid_is_refused():
    truth = np.ones((1, 12, 16))
    with pytest.raises(ValueError, match="guide must be"):
        guide_leakage(truth, truth, low_of(truth), np.ones((3, 12, 15)))
