"""Landmarks as BigWarp writes them, and the thin-plate spline through them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.errors import DataError, RegistrationError
from msibench.registration.file_guard import (
    LARGEST_LANDMARKS,
    LARGEST_NUMBER,
    MOST_LANDMARKS,
    read_text,
)
from msibench.registration.transform import Transform


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """Points that were marked by hand in both images."""

    names: tuple[str, ...]
    """One name per pair, ``"Pt-0"``."""
    moving: NDArray[np.float64]
    """``(n, 2)``, ``(row, column)`` in pixels of the guide; infinite where not set."""
    fixed: NDArray[np.float64]
    """``(n, 2)``, ``(row, column)`` in pixels of the ion images; infinite where not set."""
    active: NDArray[np.bool_]
    """``(n,)``: whether the pair is to be used."""

    def usable(self) -> Landmarks:
        """Return the pairs that are active and set in both images."""
        finite = np.isfinite(self.moving).all(axis=1) & np.isfinite(self.fixed).all(axis=1)
        return self.select(np.flatnonzero(self.active & finite))

    def select(self, which: ArrayLike) -> Landmarks:
        """Return the pairs with these indices, in this order."""
        index = np.asarray(which, dtype=np.intp)
        return Landmarks(
            tuple(self.names[i] for i in index),
            self.moving[index],
            self.fixed[index],
            self.active[index],
        )

    def __len__(self) -> int:
        return len(self.names)


def read_bigwarp(
    path: str | Path,
    *,
    moving_pixel_size: float = 1.0,
    fixed_pixel_size: float = 1.0,
) -> Landmarks:
    """Read the landmark table that BigWarp exports as CSV.

    Each line is name, active, moving x, y, fixed x, y, without a header; a table of volumes (x, y, z)
    is read when all its points lie in one plane. Points that are set in one image only hold
    ``Infinity`` and are kept, but not `usable`.

    Parameters
    ----------
    path
        The file.
    moving_pixel_size, fixed_pixel_size
        Size of a pixel in the calibrated unit of each image, which is what BigWarp counts in. 1 when
        the images carried no calibration, so that the table holds pixels.

    Raises
    ------
    MissingDataError
        If there is no such file.
    DataError
        If a line does not read as a pair of points.
    """
    path = Path(path)
    for size in (moving_pixel_size, fixed_pixel_size):
        if not 0 < size < np.inf:
            raise DataError(f"a pixel size must be a positive number, got {size}")
    text = read_text(path, "landmark", LARGEST_LANDMARKS, errors="replace")
    if text.lstrip().startswith("{"):
        raise DataError(f"{path} is a JSON project of BigWarp; export the landmarks as CSV")
    try:
        rows = [row for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"{path} is not a table of landmarks: {error}") from error
    if len(rows) > MOST_LANDMARKS:
        raise DataError(f"{path} holds {len(rows)} landmarks; at most {MOST_LANDMARKS} are read")
    if not rows:
        raise DataError(f"{path} holds no landmark")
    dimensions = _dimensions(path, rows[0])
    names, active, points = [], [], []
    for number, row in enumerate(rows, start=1):
        if len(row) != 2 + 2 * dimensions:
            raise DataError(
                f"{path}, line {number}: expected {2 + 2 * dimensions} columns as in line 1 (name, "
                f"active, moving, fixed), got {len(row)}"
            )
        names.append(row[0].strip())
        active.append(_truth(path, number, row[1]))
        points.append([_number(path, number, cell) for cell in row[2:]])
    table = np.asarray(points, dtype=np.float64).reshape(len(rows), 2, dimensions)
    if dimensions == 3:
        depth = table[np.isfinite(table).all(axis=(1, 2)), :, 2]
        if depth.size and (np.ptp(depth, axis=0) > 0).any():
            raise DataError(
                f"{path} holds points at several depths z; a guide is one plane: set them in 2-D"
            )
    xy = table[:, :, :2]
    return Landmarks(
        tuple(names),
        xy[:, 0, ::-1] / moving_pixel_size,
        xy[:, 1, ::-1] / fixed_pixel_size,
        np.asarray(active, dtype=bool),
    )


def _dimensions(path: Path, row: list[str]) -> int:
    if len(row) not in (6, 8):
        raise DataError(
            f"{path}, line 1: expected 6 columns (name, active, moving x, y, fixed x, y) or 8 (with "
            f"z), separated by commas, got {len(row)}"
        )
    return (len(row) - 2) // 2


def _truth(path: Path, number: int, cell: str) -> bool:
    word = cell.strip().lower()
    if word not in ("true", "false"):
        raise DataError(
            f"{path}, line {number}: expected true or false, got {cell[:40]!r}; is it a header?"
        )
    return word == "true"


def _number(path: Path, number: int, cell: str) -> float:
    try:
        value = float(cell)  # reads "Infinity", too
    except ValueError:
        value = LARGEST_NUMBER * 2
    if LARGEST_NUMBER < abs(value) < np.inf:
        raise DataError(f"{path}, line {number}: expected a coordinate, got {cell[:40]!r}")
    return value


def paired(
    landmarks: Landmarks | ArrayLike, fixed: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return moving and fixed points, ``(n, 2)`` each, of landmarks or of two arrays."""
    if isinstance(landmarks, Landmarks):
        usable = landmarks.usable()
        return usable.moving, usable.fixed
    if fixed is None:
        raise RegistrationError("give Landmarks, or the moving and the fixed points")
    moving_points = np.asarray(landmarks, dtype=np.float64)
    fixed_points = np.asarray(fixed, dtype=np.float64)
    if moving_points.shape != fixed_points.shape or moving_points.shape[1:] != (2,):
        raise RegistrationError(
            f"moving and fixed points must both be (n, 2), got {moving_points.shape} and "
            f"{fixed_points.shape}"
        )
    if not (np.isfinite(moving_points).all() and np.isfinite(fixed_points).all()):
        raise RegistrationError("points must be finite; leave out pairs that are not set")
    return moving_points, fixed_points


