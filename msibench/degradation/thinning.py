"""Two independent measurements out of one: each counted ion goes to one of two halves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench.degradation.step import NoiseSource
from msibench.errors import MissingDataError


def thin_counts(
    values: NDArray[np.floating], counts_per_unit: NDArray[np.floating] | None, noise: NoiseSource
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Split Poisson counts into two halves by tossing a coin for every ion.

    Halves of Poisson counts are Poisson, and independent of each other.

    Parameters
    ----------
    values
        ``(channel, row, column)``.
    counts_per_unit
        Ions per unit of `values`, ``(channel,)``; intensities are rounded to whole ions.
    noise
        Each channel tosses with a stream of its own.

    Returns
    -------
    The two halves, each doubled, so that their mean is `values`; float32.

    Raises
    ------
    MissingDataError
        If the counts of a channel are not on record.
    """
    known = None if counts_per_unit is None else np.asarray(counts_per_unit, dtype=np.float64)
    if known is None or not (np.isfinite(known) & (known > 0)).all():
        raise MissingDataError(
            "thinning needs the ion counts behind every ion image, and they are not on record; take a "
            "protocol without thinning, such as area-x4@1, or say in the card that intensities are counts"
        )
    halves = np.empty((2, *values.shape), dtype=np.float32)
    for channel, (image, ions) in enumerate(zip(values, known, strict=True)):
        counts = np.maximum(np.rint(np.asarray(image, dtype=np.float64) * ions), 0).astype(np.int64)
        half = noise.channel("thinning", channel).binomial(counts, 0.5)
        halves[0, channel], halves[1, channel] = (2 * part / ions for part in (half, counts - half))
    return halves[0], halves[1]
