"""Which pixels a page calls not measured."""

import numpy as np

from msibench.leaderboard.images import _absent as absent


def test_zeros_between_counts_off_the_tissue_were_measured():
    rng = np.random.default_rng(0)
    mask = np.zeros((40, 50), dtype=bool)
    mask[10:30, 15:40] = True
    background = (rng.random((2, 40, 50)) < 0.3).astype(np.float32)
    assert not absent(background, mask).any()


def test_a_frame_that_holds_nothing_was_not_and_nor_was_nan():
    mask = np.zeros((40, 50), dtype=bool)
    mask[10:30, 15:40] = True
    stack = np.ones((2, 40, 50), dtype=np.float32) * mask
    np.testing.assert_array_equal(absent(stack, mask), ~mask)
    stack[1, 12, 20] = np.nan
    assert absent(stack, mask)[12, 20]
    assert not absent(np.zeros((1, 4, 5), dtype=np.float32), None).any()


def test_a_measured_background_ends_where_its_pixels_end():
    mask = np.zeros((40, 50), dtype=bool)
    stack = np.zeros((1, 40, 50), dtype=np.float32)
    stack[0, :20:2, ::3] = 1
    found = absent(stack, mask)
    assert not found[:19].any()
    assert found[23:].all()
