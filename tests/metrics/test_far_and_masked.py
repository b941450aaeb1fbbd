"""Images far from zero, and numpy's masked arrays: no number without a word."""

import numpy as np
import pytest

from msibench import metrics
from msibench.metrics.pairs import pair_images
from msibench.metrics.ssim import TOO_FAR, why_undefined

rng = np.random.default_rng(0)
REFERENCE = rng.random((3, 45, 52))
TEST = np.clip(REFERENCE + rng.normal(0, 0.05, REFERENCE.shape), 0, 1)
HIDDEN = rng.random((45, 52)) < 0.3
MASKABLE = ("psnr", "ssim", "vif", "vifp", "nqm", "mse", "rmse", "r2", "sd_ratio",
            "edge_perceptual_loss")  # fmt: skip


@pytest.mark.parametrize("name", MASKABLE)
def test_a_masked_array_counts_like_its_mask_whatever_it_hides(name):
    unknown = np.where(HIDDEN, np.nan, TEST)
    hidden = np.broadcast_to(HIDDEN, TEST.shape)
    expected = getattr(metrics, name)(unknown, REFERENCE, mask=~HIDDEN)

    for below in (np.nan, 1e6):
        masked = np.ma.array(np.where(HIDDEN, below, TEST), mask=hidden)
        np.testing.assert_array_equal(getattr(metrics, name)(masked, REFERENCE), expected)


def test_a_single_masked_image_counts_like_its_mask():
    masked = np.ma.array(TEST[0], mask=HIDDEN)
    expected = metrics.psnr(TEST[0], REFERENCE[0], mask=~HIDDEN)
    assert metrics.psnr(masked, REFERENCE[0]) == expected


def test_two_masked_arrays_and_a_mask_leave_what_all_three_show():
    seen = rng.random((45, 52)) < 0.8
    hidden = np.broadcast_to(HIDDEN, TEST.shape)
    other = np.broadcast_to(HIDDEN[::-1], TEST.shape)
    value = metrics.psnr(
        np.ma.array(TEST, mask=hidden), np.ma.array(REFERENCE, mask=other), mask=seen
    )

    expected = metrics.psnr(TEST, REFERENCE, mask=seen & ~HIDDEN & ~HIDDEN[::-1])
    np.testing.assert_array_equal(value, expected)


def test_a_masked_array_that_hides_nothing_is_an_array():
    shown = np.ma.array(TEST, mask=np.zeros(TEST.shape, bool))
    assert pair_images(shown, REFERENCE).mask is None
    np.testing.assert_array_equal(metrics.vif(shown, REFERENCE), metrics.vif(TEST, REFERENCE))


def test_masks_that_differ_from_image_to_image_are_refused():
    hidden = np.stack([HIDDEN, ~HIDDEN, HIDDEN])
    with pytest.raises(ValueError, match="the same pixels of every image"):
        metrics.psnr(np.ma.array(TEST, mask=hidden), REFERENCE)


def test_metrics_without_a_mask_do_not_know_what_is_hidden():
    hidden = np.broadcast_to(HIDDEN, TEST.shape)
    angle = metrics.spectral_angle(np.ma.array(TEST, mask=hidden), REFERENCE)

    np.testing.assert_array_equal(np.isnan(angle), HIDDEN)
    assert np.isnan(metrics.off_tissue(np.ma.array(TEST, mask=hidden), ~HIDDEN)).all()


@pytest.mark.parametrize(
    ("offset", "dtype"), [(0, "float32"), (1e3, "float32"), (1e3, "float64"), (1e8, "float64")]
)
def test_an_offset_costs_ssim_nothing(offset, dtype):
    near = metrics.ssim(TEST + 1e3, REFERENCE + 1e3)  # far enough for the means to agree
    far = metrics.ssim(TEST + offset, REFERENCE + offset, dtype=dtype)

    np.testing.assert_allclose(far, near, atol=2e-3)
    assert not any(why_undefined(TEST + offset, REFERENCE + offset, dtype=dtype))


@pytest.mark.parametrize(
    ("offset", "dtype"), [(1e8, "float32"), (1e16, "float64"), (1e200, "float64")]
)
def test_ssim_is_undefined_where_the_contrast_is_lost(offset, dtype):
    test, reference = TEST + offset, REFERENCE + offset

    assert np.isnan(metrics.ssim(test, reference, dtype=dtype)).all()
    assert why_undefined(test, reference, dtype=dtype) == [TOO_FAR] * 3


@pytest.mark.parametrize("size", [1.0, 1e5, 1e12])
def test_ssim_never_leaves_its_range(size):
    spikes = REFERENCE.copy()
    spikes[:, ::9, ::7] *= size
    for test in (TEST * size, spikes, -spikes, TEST + size):
        value = metrics.ssim(test, REFERENCE)
        assert ((value >= -1) & (value <= 1)).all()
