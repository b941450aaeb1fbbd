"""From pixel coordinates to a regular grid: offsets, several z, pixels that occur twice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

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

    The grid is the smallest rectangle that holds all coordinates, whatever the origin (as METASPACE
    does); maximum pixel counts in the header are a claim that many files get wrong.

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
    _check_positions(path, table)
    kept, slice_z = _choose_slice(path, table, z)
    x, y = table.column("x"), table.column("y")
    if kept is not None:
        x, y = x[kept], y[kept]
    top, left = int(y.min()), int(x.min())
    span = int(y.max()) - top + 1, int(x.max()) - left + 1
    notes: tuple[str, ...] = ()
    if policy == "declared" or (policy == "auto" and header.complete_grid):
        shape, (top, left) = _declared_grid(path, header, span, (top, left), policy)
    else:
        shape, declared = span, header.declared_shape
        if declared not in (None, span):
            notes = (
                f"header declares {declared[0]} x {declared[1]} pixels, coordinates span "
                f"{span[0]} x {span[1]}",
            )
    _check_size(path, shape, x, y, kept)
    pixel = (y - top) * shape[1] + (x - left)
    repeated = int(pixel.size - np.unique(pixel).size) if _repeats(pixel) else 0
    if repeated and duplicates == "error":
        _refuse_repeats(path, pixel, kept, shape[1], (top, left), repeated)
    return PixelGrid(shape, pixel, kept, (top, left), slice_z, repeated, notes)


def _check_positions(path: Path, table: SpectrumTable) -> None:
    for axis in ("x", "y"):
        absent = table.column(axis) == ABSENT
        if absent.any():
            raise DataError(
                f"{path.name}, spectrum {int(np.argmax(absent))}: has no position {axis} "
                f"({int(absent.sum())} of {len(table)} spectra lack it); an image needs "
                "IMS:1000050 and IMS:1000051 for every spectrum. Export the file again."
            )


def _declared_grid(
    path: Path, header: Header, span: tuple[int, int], start: tuple[int, int], policy: GridPolicy
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return shape and origin as the header declares them, else, if only ``"auto"``, as they are."""
    declared, (rows, columns), (top, left) = header.declared_shape, span, start
    if (
        declared is not None
        and min(start) >= 1
        and top + rows - 1 <= declared[0]
        and left + columns - 1 <= declared[1]
    ):
        return declared, (1, 1)
    if policy == "declared":
        raise DataError(
            f"{path.name}: the grid that the header declares "
            f"({'none' if declared is None else f'{declared[0]} x {declared[1]}'}) does not "
            f"hold the coordinates (y {top} to {top + rows - 1}, x {left} to "
            f"{left + columns - 1}); use grid='tight'."
        )
    return span, start


def _check_size(
    path: Path,
    shape: tuple[int, int],
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    kept: NDArray[np.int64] | None,
) -> None:
    rows, columns = shape
    if rows * columns > max(FREE_PIXELS, PIXELS_PER_SPECTRUM * x.size):
        far = int(np.argmax(np.maximum(np.abs(x - np.median(x)), np.abs(y - np.median(y)))))
        number = far if kept is None else int(kept[far])
        raise DataError(
            f"{path.name}, spectrum {number}: lies at x {x[far]}, y {y[far]}, so that {x.size} "
            f"spectra would need an image of {rows} x {columns} pixels; the position is damaged or "
            "in another unit than pixels. Correct it or export the file again."
        )


def _refuse_repeats(
    path: Path,
    pixel: NDArray[np.int64],
    kept: NDArray[np.int64] | None,
    columns: int,
    origin: tuple[int, int],
    repeated: int,
) -> NoReturn:
    """Raise for the first pixel that occurs twice."""
    values, counts = np.unique(pixel, return_counts=True)
    again = int(values[np.argmax(counts > 1)])
    first, second = np.flatnonzero(pixel == again)[:2]
    if kept is not None:
        first, second = kept[first], kept[second]
    raise DataError(
        f"{path.name}, spectrum {second}: lies on the same pixel (x {again % columns + origin[1]}, "
        f"y {again // columns + origin[0]}) as spectrum {first}, and {repeated} spectra in all repeat "
        "a pixel; choose duplicates='sum', 'first' or 'last'."
    )


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
