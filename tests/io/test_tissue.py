"""Tissue masks: from a file, from an image, estimated; each with the record of how."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from msibench.errors import ConfigurationError, DataError, MissingDataError
from msibench.image import GuideImage, as_stack
from msibench.io.tissue import estimate_tissue, mask_from_image, otsu_threshold, read_mask

TISSUE = np.zeros((20, 31), dtype=bool)
TISSUE[4:15, 6:25] = True


def holey():
    measured = TISSUE.astype(np.float32)
    measured[8:11, 10:13] = 0
    return measured


def test_threshold_dilation_and_hole_filling_are_those_of_the_paper():
    found = estimate_tissue(as_stack(np.stack([holey(), 0 * holey()])), dilation=1)
    expected = ndimage.binary_fill_holes(ndimage.binary_dilation(np.logical_not(holey() == 0)))
    np.testing.assert_array_equal(found.mask, expected)
    assert found.record["threshold"] == 0.0
    assert found.mask[8:11, 10:13].all()


def test_each_step_can_be_left_out():
    bare = estimate_tissue(holey(), dilation=0, fill_holes=False)
    np.testing.assert_array_equal(bare.mask, holey() > 0)
    speck = holey()
    speck[0, 0] = 1
    kept = estimate_tissue(speck, dilation=0, fill_holes=False, smallest=4)
    np.testing.assert_array_equal(kept.mask, holey() > 0)


def test_otsu_separates_two_populations():
    rng = np.random.default_rng(0)
    values = np.r_[rng.normal(1, 0.3, 3000), rng.normal(6, 0.5, 1000)]
    misplaced = np.mean((values > otsu_threshold(values)) != (np.arange(4000) >= 3000))
    assert misplaced < 0.005
    filters = pytest.importorskip("skimage.filters")
    assert otsu_threshold(values) == pytest.approx(filters.threshold_otsu(values), abs=0.03)
    with pytest.raises(ConfigurationError, match="constant"):
        otsu_threshold(np.ones(9))


def test_a_stained_slide_is_tissue_where_it_is_dark():
    values = np.where(TISSUE, 0.4, 0.95).astype(np.float32)[None].repeat(3, 0)
    found = estimate_tissue(GuideImage(values), threshold="otsu", dilation=0)
    np.testing.assert_array_equal(found.mask, TISSUE)
    assert found.record["rule"] == "otsu"


@pytest.mark.parametrize("high", [1, 255])
def test_a_mask_image_of_two_levels_is_split_between_them(tmp_path, high):
    Image.fromarray((TISSUE * high).astype(np.uint8)).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png").mask, TISSUE)


def test_a_mask_is_read_from_an_array_file(tmp_path):
    np.save(tmp_path / "mask.npy", TISSUE)
    found = read_mask(tmp_path / "mask.npy")
    np.testing.assert_array_equal(found.mask, TISSUE)
    assert found.record["file"] == "mask.npy"


def test_a_mask_replaces_that_of_the_section():
    image = as_stack(np.ones((2, 20, 31)))
    np.testing.assert_array_equal(
        mask_from_image(holey(), threshold=0.5).on(image).mask, holey() > 0
    )
    assert image.mask is None
    with pytest.raises(ConfigurationError, match="section's grid"):
        mask_from_image(np.eye(3), threshold=0).on(image)
    with pytest.raises(ConfigurationError, match="no tissue"):
        mask_from_image(holey(), threshold=9).on(image)


def test_what_is_no_mask_is_refused(tmp_path):
    with pytest.raises(MissingDataError):
        read_mask(tmp_path / "none.png")
    np.save(tmp_path / "cube.npy", np.ones((2, 3, 4)))
    with pytest.raises(DataError, match="a mask is"):
        read_mask(tmp_path / "cube.npy")
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not an array file"):
        read_mask(tmp_path / "bad.npy")
    with pytest.raises(ConfigurationError, match="no pixel lies above"):
        estimate_tissue(np.zeros((4, 5)))
    with pytest.raises(ConfigurationError, match="0 or more"):
        estimate_tissue(holey(), dilation=-1)
    with pytest.raises(ConfigurationError, match="one picture"):
        mask_from_image(np.ones((2, 3, 4)), threshold=0)


def test_otsu_is_the_split_of_the_largest_variance_between_classes():
    """Four values; the split between 2 and 8 parts them as 3 * 1 * (5/3 - 9)^2, every other as less."""
    values = [1.0, 2.0, 2.0, 9.0]
    found = otsu_threshold(values, bins=8)
    assert 2.0 < found < 9.0
    best = max(
        np.linspace(1, 9, 9)[1:-1],
        key=lambda cut: (
            sum(np.array(values) < cut)
            * sum(np.array(values) >= cut)
            * (np.mean([v for v in values if v >= cut]) - np.mean([v for v in values if v < cut]))
            ** 2
        ),
    )
    assert found == pytest.approx(best, abs=1.0)
    assert otsu_threshold([*values, np.nan, np.inf], bins=8) == found
    with pytest.raises(ConfigurationError, match="constant"):
        otsu_threshold([np.nan])


def test_a_piece_of_just_the_size_asked_for_is_kept():
    measured = np.zeros((8, 9))
    measured[1, 1:4] = 1
    measured[5, 5:7] = 1
    for smallest, pieces in ((2, 5), (3, 3), (4, 0)):
        found = estimate_tissue(measured, dilation=0, smallest=smallest)
        assert found.mask.sum() == pieces
        assert found.record["smallest"] == smallest


def test_dilation_grows_by_as_many_pixels_and_zero_by_none():
    measured = np.zeros((9, 9))
    measured[4, 4] = 1
    for dilation, pixels in ((0, 1), (1, 5), (2, 13)):
        assert estimate_tissue(measured, dilation=dilation).mask.sum() == pixels
    assert estimate_tissue(measured).mask.sum() == 5
    with pytest.raises(ConfigurationError, match="0 or more"):
        estimate_tissue(measured, smallest=-1)


def test_pixels_that_are_nan_or_beyond_a_guides_mask_are_no_tissue():
    values = np.full((3, 4, 5), 0.2, np.float32)
    mask = np.zeros((4, 5), bool)
    mask[1:, 2:] = True
    found = estimate_tissue(GuideImage(values, mask=mask), dilation=0, fill_holes=False)
    np.testing.assert_array_equal(found.mask, mask)
    bright = estimate_tissue(GuideImage(values, kind="msi"), threshold=0.1, dilation=0)
    assert bright.mask.all()
    holes = np.where(mask, 1.0, np.nan)
    found = estimate_tissue(as_stack(np.stack([holes, holes])), dilation=0, fill_holes=False)
    np.testing.assert_array_equal(found.mask, mask)
    np.testing.assert_array_equal(mask_from_image(holes, threshold=-5).mask, mask)


def test_a_grey_mask_image_is_split_at_its_threshold(tmp_path):
    grey = np.array([[0, 100, 127], [128, 200, 255]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png").mask, grey > 127)
    low = read_mask(tmp_path / "mask.png", threshold=100 / 255 - 1e-6)
    np.testing.assert_array_equal(low.mask, grey >= 100)
    alpha = np.where(np.arange(3) == 2, 0, 255).astype(np.uint8)[None].repeat(2, 0)
    Image.fromarray(np.stack([grey, alpha], axis=-1), mode="LA").save(tmp_path / "clear.png")
    found = read_mask(tmp_path / "clear.png").mask
    np.testing.assert_array_equal(found, (grey > 127) & (np.arange(3) < 2))
