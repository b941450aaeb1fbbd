"""Step 4: tissue masks, the section that two modalities share, crop, and resampling by area."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from msibench.errors import DataError
from msibench_cca.maps import Maps

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


def tissue_mask(known: Bools, dilation: int) -> Bools:
    """Return where tissue is, ``(row, column)``: what was measured, dilated, without holes."""
    grown = ndimage.binary_dilation(known, iterations=dilation) if dilation else known
    return np.asarray(ndimage.binary_fill_holes(grown), dtype=bool)


def largest_section(mask: Bools, known: Bools) -> tuple[slice, slice]:
    """Return the bounding box of the largest connected piece of tissue: the section to be fused.

    The mask says what belongs together; the box is that of the measured pixels in it, so that dilation by
    pixels of different size does not put two modalities' boxes apart.

    Raises
    ------
    DataError
        If the mask is empty.
    """
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if not count:
        raise DataError("there is no tissue: the mask is empty")
    sizes = np.bincount(labels.ravel())[1:]
    section = known & (labels == int(sizes.argmax()) + 1)
    rows, columns = (np.flatnonzero(section.any(axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def area_weights(fine: int, coarse: int) -> Floats:
    """Return the share of each fine pixel of a line in each coarse one, ``(coarse, fine)``; rows sum to 1.

    Both lines cover the same stretch; their lengths need not divide. Anti-aliased by construction.
    """
    edges = np.arange(coarse + 1) * (fine / coarse)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(fine)
    overlap = np.minimum(high, pixel + 1) - np.maximum(low, pixel)
    shares = np.maximum(overlap, 0)
    return np.asarray(shares / shares.sum(1, keepdims=True))


def resample(maps: Maps, shape: tuple[int, int]) -> tuple[Floats, Bools]:
    """Return maps on a coarser grid over the same area, and where at least half is known.

    Each coarse pixel is the mean of the known area in it.
    """
    down, across = (area_weights(f, c) for f, c in zip(maps.shape, shape, strict=True))
    share = down @ maps.known.astype(np.float64) @ across.T
    values = down @ np.where(maps.known, maps.values, 0) @ across.T
    return values / np.maximum(share, 1e-12), share >= 0.5
