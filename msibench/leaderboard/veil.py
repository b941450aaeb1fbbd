"""Up to which level an interval supports the detail that a prediction shows, for a page's veil."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.metric import CalibratedInterval, ToldInterval

Floats = NDArray[np.float64]

SEEN = 0.03
"""Of the colour range: a difference to the measured pixel that can be seen, and is veiled or supported."""
NEVER = 255
"""Level of a pixel that shows no detail: there is nothing to veil."""


def supported_levels(
    low: NDArray[np.floating],
    prediction: NDArray[np.floating],
    told: ToldInterval,
    channel: int,
    top: float,
) -> NDArray[np.uint8]:
    """Return the highest level at which the detail of each pixel is supported, times 254.

    Detail is supported at a level where the interval of that level does not hold the intensity of the
    measured pixel. Intervals of other levels than `ToldInterval.level` are taken as those of a normal
    distribution to either side of the prediction.

    Parameters
    ----------
    low, prediction
        One ion image, coarse and fine.
    told
        Of the whole section.
    channel
        Which ion image of it.
    top
        Intensity at which the colours end.

    Returns
    -------
    ``(row, column)``; 0 where nothing is told, `NEVER` where no detail is shown.
    """
    from scipy.special import ndtr, ndtri

    flat, fine, away = _detail(low, prediction)
    lower, upper = (
        np.asarray(ends[channel], dtype=np.float64) for ends in (told.lower, told.upper)
    )
    side = np.where(flat < fine, fine - lower, upper - fine)
    with np.errstate(divide="ignore", invalid="ignore"):
        level = 2 * ndtr(away / side * ndtri((1 + told.level) / 2)) - 1
    # An end that is cut at 0 is nearer than its normal distribution: what lies on it is held.
    level = np.where((flat == lower) | (flat == upper), np.minimum(level, told.level), level)
    return _where_seen(np.floor(np.nan_to_num(level) * 254), away, top)


def calibrated_levels(
    low: NDArray[np.floating],
    prediction: NDArray[np.floating],
    found: CalibratedInterval,
    channel: int,
    top: float,
) -> NDArray[np.uint8]:
    """Return `supported_levels` for the interval that the harness calibrated: that of the signal, at its own levels.

    Parameters
    ----------
    low, prediction
        One ion image, coarse and fine.
    found
        Of the whole section.
    channel
        Which ion image of it.
    top
        Intensity at which the colours end.

    Returns
    -------
    ``(row, column)``; 0 below the least level that is known and where nothing is calibrated, `NEVER` where no
    detail is shown.
    """
    flat, fine, away = _detail(low, prediction)
    reach = np.asarray(found.signal[channel], dtype=np.float64)
    side = np.where(flat < fine, 1.0, found.up[channel]) * reach
    quantiles = found.quantiles[channel]
    known = quantiles[
        np.isfinite(quantiles)
    ]  # the highest levels may need more pixels than there are
    with np.errstate(divide="ignore", invalid="ignore"):
        passed = np.searchsorted(known, np.nan_to_num(away / side, posinf=0.0), side="left")
    reached = np.concatenate([[0.0], found.levels[: len(known)]])[passed]
    return _where_seen(np.ceil(reached * 254), away, top)


def _detail(
    low: NDArray[np.floating], prediction: NDArray[np.floating]
) -> tuple[Floats, Floats, Floats]:
    """Return the measured pixels repeated, the prediction, and how far they are apart."""
    factor = prediction.shape[0] // low.shape[0]
    flat = np.asarray(low, dtype=np.float64).repeat(factor, 0).repeat(factor, 1)
    fine = np.asarray(prediction, dtype=np.float64)
    return flat, fine, np.abs(flat - fine)


def _where_seen(levels: Floats, away: Floats, top: float) -> NDArray[np.uint8]:
    """Return levels where detail can be seen, `NEVER` elsewhere."""
    return np.where(away > SEEN * top, levels, NEVER).astype(np.uint8)
