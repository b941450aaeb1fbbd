"""The second measurement of an ion: an isotope, a replicate transition, another plane."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from msibench.errors import MissingDataError
from msibench.image import MSImage


def second_measurements(
    fine: MSImage,
    group: slice,
    repeats: Mapping[int, int] | None,
    missing: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Return the second measurement of some channels, each brought to the total of the first.

    Totals are compared rather than regressed: noise makes a regression too small.

    Parameters
    ----------
    fine
        The section as measured, ``(channel, row, column)``.
    group
        Channels of the truth.
    repeats
        Channel → the channel that measures the same again.
    missing
        Pixels that were not measured, ``(row, column)``: 0 in the result.

    Raises
    ------
    MissingDataError
        If a channel has no second measurement, or the second measurement is empty.
    """
    known = repeats or {}
    names = fine.channel_names()
    chosen = range(fine.channels)[group]
    without = [names[channel] for channel in chosen if channel not in known]
    if without:
        raise MissingDataError(
            f"a protocol of repeats needs a second measurement of every ion, and {', '.join(without)} "
            "has none; name the pair in the card ([[repeats]]) and take an m/z set that holds both, or "
            "take a protocol without, such as area-x4@1"
        )
    found = np.empty((len(chosen), *fine.shape), dtype=np.float32)
    for place, channel in enumerate(chosen):
        first, second = (
            np.asarray(fine.values[one], dtype=np.float64) for one in (channel, known[channel])
        )
        if missing is not None:
            first, second = np.where(missing, 0.0, first), np.where(missing, 0.0, second)
        if not second.sum() > 0:
            raise MissingDataError(f"the second measurement of {names[channel]} holds nothing")
        found[place] = second * (first.sum() / second.sum())
    return found
