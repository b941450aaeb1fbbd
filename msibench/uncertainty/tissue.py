"""Which pixels of a section are measured tissue, and whether they are enough to learn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench.errors import DataError
from msibench.image import MSImage

FEWEST_TISSUE = 200
"""Measured tissue pixels below which a section tells too little of its own errors."""


def check_section(low: MSImage) -> None:
    """Refuse a section with too few measured tissue pixels to tell of its own errors.

    Raises
    ------
    DataError
        There are fewer than `FEWEST_TISSUE`.
    """
    tissue = int(np.count_nonzero(tissue_of(low)))
    if tissue < FEWEST_TISSUE:
        raise DataError(
            f"{tissue} tissue {'pixel was' if tissue == 1 else 'pixels were'} measured; expected at least {FEWEST_TISSUE}: fewer say too little about the errors of a method. Use a larger section"
        )


def tissue_of(low: MSImage) -> NDArray[np.bool_]:
    """Return the tissue pixels that were measured, ``(row, column)``; an ion that never was does not count."""
    finite = np.isfinite(low.values)
    inside = finite[finite.any(axis=(1, 2))].all(axis=0) & finite.any(axis=0)
    return np.asarray(inside if low.mask is None else inside & low.mask)
