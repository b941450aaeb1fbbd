"""What a fine image lacks is added where it belongs on the fine grid."""

import numpy as np
from scipy import ndimage

from msibench.degradation import area_mean
from msibench.degradation.back_projection import back_project


def halved(images):
    return area_mean(images, 2)


def test_a_ramp_is_magnified_to_the_ramp_between_pixel_centres():
    low = np.add.outer(3.0 * np.arange(12), np.arange(14.0))[None] + 5
    fine = back_project(np.zeros((1, 24, 28)), low, halved, steps=1)
    rows, columns = ((np.arange(side) + 0.5) / 2 - 0.5 for side in (24, 28))
    expected = np.add.outer(3 * rows, columns) + 5
    np.testing.assert_allclose(fine[0, 8:-8, 8:-8], expected[8:-8, 8:-8], atol=0.01)


def test_the_difference_is_read_off_its_cubic_spline_on_images_of_any_shape():
    low = np.random.default_rng(2).random((2, 12, 40)) + 5
    fine = back_project(np.zeros((2, 24, 80)), low, halved, steps=1)
    places = np.meshgrid(*((np.arange(side) + 0.5) / 2 - 0.5 for side in (24, 80)), indexing="ij")
    for image, coarse in zip(fine, low, strict=True):
        spline = ndimage.map_coordinates(coarse, places, order=3, mode="nearest")
        np.testing.assert_allclose(image, spline, atol=1e-5)


def test_every_step_brings_the_degraded_image_nearer_and_what_fits_stays():
    fine = np.random.default_rng(0).random((2, 24, 28)).astype(np.float32)
    low = halved(np.random.default_rng(1).random((2, 24, 28)))
    off = [np.abs(halved(back_project(fine, low, halved, steps=n)) - low).mean() for n in range(4)]
    assert off == sorted(off, reverse=True)
    assert off[3] < 0.5 * off[0]
    np.testing.assert_array_equal(back_project(fine, low, halved, steps=0), fine)
    np.testing.assert_array_equal(
        back_project(fine, low, halved), back_project(fine, low, halved, steps=3)
    )
    np.testing.assert_allclose(back_project(fine, halved(fine), halved), fine, atol=1e-6)


def test_nothing_is_added_where_nothing_is_known_and_nothing_falls_below_zero():
    fine = np.full((1, 8, 8), 0.25)
    np.testing.assert_array_equal(back_project(fine, np.full((1, 4, 4), np.nan), halved), fine)
    assert (back_project(fine, np.full((1, 4, 4), -9.0), halved) == 0).all()
    assert (back_project(-fine, np.zeros((1, 4, 4)), halved, steps=0) == 0).all()
