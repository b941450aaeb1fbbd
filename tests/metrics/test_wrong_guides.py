from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.image import GuideImage
from msibench.metrics.wrong_guides import mirrored, other_section, shuffled_blocks


def guide(rows=13, columns=22):
    values = np.arange(3 * rows * columns, dtype=np.float32).reshape(3, rows, columns)
    return GuideImage(values, 25.0, ("red", "green", "blue"), values[0] % 3 > 0)


@given(st.integers(1, 6), st.integers(0, 50))
def test_no_block_stays_in_place_and_every_block_stays_whole(block, seed):
    right = guide()
    wrong = shuffled_blocks(right, block=block, seed=seed)
    rows, columns = (side // block * block for side in right.shape)
    inner = (slice(None), slice(rows), slice(columns))
    np.testing.assert_array_equal(np.sort(wrong.values.ravel()), np.sort(right.values.ravel()))
    assert (wrong.values[inner] != right.values[inner]).all()
    np.testing.assert_array_equal(wrong.values[:, rows:], right.values[:, rows:])
    steps = np.diff(wrong.values[0, :rows, :columns].reshape(rows, -1, block), axis=2)
    assert (steps == 1).all()
    assert wrong.mask is not None
    np.testing.assert_array_equal(wrong.mask, wrong.values[0] % 3 > 0)


def test_the_same_seed_gives_the_same_guide_and_the_right_one_is_untouched():
    right = guide()
    before = right.values.copy()
    one, two = (shuffled_blocks(right, block=4, seed=7) for _ in range(2))
    np.testing.assert_array_equal(one.values, two.values)
    np.testing.assert_array_equal(right.values, before)
    assert (one.values != shuffled_blocks(right, block=4, seed=8).values).any()


def test_a_guide_of_one_block_is_turned_instead():
    np.testing.assert_array_equal(
        shuffled_blocks(guide(), block=12, seed=0).values, mirrored(guide()).values
    )
    with pytest.raises(ValueError, match="at least 1"):
        shuffled_blocks(guide(), block=0, seed=0)


def test_a_mirrored_guide_is_turned_by_half_a_circle():
    right = guide()
    np.testing.assert_array_equal(mirrored(right).values, np.rot90(right.values, 2, axes=(1, 2)))
    np.testing.assert_array_equal(mirrored(right).mask, np.rot90(right.mask, 2))
    assert mirrored(replace(right, mask=None)).mask is None


def test_mirroring_twice_gives_the_guide_back():
    right = guide()
    assert (mirrored(right).values != right.values).any()
    np.testing.assert_array_equal(mirrored(mirrored(right)).values, right.values)
    assert mirrored(right).channel_names == right.channel_names


@pytest.mark.parametrize("shape", [(9, 30), (13, 22), (40, 5), (60, 90)])
def test_another_sections_guide_comes_onto_the_grid(shape):
    wrong = other_section(guide(), shape)
    assert wrong.shape == shape
    assert wrong.mask is not None
    np.testing.assert_array_equal(wrong.mask, wrong.values[0] % 3 > 0)
    assert set(np.unique(wrong.values)) <= set(np.unique(guide().values))