def check_spread(points: NDArray[np.float64], fewest: int, *, plane: bool, model: str) -> None:
    """Reject points from which a map cannot be determined."""
    if len(points) < fewest:
        raise RegistrationError(
            f"a {model} map needs at least {fewest} usable pairs of landmarks, got {len(points)}"
        )
    if fewest == 1:
        return
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if spread[0] <= 0 or (plane and spread[1] <= 1e-6 * spread[0]):
        raise RegistrationError(
            f"the landmarks lie on one {'line' if spread[0] > 0 else 'point'}, which does not "
            f"determine a {model} map; add some beside it"
        )


class ThinPlate(Transform):
    """The smoothest map that takes every fixed landmark to its moving one.

    Kernel ``r^2 log r`` with an affine part and no smoothing, as BigWarp solves it; beyond the
    landmarks it goes over into an affine map.
    """

    kind = "thin-plate"

    def __init__(self, moving: ArrayLike, fixed: ArrayLike) -> None:
        from scipy.interpolate import RBFInterpolator

        self.moving, self.fixed = paired(moving, fixed)
        if len(self.fixed) > MOST_LANDMARKS:
            raise RegistrationError(
                f"a thin plate through {len(self.fixed)} landmarks; at most {MOST_LANDMARKS}: thin them out"
            )
        check_spread(self.fixed, 3, plane=True, model="thin-plate")
        _, first = np.unique(self.fixed, axis=0, return_index=True)
        if len(first) < len(self.fixed):
            again = sorted(set(range(len(self.fixed))) - set(first.tolist()))
            raise RegistrationError(
                f"two landmarks share one fixed point, {self.fixed[again[0]].tolist()}; remove one"
            )
        self._spline = RBFInterpolator(
            self.fixed, self.moving, kernel="thin_plate_spline", degree=1, smoothing=0.0
        )

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return the moving points of fixed points."""
        at = np.asarray(points, dtype=np.float64)
        return np.asarray(self._spline(at.reshape(-1, 2))).reshape(at.shape)

    def parameters(self) -> dict[str, object]:
        """Return the landmarks, which determine the spline."""
        return {"moving": self.moving.tolist(), "fixed": self.fixed.tolist()}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> ThinPlate:
        """Make the map from what `parameters` returned."""
        return cls(parameters["moving"], parameters["fixed"])


def thin_plate(landmarks: Landmarks | ArrayLike, fixed: ArrayLike | None = None) -> ThinPlate:
    """Fit the thin-plate spline of BigWarp: a map from fixed to moving points.

    Parameters
    ----------
    landmarks
        Landmarks, or the moving points ``(n, 2)``.
    fixed
        The fixed points ``(n, 2)`` when `landmarks` is an array.

    Raises
    ------
    RegistrationError
        If fewer than three pairs are usable, all lie on one line, or two share a fixed point.

    References
    ----------
    .. [1] Bookstein, IEEE Trans. Pattern Anal. Mach. Intell. 11 (1989) 567-585.
    """
    return ThinPlate(*paired(landmarks, fixed))
