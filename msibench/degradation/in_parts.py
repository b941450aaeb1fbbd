"""Prepare a section that memory should not hold, a few ion images at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from msibench.degradation.protocol import (
    Clipped,
    DegradationProtocol,
    Prepared,
    not_measured,
)
from msibench.errors import DataError
from msibench.image import MSImage


def prepare_in_parts(
    chosen: DegradationProtocol,
    fine: MSImage,
    parts: Iterable[slice],
    *,
    seed: int = 0,
    declared_range: float | None = None,
    counts_per_unit: NDArray[np.floating] | None = None,
) -> Iterator[Prepared]:
    """Yield what `DegradationProtocol.prepare` makes of each group of channels.

    Values, masks and noise are those that the whole section gives: a pixel that is NaN in any channel
    leaves the mask of all, and each channel has noise of its own.

    Parameters
    ----------
    chosen
        The protocol; one that normalises needs the whole spectrum and is refused by `prepare`.
    fine
        The section as measured; its values may stay in their file.
    parts
        Groups of channels, in order.
    seed, declared_range, counts_per_unit
        As in `DegradationProtocol.prepare`.

    Raises
    ------
    ConfigurationError, DataError, MissingDataError
        As `DegradationProtocol.prepare` does.
    """
    parts = list(parts)
    missing = np.zeros(fine.shape, dtype=np.bool_)
    for part in parts:
        values = fine.values[part]
        if np.isinf(values).any():
            raise DataError(
                "the section holds infinite intensities; expected finite ones, or NaN where not "
                "measured"
            )
        missing |= np.isnan(values).any(axis=0)
    if missing.size and missing.all():
        raise DataError("no pixel of the section was measured in every channel: all hold NaN")
    gaps = int(missing.sum())
    mask = fine.mask
    notes: tuple[str, ...] = ()
    if gaps:
        mask = ~missing if mask is None else mask & ~missing
        notes = (not_measured(gaps),)
    for part in parts:
        values = fine.values[part]
        if gaps:
            values = np.where(missing, np.float32(0), values)
        part_of = chosen.prepare(
            replace(fine, values=values, mz=fine.mz[part], mask=mask),
            seed=seed,
            declared_range=declared_range,
            counts_per_unit=None if counts_per_unit is None else counts_per_unit[part],
            first=part.start,
        )
        yield replace(part_of, notes=(*notes, *part_of.notes))


def joint_notes(notes: Iterable[tuple[str, ...]], clipped: Iterable[Clipped]) -> tuple[str, ...]:
    """Return the notes that the whole section would have had, from those of its parts."""
    clipped = list(clipped)
    counted = {note for part in clipped for note in part.notes()}
    common = list(dict.fromkeys(note for part in notes for note in part if note not in counted))
    last = [note for note in common if note.startswith("ion counts")]
    first = [note for note in common if note not in last]
    return (*first, *sum(clipped, Clipped()).notes(), *last)
