"""Loss curves as the record of a run keeps them: few points, short numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

MOST_POINTS = 200


def kept_points(length: int) -> list[int]:
    """Return which of `length` values are kept: at most `MOST_POINTS`, the first and the last among them."""
    return [
        int(p) for p in np.unique(np.linspace(0, length - 1, min(length, MOST_POINTS)).astype(int))
    ]


def six_digits(values: Iterable[float]) -> list[float]:
    """Return values rounded to six significant digits."""
    return [float(f"{value:.6g}") for value in values]
