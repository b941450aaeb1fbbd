"""From pixel coordinates to a regular grid: offsets, several z, pixels that occur twice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msibench.errors import ConfigurationError, DataError
from msibench.io.imzml.header import Header
from msibench.io.imzml.spectra import ABSENT, SpectrumTable

Duplicates = Literal["sum", "first", "last", "error"]
GridPolicy = Literal["auto", "tight", "declared"]
PIXELS_PER_SPECTRUM = 4096
FREE_PIXELS = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class PixelGrid:
    """Where every spectrum lies in the image."""

    shape: tuple[int, int]
    """``(row, column)``."""
    pixel: NDArray[np.int64]
    """``row * columns + column`` of each kept spectrum."""
    kept: NDArray[np.int64] | None
    """Rows of the table that lie in the chosen slice; None for all of them."""
    origin: tuple[int, int]
    """Coordinates ``(y, x)`` of pixel (0, 0) as the file counts."""
    z: int | None
    """The slice, as the file counts; None when the file gives no z."""
    repeated: int
    """Spectra beyond the first at their pixel."""
    notes: tuple[str, ...]


def make_grid(
    path: Path,
    header: Header,
    table: SpectrumTable,
    *,
    z: int | None,
    duplicates: Duplicates,
    policy: GridPolicy,
) -> PixelGrid:
    """Lay the spectra out on a grid.

    The grid is the smallest rectangle that holds all coordinates, whatever they are counted from
    (as METASPACE does); maximum pixel counts in the header are a claim that many files get wrong.

    Raises
    ------
    DataError
        Coordinates are missing, several slices are present and `z` is None, a pixel occurs twice
        and `duplicates` is ``"error"``, or the grid is out of all proportion to the spectra.
    """
    if duplicates not in ("sum", "first", "last", "error"):
        raise ConfigurationError(
            f"duplicates must be sum, first, last or error, got {duplicates!r}"
        )
    if policy not in ("auto", "tight", "declared"):
        raise ConfigurationError(f"grid must be auto, tight or declared, got {policy!r}")
    for axis in ("x", "y"):
        absent = table.column(axis) == ABSENT
        if absent.any():
            raise DataError(
                f"{path.name}, spectrum {int(np.argmax(absent))}: has no position {axis} "
                f"({int(absent.sum())} of {len(table)} spectra lack it); an image needs "
                "IMS:1000050 and IMS:1000051 for every spectrum. Export the file again."
            )
    kept, slice_z = _choose_slice(path, table, z)
    x, y = table.column("x"), table.column("y")
    if kept is not None:
        x, y = x[kept], y[kept]
    notes: list[str] = []
    top, left = int(y.min()), int(x.min())
    rows, columns = int(y.max()) - top + 1, int(x.max()) - left + 1
    declared = header.declared_shape
    if policy == "declared" or (policy == "auto" and header.complete_grid):
        inside = declared is not None and min(top, left) >= 1
        if (
            declared is None
            or not inside
            or top + rows - 1 > declared[0]
            or left + columns - 1 > declared[1]
        ):
            if policy == "declared":
                raise DataError(
                    f"{path.name}: the grid that the header declares "
                    f"({'none' if declared is None else f'{declared[0]} x {declared[1]}'}) does not "
                    f"hold the coordinates (y {top} to {top + rows - 1}, x {left} to "
                    f"{left + columns - 1}); use grid='tight'."
                )
        else:
            (rows, columns), top, left = declared, 1, 1
    elif declared is not None and declared != (rows, columns):
        notes.append(
            f"header declares {declared[0]} x {declared[1]} pixels, coordinates span "
            f"{rows} x {columns}"
        )
    if rows * columns > max(FREE_PIXELS, PIXELS_PER_SPECTRUM * x.size):
        far = int(np.argmax(np.maximum(np.abs(x - np.median(x)), np.abs(y - np.median(y)))))
        number = far if kept is None else int(kept[far])
        raise DataError(
            f"{path.name}, spectrum {number}: lies at x {x[far]}, y {y[far]}, so that {x.size} "
            f"spectra would need an image of {rows} x {columns} pixels; the position is damaged or "
            "in another unit than pixels. Correct it or export the file again."
        )
    pixel = (y - top) * columns + (x - left)
    repeated = int(pixel.size - np.unique(pixel).size) if _repeats(pixel) else 0
    if repeated and duplicates == "error":
        values, counts = np.unique(pixel, return_counts=True)
        again = int(values[np.argmax(counts > 1)])
        first, second = np.flatnonzero(pixel == again)[:2]
        if kept is not None:
            first, second = kept[first], kept[second]
        raise DataError(
            f"{path.name}, spectrum {second}: lies on the same pixel (x {again % columns + left}, "
            f"y {again // columns + top}) as spectrum {first}, and {repeated} spectra in all repeat "
            "a pixel; choose duplicates='sum', 'first' or 'last'."
        )
    return PixelGrid((rows, columns), pixel, kept, (top, left), slice_z, repeated, tuple(notes))


def _repeats(pixel: NDArray[np.int64]) -> bool:
    """Whether a pixel may occur twice; a strictly growing list cannot."""
    return not bool(np.all(np.diff(pixel) > 0))


def _choose_slice(
    path: Path, table: SpectrumTable, z: int | None
) -> tuple[NDArray[np.int64] | None, int | None]:
    column = table.column("z")
    given = np.unique(column)
    known = given[given != ABSENT]
    if z is None:
        if known.size > 1:
            listed = ", ".join(map(str, known[:8])) + (", ..." if known.size > 8 else "")
            raise DataError(
                f"{path.name}: holds {known.size} slices (z = {listed}); an image is one of them. "
                "Choose it with z=..., for instance "
                f"open_imzml(path, z={known[0]}); on the command line --z {known[0]}."
            )
        return None, int(known[0]) if known.size else None
    kept = np.flatnonzero(column == z)
    if kept.size == 0:
        listed = ", ".join(map(str, known[:8])) or "none"
        raise DataError(f"{path.name}: has no slice z = {z}; it has {listed}.")
    return (None if kept.size == len(table) else kept), z
