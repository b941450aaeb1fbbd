"""The closed m/z windows of ion images, as intervals that reproduce the definition exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.errors import ConfigurationError

PLAUSIBLE_PPM = 0.1, 1000.0
"""Half-widths of m/z windows that instruments need: from ion cyclotron resonance to linear time of flight."""
WIDEST_PPM = 1e5
"""No window is wider: a tenth of m/z, twice the nominal mass of the lightest elements that are imaged."""


def check_ppm(ppm: float) -> str:
    """Return a doubt about the half-width of an m/z window; empty for a plausible one.

    Raises
    ------
    ConfigurationError
        If no window can be meant.
    """
    if not (math.isfinite(ppm) and 0 <= ppm < WIDEST_PPM):
        raise ConfigurationError(
            f"ppm must be at least 0 and below {WIDEST_PPM:,.0f} (parts per million of m/z), got {ppm:g}"
        )
    low, high = PLAUSIBLE_PPM
    if low <= ppm <= high:
        return ""
    return (
        f"{ppm:g} ppm is a window of m/z 800 ± {ppm * 800e-6:.2g}; instruments need {low:g} to "
        f"{high:g} ppm. If {ppm:g} is not in parts per million of m/z (±0.004 at m/z 800 is 5 ppm), convert it"
    )


@dataclass(frozen=True, slots=True, eq=False)
class MzWindows:
    """Intervals ``[low, high]``, ascending, and where each belongs in the order asked for."""

    mz: NDArray[np.float64]
    """Centres in Da, in the order asked for."""
    ppm: float
    order: NDArray[np.intp]
    """``mz[order]`` ascends."""
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def mz_windows(mz: ArrayLike, ppm: float) -> MzWindows:
    """Return the intervals of all ``m`` with ``|m - mz| <= ppm * 1e-6 * mz`` in float64.

    ``mz - tolerance`` and ``mz + tolerance`` are rounded, so that a peak right at the edge could
    fall on the wrong side; the bounds are therefore moved to the outermost floating-point numbers
    for which the inequality itself holds.

    Raises
    ------
    ConfigurationError
        An m/z is not positive and finite, or `ppm` is negative or not finite.
    """
    centres = np.atleast_1d(np.asarray(mz, dtype=np.float64))
    if centres.ndim != 1 or centres.size == 0:
        raise ConfigurationError(
            f"mz must be one m/z or a list of at least one, got shape {centres.shape}"
        )
    wrong = ~(np.isfinite(centres) & (centres > 0))
    if wrong.any():
        raise ConfigurationError(
            f"every m/z must be a positive number of Da, got {centres[np.argmax(wrong)]}"
        )
    if not (np.isfinite(ppm) and 0 <= ppm < 1e6):
        raise ConfigurationError(f"ppm must be at least 0 and below 1,000,000, got {ppm}")
    order = np.argsort(centres, kind="stable")
    middle = centres[order]
    tolerance = ppm * 1e-6 * middle
    low = _outermost(middle, tolerance, -1)
    high = _outermost(middle, tolerance, +1)
    # centres that differ by less than rounding could cross; the kernels rely on ascending bounds
    return MzWindows(
        centres, float(ppm), order, np.maximum.accumulate(low), np.maximum.accumulate(high)
    )


def _outermost(
    middle: NDArray[np.float64], tolerance: NDArray[np.float64], side: int
) -> NDArray[np.float64]:
    bound = middle + side * tolerance
    for _ in range(8):
        outside = np.abs(bound - middle) > tolerance
        if not outside.any():
            break
        bound = np.where(outside, np.nextafter(bound, middle), bound)
    for _ in range(8):
        further = np.nextafter(bound, side * np.inf)
        still = np.abs(further - middle) <= tolerance
        if not still.any():
            break
        bound = np.where(still, further, bound)
    return bound
