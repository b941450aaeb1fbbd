"""Which part of an image is requested, and whether it may be decoded."""

from __future__ import annotations

from pathlib import Path

from msibench.errors import DataError

MAX_PIXELS = 100_000_000
"""Largest number of pixels that is decoded at once unless the caller says otherwise."""

Region = tuple[slice, slice]
"""Rows and columns on the grid of the finest level, each with a start and a stop."""


def check_size(path: Path, shape: tuple[int, int], max_pixels: int) -> None:
    """Reject a grid with more pixels than may be decoded, or with none."""
    if min(shape) < 1:
        raise DataError(f"{path} holds no pixel: (row, column) = {shape}")
    if shape[0] * shape[1] > max_pixels:
        raise DataError(
            f"{path}: {shape[0]} x {shape[1]} pixels were asked for, more than max_pixels = "
            f"{max_pixels}; read a region, a coarser level (--level N; in Python level= or target_um=), "
            "or raise max_pixels"
        )


def resolve_region(path: Path, region: Region | None, shape: tuple[int, int]) -> Region:
    """Turn a region into slices of the grid; reject one outside it."""
    if region is None:
        return slice(0, shape[0]), slice(0, shape[1])
    found = []
    for axis, part, side in zip(("rows", "columns"), region, shape, strict=True):
        start = 0 if part.start is None else int(part.start)
        stop = side if part.stop is None else int(part.stop)
        if part.step not in (None, 1) or not 0 <= start < stop <= side:
            raise DataError(
                f"{path}: {axis} {start} to {stop} were asked for; the image has {side}, and a "
                "region needs 0 <= start < stop and step 1"
            )
        found.append(slice(start, stop))
    return found[0], found[1]
