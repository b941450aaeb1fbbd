"""A transform refers to one level of a guide's pyramid; read on another, it is rescaled or rejected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from msibench.errors import DataError
from msibench.registration.affine import Affine
from msibench.registration.file_guard import parse_json, read_text
from msibench.registration.transform import Composite, Transform

Shape = tuple[int, int]


def guide_shape_of(path: str | Path) -> Shape | None:
    """Return ``(row, column)`` of the guide that a transform file was made for; None if it does not say.

    Raises
    ------
    MissingDataError, DataError
        There is no such file, or it is not a transform.
    """
    document = parse_json(read_text(Path(path), "transform"), str(path))
    stated = document.get("guide_shape") if isinstance(document, Mapping) else None
    if stated is None:
        return None
    if (
        not isinstance(stated, list)
        or len(stated) != 2
        or not all(type(side) is int and side > 0 for side in stated)
    ):
        raise DataError(f"{path}: guide_shape must be [rows, columns], got {str(stated)[:60]}")
    return stated[0], stated[1]


def made_for(path: str | Path, levels: tuple[Shape, ...], guide: str) -> Shape:
    """Return the level that a transform file refers to: the one that it names, or the finest.

    Raises
    ------
    DataError
        It names a grid that the guide has on no level: it belongs to another picture.
    """
    stated = guide_shape_of(path)
    if stated is None or stated in levels:
        return levels[0] if stated is None else stated
    known = ", ".join(f"{rows} x {columns}" for rows, columns in levels)
    raise DataError(
        f"{path} was made for a guide of {stated[0]} x {stated[1]} pixels, {guide} has {known}: it "
        "belongs to another picture, or to one that was cropped or turned since. Register this one."
    )


def between_levels(made: Shape, read: Shape) -> Affine:
    """Return the map of points of one level of a pyramid to those of another."""
    scale = np.array(read, dtype=np.float64) / np.array(made, dtype=np.float64)
    return Affine(np.diag(scale), (scale - 1) / 2)


def on_level(transform: Transform, made: Shape, read: Shape) -> Transform:
    """Return a transform to the level that is read; an affine one stays affine."""
    if made == read:
        return transform
    onto = between_levels(made, read)
    if isinstance(transform, Affine):
        return Affine(onto.matrix @ transform.matrix, onto.matrix @ transform.offset + onto.offset)
    return Composite(transform, onto)
