import numpy as np
import pytest

from msibench import GuideImage, MSImage, Problem
from msibench.image import as_stack


def test_the_channel_axis_is_asked_for():
    with pytest.raises(ValueError, match=r"add the channel axis with values\[None\]"):
        MSImage(np.zeros((4, 5)), mz=[1.0])


def test_one_mz_per_channel_is_asked_for():
    with pytest.raises(ValueError, match=r"expected shape \(2,\), got \(1,\)"):
        MSImage(np.zeros((2, 4, 5)), mz=[1.0])


def test_a_mask_of_another_grid_is_refused():
    with pytest.raises(ValueError, match="mask must be bool"):
        MSImage(np.zeros((1, 4, 5)), mz=[1.0], mask=np.ones((5, 4), dtype=bool))


def test_channels_are_named_by_mz_and_otherwise_numbered():
    image = MSImage(np.zeros((2, 1, 1)), mz=[798.541, np.nan])
    assert image.channel_names() == ("m/z 798.5410", "channel 1")


def test_cropping_keeps_mask_and_channels_together():
    mask = np.eye(4, 5, dtype=bool)
    image = MSImage(np.arange(20).reshape(1, 4, 5), mz=[1.0], mask=mask)
    part = image.crop(slice(1, 3), slice(0, 2))
    np.testing.assert_array_equal(part.values[0], [[5, 6], [10, 11]])
    np.testing.assert_array_equal(part.mask, mask[1:3, 0:2])


def test_a_guide_off_the_fine_grid_is_refused():
    low = as_stack(np.zeros((4, 5)))
    guide = GuideImage(np.zeros((3, 8, 9)))
    with pytest.raises(ValueError, match=r"must lie on the fine grid \(8, 10\)"):
        Problem(low=low, factor=2, guide=guide)


def test_a_factor_below_one_is_refused():
    with pytest.raises(ValueError, match="factor must be"):
        Problem(low=as_stack(np.zeros((4, 5))), factor=0)


def test_what_a_masked_array_hides_is_not_measured():
    values = np.ma.array(np.arange(20).reshape(1, 4, 5), mask=False)
    values[0, 2, 3] = np.ma.masked
    expected = np.arange(20.0).reshape(1, 4, 5)
    expected[0, 2, 3] = np.nan
    for image in (MSImage(values, mz=[1.0]), as_stack(values)):
        assert type(image.values) is np.ndarray
        np.testing.assert_array_equal(image.values, expected.astype(np.float32))
