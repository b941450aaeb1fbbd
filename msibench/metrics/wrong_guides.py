"""Guides that do not belong to the section: controls for guided methods.

A method whose scores hardly drop with a wrong guide does not use it; one whose detail follows the
wrong guide invents.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from msibench.image import GuideImage


def shuffled_blocks(guide: GuideImage, *, block: int, seed: int) -> GuideImage:
    """Exchange square blocks of the guide at random; each keeps its content and changes its position.

    Rows and columns beyond the last whole block stay. With two blocks or more no block stays where
    it was.

    Parameters
    ----------
    guide
        The right guide.
    block
        Edge of a block in fine pixels; at least 1.
    seed
        Another seed is another order.

    Raises
    ------
    ValueError
        If `block` is below 1.
    """
    if block < 1:
        raise ValueError(f"block must be at least 1 fine pixel, got {block}")
    rows, columns = (side // block for side in guide.shape)
    count = rows * columns
    if count < 2:
        return mirrored(guide)
    order = np.random.default_rng(seed).permutation(count)
    moved = np.empty(count, dtype=np.intp)
    moved[order] = np.roll(order, 1)  # one cycle through all blocks leaves none in place
    values = guide.values.copy()
    mask = None if guide.mask is None else guide.mask.copy()
    for target, source in enumerate(moved):
        (to_row, to_column), (row, column) = divmod(target, columns), divmod(int(source), columns)
        to = (
            slice(to_row * block, (to_row + 1) * block),
            slice(to_column * block, (to_column + 1) * block),
        )
        here = (slice(row * block, (row + 1) * block), slice(column * block, (column + 1) * block))
        values[(slice(None), *to)] = guide.values[(slice(None), *here)]
        if mask is not None and guide.mask is not None:
            mask[to] = guide.mask[here]
    return replace(guide, values=values, mask=mask)


def mirrored(guide: GuideImage) -> GuideImage:
    """Turn the guide by half a circle: row and column order reversed.

    A tissue that is mirror symmetric about one axis would look the same after one reflection only.
    """
    mask = None if guide.mask is None else guide.mask[::-1, ::-1].copy()
    return replace(guide, values=guide.values[:, ::-1, ::-1].copy(), mask=mask)


def other_section(guide: GuideImage, shape: tuple[int, int]) -> GuideImage:
    """Bring another section's guide onto a grid: cut about its centre, or continued by reflection.

    Parameters
    ----------
    guide
        The other section's guide, on its own grid.
    shape
        ``(row, column)`` of the grid that the wrong guide must lie on.
    """
    values, mask = guide.values, guide.mask
    for axis, side in enumerate(shape):
        index = _centred(values.shape[axis + 1], side)
        values = np.take(values, index, axis=axis + 1)
        mask = None if mask is None else np.take(mask, index, axis=axis)
    return replace(guide, values=values, mask=mask)


def _centred(length: int, side: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return `side` indices about the centre of a line, reflected at its ends."""
    index = np.mod(np.arange(side) + (length - side) // 2, 2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)
