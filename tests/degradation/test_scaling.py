"""The scale on which intensities are scored."""

from dataclasses import replace

import numpy as np
import pytest

from msibench.degradation import Scaling, protocol
from msibench.degradation.prepared import Clipped
from msibench.errors import ConfigurationError
from msibench.image import MSImage


@pytest.mark.parametrize("quantile", [0.0, -0.1, 1.0000001, 1.5, 2.0, float("nan")])
def test_a_quantile_outside_of_0_to_1_is_refused(quantile):
    with pytest.raises(ConfigurationError, match="must lie in"):
        Scaling(quantile=quantile)


def test_a_declared_range_is_the_scale_of_every_channel_if_it_is_positive():
    values = np.ones((2, 3, 4))
    for declared in (0.25, 1.0, 255.0):
        assert Scaling(quantile=1).scale(values, declared_range=declared).tolist() == [declared] * 2
    for wrong in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ConfigurationError, match="must be a positive intensity"):
            Scaling(quantile=1).scale(values, declared_range=wrong)


def test_a_mask_without_tissue_counts_every_pixel():
    values = np.arange(12.0).reshape(1, 3, 4)
    assert Scaling(quantile=1).scale(values, np.zeros((3, 4), bool)) == [11.0]
    tissue = values[0] < 5
    assert Scaling(quantile=1).scale(values, tissue) == [4.0]


def test_the_quantile_one_scales_by_the_maximum():
    values = np.arange(12.0).reshape(1, 3, 4)
    assert Scaling(quantile=1).scale(values) == [11.0]


def test_a_quantile_below_one_is_the_scale_of_small_intensities_too():
    values = np.linspace(0.0, 0.5, 101).reshape(1, 1, 101)
    assert Scaling(quantile=0.5).scale(values) == pytest.approx([0.25])


def test_the_maximum_is_the_scale_where_the_quantile_is_zero_and_one_where_all_is():
    sparse = np.zeros((1, 1, 101))
    sparse[0, 0, 7] = 0.25
    assert Scaling(quantile=0.5).scale(sparse) == [0.25]
    assert Scaling(quantile=0.5).scale(np.zeros((1, 1, 5))) == [1.0]


def test_what_the_scale_clips_is_counted_and_said():
    values = np.full((1, 4, 5), 0.5, dtype=np.float32)
    values[0, 0, :3] = -1.0
    values[0, 1, :2] = 0.75, 0.0
    section = MSImage(values, np.array([500.0]))
    prepared = replace(protocol("area-x1@1"), scaling=Scaling(quantile=0.9)).prepare(section)
    assert prepared.clipped == Clipped(3, 1, 20)
    assert prepared.clipped.notes() == (
        "3 negative intensities were set to 0",
        "5.000 % of the intensities lay above the scale: clipped to 1",
    )
    assert Clipped(1, 2, 10) + Clipped(1, 0, 10) == Clipped(2, 2, 20)
    assert Clipped(0, 0, 10).notes() == ()
