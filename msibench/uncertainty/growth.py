"""How much larger errors are at the wanted scale than one scale up, where a section itself is calibrated on.

Two things grow differently as pixels shrink. The variance of counting noise is `factor`² times larger in pixels whose
edge is `factor` times shorter. What the coarse image could not see of the structure is smaller by as much as its detail
falls from one octave to the next, `log2(factor)` times (`msibench.uncertainty.octaves.fall_of`). Of the mean square error that
is seen one scale up, the counting noise of the measurement (`msibench.uncertainty.noise`) is the one part, the rest the
other. The difficulty of the pixels keeps its pattern and gets the size that follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msibench.image import MSImage
from msibench.uncertainty.noise import white_counting_variance
from msibench.uncertainty.octaves import fall_of, finest_octaves, signal_in

if TYPE_CHECKING:
    from msibench.uncertainty.conformal import KnownPixels

Floats = NDArray[np.float64]

MOST_NOISE = 0.95
"""Share of the mean square error one scale up that is taken as noise of the measurement, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How the errors of one ion image grow from one scale up to the wanted scale, as ratios of root mean squares."""

    measurement: float
    """Of pixels as they would be measured."""
    signal: float
    """Of the signal in them."""


def growths(
    known: Sequence[KnownPixels | None], truth: MSImage, factor: int, *, enough: int
) -> list[Growth]:
    """Return the growth of errors, one per ion.

    Parameters
    ----------
    known
        The errors one scale up, relative to each ion's `KnownPixels.unit`.
    truth
        What was measured: the truth of that scale.
    factor
        Fine pixels along the edge of a measured one.
    enough
        Known pixels from which on an ion's own share of noise counts; below, the median of those ions.
    """
    measured = np.isfinite(truth.values)
    inside = (measured if truth.mask is None else measured & truth.mask).mean(axis=(1, 2))
    white = white_counting_variance(truth)
    fall = fall_of(signal_in(finest_octaves(truth), white)) ** np.log2(factor)
    share = np.full(len(known), np.nan)
    for channel, one in enumerate(known):
        error = 0.0 if one is None else float(np.mean(one.residual**2)) * one.unit**2
        if error > 0 and inside[channel] > 0:
            share[channel] = min(white[channel] / inside[channel] / error, MOST_NOISE)
    few = np.array([one is None or len(one.residual) < enough for one in known])
    told = np.isfinite(share)
    pool = share[told & ~few] if (told & ~few).any() else share[told]
    noise = np.where(few | ~told, np.median(pool) if pool.size else 0.0, share)
    rest = (1 - noise) * fall
    return [
        Growth(
            measurement=float(np.sqrt(counted * factor**2 + more)),
            signal=float(np.sqrt(counted + more)),
        )
        for counted, more in zip(noise, rest, strict=True)
    ]
