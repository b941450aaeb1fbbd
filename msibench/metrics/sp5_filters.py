"""Filters of the steerable pyramid with six orientations, as far as VIF uses them.

The numbers are ``sp5Filters`` of matlabPyrTools (E. P. Simoncelli), taken from pyrtools 1.1.1
(``pyrtools.pyramids.filters.steerable_filters("sp5_filters")``; MIT licence, copyright (c) 2016
LabForComputationalVision). All of them are symmetric or antisymmetric, so one quadrant
says everything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FIRST_LOW_PASS = (
    (0.00341614, -0.01551246, -0.03848215),
    (-0.01551246, 0.05586982, 0.1592557),
    (-0.03848215, 0.1592557, 0.40304148),
)
_LOW_PASS = (
    (0.00170808, -0.00489834, -0.00775624, -0.01888864, -0.01924108),
    (-0.00489834, -0.01046562, -0.01322234, 0.008212, 0.02005976),
    (-0.00775624, -0.01322234, 0.02793492, 0.06554076, 0.07962786),
    (-0.01888864, 0.008212, 0.06554076, 0.12852666, 0.16339236),
    (-0.01924108, 0.02005976, 0.07962786, 0.16339236, 0.2019308),
)
_BAND = (
    (0.00277643, -0.00986904, -0.01021852, 0.0),
    (0.00496194, -0.00893064, -0.03075356, 0.0),
    (0.01026699, 0.01189859, -0.08226445, 0.0),
    (0.01455399, 0.02755155, -0.11732297, 0.0),
)


def first_low_pass() -> NDArray[np.float64]:
    """Return ``lo0filt``, 5 x 5: what precedes the first level."""
    return _mirrored(_FIRST_LOW_PASS)


def low_pass() -> NDArray[np.float64]:
    """Return ``lofilt``, 9 x 9: what leads from a level to the next; sums to 2."""
    return _mirrored(_LOW_PASS)


def horizontal_band() -> NDArray[np.float64]:
    """Return band 1 of ``bfilts``, 7 x 7: even along rows' axis, odd along columns'."""
    return _mirrored(_BAND, sign=-1)


def vertical_band() -> NDArray[np.float64]:
    """Return band 4 of ``bfilts``, 7 x 7: band 1 turned by 90 degrees."""
    return -horizontal_band().T


def _mirrored(quadrant: tuple[tuple[float, ...], ...], sign: int = 1) -> NDArray[np.float64]:
    """Complete the upper left quadrant, centre lines included; `sign` is the parity along columns."""
    half = np.array(quadrant)
    half = np.concatenate([half, half[-2::-1]])
    return np.concatenate([half, sign * half[:, -2::-1]], axis=1)
