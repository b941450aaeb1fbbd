"""The plain bicubic enlargement that measures of added detail start from."""

from __future__ import annotations

import numpy as np

from msibench.metrics.arrays import Floats
from msibench.metrics.products import product

KEYS_A = -0.75


def bicubic(low: Floats, factor: int) -> Floats:
    """Enlarge with Keys' cubic (a = -0.75), outer edges of the grids together, edge pixels repeated.

    The same numbers as ``torch.nn.functional.interpolate(mode="bicubic", align_corners=False)``.

    Parameters
    ----------
    low
        ``(..., row, column)``.
    factor
        Fine pixels along each edge of a coarse one.
    """
    rows, columns = (_weights(side, factor) for side in low.shape[-2:])
    return np.asarray(product(product(rows, low), columns.T))


def _weights(side: int, factor: int) -> Floats:
    """Return the linear map from a coarse line to the fine one, ``(side * factor, side)``."""
    place = (np.arange(side * factor) + 0.5) / factor - 0.5
    first = np.floor(place).astype(np.intp) - 1
    weights = np.zeros((side * factor, side))
    for tap in range(4):
        index = first + tap
        share = _keys(np.abs(place - index))
        np.add.at(weights, (np.arange(len(place)), np.clip(index, 0, side - 1)), share)
    return weights


def _keys(distance: Floats) -> Floats:
    a, x = KEYS_A, distance
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
