"""Which of a TIFF file's images is read: the largest that is not a thumbnail, label or mask; the rest is named."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from msibench.contracts.plain_text import few_of
from msibench.errors import DataError
from msibench.io.data_warning import warn_about_data

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

BESIDE = re.compile(r"\b(thumbnail|label|macro|overview)\b", re.IGNORECASE)
"""Names of the extra images of slide scanners."""
REDUCED, MASK = 1, 4
"""Bits of the tag NewSubfileType."""


def main_series(source: Path, tiff: TiffFile, *, tell: bool = True) -> list[int]:
    """Return the indices of a file's full images, all of the largest grid, in the file's order.

    Images of other grids that are not a thumbnail, label, macro picture or mask are named in a
    DataWarning unless `tell` is off: they are not read.

    Raises
    ------
    DataError
        If there is no image.
    """
    if not len(tiff.pages) or not tiff.series:
        raise DataError(f"{source.name} holds no image; is it complete?")
    full = [
        index
        for index, series in enumerate(tiff.series)
        if not int(series.keyframe.subfiletype or 0) & (REDUCED | MASK)
        and not BESIDE.search(series.name or "")
    ] or list(range(len(tiff.series)))
    grids = {index: grid(source, tiff.series[index]) for index in full}
    largest = max(grids.values(), key=math.prod)
    others = [grids[index] for index in full if grids[index] != largest]
    if others and tell:
        name_unread(source, others)
    return [index for index in full if grids[index] == largest]


def name_unread(source: Path, others: list[tuple[int, int]]) -> None:
    """Warn of further images in a file that are not read."""
    listed = few_of((f"{rows} x {columns}" for rows, columns in others), shown=5)
    warn_about_data(
        f"{source.name}: holds {len(others)} further images that are not read ({listed} "
        "pixels); export those that are meant to a file of their own"
    )


def grid(source: Path, series: TiffPageSeries) -> tuple[int, int]:
    """Return ``(row, column)`` of a series, whatever the order of its axes.

    Raises
    ------
    DataError
        If it has no rows or columns.
    """
    axes, shape = series.get_axes(True), series.get_shape(True)
    if "Y" not in axes or "X" not in axes:
        raise DataError(f"{source.name}: expected axes Y and X, got {axes!r} {tuple(shape)}")
    return int(shape[axes.index("Y")]), int(shape[axes.index("X")])


def warn_of_orientation(source: Path, page: TiffPage) -> None:
    """Warn if a TIFF's orientation tag asks for another view than its stored grid."""
    tag = page.tags.get("Orientation")
    if tag is not None and tag.value != 1:
        warn_about_data(
            f"{source.name}: the orientation tag says {int(tag.value)}; it is not applied, rows and columns "
            "count on the stored grid"
        )
