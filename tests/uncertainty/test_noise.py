"""What is told of a section's noise and detail, against fields about which both are known."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import msibench as mb
from msibench.degradation import area_mean
from msibench.uncertainty.noise import (
    noise_gain,
    noise_variance,
    white_counting_variance,
    white_variance,
)
from msibench.uncertainty.octaves import FALL, fall_of, finest_octaves, signal_in


def smooth(shape, size, seed=0):
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), size)
    return (field - field.min()) / np.ptp(field)


def section(images, mask=None):
    values = np.asarray(images, dtype=np.float32)
    return mb.MSImage(values, 100.0 + np.arange(len(values)), 10.0, mask=mask)


@pytest.mark.parametrize("counts", [5.0, 50.0, 500.0])
def test_white_noise_on_a_smooth_field_is_measured_where_neighbours_are_alike(counts):
    mean = counts * smooth((120, 110), 5.0)
    image = np.random.default_rng(1).poisson(mean).astype(float)
    assert white_variance(section([image]))[0] == pytest.approx(mean.mean(), rel=0.1)
    assert noise_gain(image) == pytest.approx(1, abs=0.1)


def test_noise_that_the_pixels_of_a_line_share_is_noise_too():
    rng = np.random.default_rng(2)
    lines = 100 + 5 * rng.normal(size=(100, 1)) + np.zeros((100, 90))
    found = section([lines])
    assert white_variance(found)[0] < 1e-6
    assert noise_variance(found)[0] == pytest.approx(25 / 2, rel=0.5)


def test_the_variance_is_the_mean_over_the_image_and_the_mask_is_kept_to():
    rng = np.random.default_rng(3)
    mask = np.zeros((80, 100), dtype=bool)
    mask[10:70, 20:70] = True
    image = 30 + 2 * rng.normal(size=mask.shape)
    image[~mask] = 1000 * rng.random(np.count_nonzero(~mask))
    assert white_variance(section([image], mask))[0] == pytest.approx(4 * mask.mean(), rel=0.1)


def test_where_too_few_pixels_lie_together_the_semivariogram_tells():
    rng = np.random.default_rng(4)
    image = rng.poisson(40, (60, 60)).astype(float)
    image[::3] = np.nan
    one = section([image])
    np.testing.assert_array_equal(white_variance(one), noise_variance(one))
    assert white_variance(one)[0] > 0
    assert white_variance(section([np.zeros((5, 6))]))[0] == 0


def test_counting_noise_is_what_falls_fourfold():
    rng = np.random.default_rng(5)
    counted = [rng.poisson(50, (96, 96)) for _ in range(3)]
    assert white_counting_variance(section(counted)) == pytest.approx(50, rel=0.15)
    # blocks of 2 x 2 pixels that are alike: nothing falls, and the least share is what is left
    blocks = rng.poisson(50, (1, 48, 48)).repeat(2, 1).repeat(2, 2)
    whole, found = (
        white_variance(section(blocks)),
        white_counting_variance(section(blocks)),
    )
    assert 0.1 * whole[0] <= found[0] < 0.25 * whole[0]


def test_detail_of_white_noise_is_taken_off_to_the_last_of_it():
    rng = np.random.default_rng(6)
    noise = section([100 + 3 * rng.normal(size=(128, 128))])
    found = finest_octaves(noise)
    np.testing.assert_allclose(found[:, 0], [9 * 0.75, 9 * 0.75 / 4], rtol=0.05)
    assert signal_in(found, np.array([9.0]))[:, 0] == pytest.approx([0, 0], abs=0.3)


def test_the_fall_is_that_of_the_spectrum_between_its_ends():
    octaves = np.array([[3.0, 1.0, 9.0, 0.0], [4.0, 10.0, 1.0, 0.0]])
    own = np.array([0.75, FALL[0], FALL[1]])
    common = np.median(own)
    np.testing.assert_allclose(fall_of(octaves), [*(own + common) / 2, common])
    assert fall_of(np.zeros((2, 3))) == pytest.approx(1)


def test_structure_is_not_taken_for_noise_in_what_is_told_of_a_coarse_image():
    fine = np.random.default_rng(7).poisson(400 * smooth((160, 160), 8.0)).astype(float)
    low = section(area_mean(fine[None], 4))
    told = white_counting_variance(low)[0]
    assert told == pytest.approx(fine.mean() / 16, rel=0.2)
