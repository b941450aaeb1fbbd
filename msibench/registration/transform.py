"""What a transform is: a map of points from the fixed grid to the moving one, kept in a JSON file.

Points are ``(row, column)`` in pixels, with the centre of the first pixel at (0, 0). The fixed grid is
that of the ion images, the moving one that of the guide; the map goes from fixed to moving because
that is what a resampler asks: *which point of the guide lies on this pixel?*
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.errors import DataError, MSIBenchError
from msibench.registration.file_guard import check_parameters, parse_json, read_text

SCHEMA_VERSION = 1
CONVENTION = "maps fixed (row, column) to moving (row, column), pixels, first pixel centre at 0, 0"
_KINDS: dict[str, type[Transform]] = {}


class Transform(ABC):
    """A map from the fixed grid to the moving one."""

    kind: ClassVar[str]
    """Name of the class in transform files."""

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        _KINDS[cls.kind] = cls

    @abstractmethod
    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return the moving points, ``(..., 2)``, of fixed points ``(..., 2)``."""

    @abstractmethod
    def parameters(self) -> dict[str, object]:
        """Return all that makes the map, ready for JSON."""

    @classmethod
    @abstractmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Transform:
        """Make the map from what `parameters` returned."""

    def jacobian(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return the derivative of moving by fixed coordinates, ``(..., 2, 2)``."""
        at = np.asarray(points, dtype=np.float64)
        step = 0.25
        columns = [
            (self(at + step * unit) - self(at - step * unit)) / (2 * step) for unit in np.eye(2)
        ]
        return np.stack(columns, axis=-1)

    def to_file(self, path: str | Path, **extra: object) -> None:
        """Write the transform as JSON, with further `extra` entries (quality, file names) beside it."""
        document = {
            "format": "msibench-transform",
            "schema_version": SCHEMA_VERSION,
            "convention": CONVENTION,
            "kind": self.kind,
            "parameters": self.parameters(),
            **extra,
        }
        text = json.dumps(document, indent=1, allow_nan=False)
        Path(path).write_text(text + "\n", encoding="utf-8")

    @staticmethod
    def from_file(path: str | Path) -> Transform:
        """Read a transform that `to_file` wrote, or an ``{"A": ..., "b": ...}`` affine.

        Raises
        ------
        MissingDataError
            If there is no such file.
        DataError
            If the file is not a transform, or one of a newer version.
        """
        text = read_text(Path(path), "transform")
        return from_document(parse_json(text, str(path)), str(path))


def from_document(document: object, source: str) -> Transform:
    """Make a transform from a parsed file.

    Raises
    ------
    DataError
        If the document is not a transform, or one of a newer version.
    """
    if not isinstance(document, dict):
        raise DataError(f"{source} is not a transform: expected a JSON object")
    if "A" in document and "b" in document:
        kind, parameters = "affine", {"matrix": document["A"], "offset": document["b"]}
    else:
        version = document.get("schema_version")
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise DataError(
                f"{source}: expected a transform of schema version {SCHEMA_VERSION} or older, got "
                f"{str(version)[:40]!r}; was it written by a newer msibench?"
            )
        kind, parameters = document.get("kind", ""), document.get("parameters", {})
    if not isinstance(kind, str) or kind not in _KINDS:
        known = ", ".join(_KINDS)
        raise DataError(f"{source}: no transform of kind {str(kind)[:100]!r}; known: {known}")
    try:
        return _KINDS[kind].from_parameters(check_parameters(parameters, source))
    except MSIBenchError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{source}: a {kind} transform with wrong parameters ({str(error)[:200]!r})"
        ) from error


class Composite(Transform):
    """Several maps one after the other."""

    kind = "composite"

    def __init__(self, *transforms: Transform) -> None:
        self.transforms = transforms
        """The first one acts on the fixed points, the last one gives the moving ones."""

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return the moving points of fixed points."""
        moved = np.asarray(points, dtype=np.float64)
        for transform in self.transforms:
            moved = transform(moved)
        return moved

    def parameters(self) -> dict[str, object]:
        """Return every part, in order."""
        return {
            "transforms": [
                {
                    "schema_version": SCHEMA_VERSION,
                    "kind": part.kind,
                    "parameters": part.parameters(),
                }
                for part in self.transforms
            ]
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Composite:
        """Make the map from what `parameters` returned."""
        return cls(*(from_document(part, "composite") for part in parameters["transforms"]))


def pixel_centres(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the ``(row, column)`` of every pixel centre, ``(row, column, 2)``."""
    rows, columns = np.arange(float(shape[0])), np.arange(float(shape[1]))
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
