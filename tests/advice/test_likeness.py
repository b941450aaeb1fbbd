"""How alike two sections are: pixel size, noise, texture and fineness."""

import numpy as np
import pytest

import msibench as mb
from msibench.advice.likeness import likeness
from msibench_datasets.phantom.generator import make_phantom


def phantom(counts=60.0, seed=1, shape=(128, 160)):
    made = make_phantom(seed=seed, shape=shape, counts=counts)
    return mb.MSImage(made.counts, made.mz, 10.0, mask=made.mask, unit="counts")


def coarse(section, factor=4):
    return mb.degrade(section, f"area-x{factor}@1").low


def test_a_section_is_like_itself_and_less_like_one_with_fewer_counts_or_other_pixels():
    mine, noisy = likeness(coarse(phantom()), 4), likeness(coarse(phantom(counts=1)), 4)
    assert mine.distance(mine) == 0
    assert noisy.signal < mine.signal - 0.3
    assert mine.differences(noisy)["noise"] == pytest.approx((mine.signal - noisy.signal) / 0.3)
    far = mb.MSImage(coarse(phantom()).values, coarse(phantom()).mz, 160.0)
    assert mine.differences(likeness(far, 4))["pixel size"] == pytest.approx(np.log(4) / 0.7)
    unknown = likeness(mb.MSImage(far.values, far.mz), 4)
    assert set(mine.differences(unknown)) == {"noise", "texture", "fineness"}
    assert mine.distance(unknown) < 0.1
