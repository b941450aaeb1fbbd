"""Crop a section to whole coarse pixels, and bring its tissue mask onto the coarse grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench.degradation.binning import area_mean
from msibench.errors import ConfigurationError
from msibench.image import MSImage


def crop_to_multiple(image: MSImage, factor: int) -> tuple[MSImage, tuple[int, int]]:
    """Cut rows and columns off the lower and right edge until `factor` divides both sides.

    Returns
    -------
    The cropped section, and how many rows and columns were cut off.

    Raises
    ------
    ConfigurationError
        If the section is smaller than one coarse pixel.
    """
    rows, columns = image.shape
    if min(rows, columns) < factor:
        raise ConfigurationError(
            f"a section of {rows} x {columns} pixels has no whole coarse pixel at factor "
            f"{factor}; use a smaller factor"
        )
    cut = rows % factor, columns % factor
    if cut == (0, 0):
        return image, cut
    return image.crop(slice(0, rows - cut[0]), slice(0, columns - cut[1])), cut


def reduce_mask(mask: NDArray[np.bool_] | None, factor: int) -> NDArray[np.bool_] | None:
    """Coarse tissue mask: tissue where at least half of the fine pixels are."""
    if mask is None:
        return None
    return np.asarray(area_mean(mask.astype(np.float64), factor) >= 0.5)
