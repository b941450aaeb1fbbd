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
