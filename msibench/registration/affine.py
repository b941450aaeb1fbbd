"""Affine maps, and the least-squares fit of rigid, similarity and affine maps to landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.errors import DataError, RegistrationError
from msibench.registration.landmarks import Landmarks, check_spread, paired
from msibench.registration.transform import Transform

LinearModel = Literal["translation", "rigid", "similarity", "affine"]
FEWEST: dict[LinearModel, int] = {"translation": 1, "rigid": 2, "similarity": 2, "affine": 3}
"""How many pairs of landmarks a model needs."""


class Affine(Transform):
    """``moving = matrix @ fixed + offset`` on ``(row, column)`` points."""

    kind = "affine"

    def __init__(self, matrix: ArrayLike, offset: ArrayLike) -> None:
        self.matrix = np.array(matrix, dtype=np.float64)
        self.offset = np.array(offset, dtype=np.float64)
        if self.matrix.shape != (2, 2) or self.offset.shape != (2,):
            raise DataError(
                f"an affine map needs a 2 x 2 matrix and 2 offsets, got {self.matrix.shape} and "
                f"{self.offset.shape}"
            )
        if not (np.isfinite(self.matrix).all() and np.isfinite(self.offset).all()):
            raise DataError("an affine map must not hold NaN or infinite entries")

    @classmethod
    def identity(cls) -> Affine:
        """Return the map that moves nothing."""
        return cls(np.eye(2), np.zeros(2))

    @classmethod
    def about(
        cls, centre: ArrayLike, *, degrees: float = 0.0, scale: float = 1.0, shift: ArrayLike = 0.0
    ) -> Affine:
        """Turn (rows towards columns) and stretch about a point, then shift.

        Parameters
        ----------
        centre
            Point that moves only by `shift`, ``(row, column)``.
        degrees, scale
            Rotation and stretch.
        shift
            ``(row, column)`` in pixels.
        """
        turn = np.deg2rad(degrees)
        matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        pivot = np.asarray(centre, dtype=np.float64)
        return cls(matrix, pivot - matrix @ pivot + np.asarray(shift, dtype=np.float64))

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return the moving points of fixed points."""
        at = np.asarray(points, dtype=np.float64)
        # Written out: a matrix product may add in another order with another number of threads.
        row, column = at[..., 0], at[..., 1]
        (a, b), (c, d) = self.matrix
        return np.stack(
            [a * row + b * column + self.offset[0], c * row + d * column + self.offset[1]], axis=-1
        )

    def jacobian(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return the matrix at every point."""
        at = np.asarray(points, dtype=np.float64)
        return np.broadcast_to(self.matrix, (*at.shape[:-1], 2, 2)).copy()

    def __matmul__(self, first: Affine) -> Affine:
        """Return the map that applies `first`, then this one."""
        return Affine(self.matrix @ first.matrix, self.matrix @ first.offset + self.offset)

    def inverse(self) -> Affine:
        """Return the map from moving to fixed points.

        Raises
        ------
        RegistrationError
            If the map flattens the plane.
        """
        if abs(np.linalg.det(self.matrix)) < 1e-12:
            raise RegistrationError("the affine map is singular and has no inverse")
        back = np.linalg.inv(self.matrix)
        return Affine(back, -back @ self.offset)

    def parameters(self) -> dict[str, object]:
        """Return matrix and offset."""
        return {"matrix": self.matrix.tolist(), "offset": self.offset.tolist()}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Affine:
        """Make the map from what `parameters` returned."""
        return cls(parameters["matrix"], parameters["offset"])


def read_affine(path: str | Path) -> Affine:
    """Read an affine map from a transform file, or from ``{"A": 2 x 2, "b": 2}``.

    The second form is that of data-set cards: ``moving = A @ fixed + b`` on ``(row, column)``.

    Raises
    ------
    MissingDataError
        If there is no such file.
    DataError
        If the file holds no affine map.
    """
    found = Transform.from_file(path)
    if not isinstance(found, Affine):
        raise DataError(
            f"{path} holds a {found.kind} transform, not an affine map; read it with "
            "Transform.from_file"
        )
    return found


def fit_linear(
    model: LinearModel, landmarks: Landmarks | ArrayLike, fixed: ArrayLike | None = None
) -> Affine:
    """Fit a translation, rigid, similarity or affine map to landmarks by least squares.

    Parameters
    ----------
    model
        ``"translation"``, ``"rigid"`` (turn and shift), ``"similarity"`` (and one scale), or
        ``"affine"``. A similarity from optical to ion image is usually what is wanted: the two have
        different pixel sizes, which a rigid map cannot express.
    landmarks
        Landmarks, or the moving points ``(n, 2)``.
    fixed
        The fixed points ``(n, 2)`` when `landmarks` is an array.

    Raises
    ------
    RegistrationError
        If there are too few pairs, or their positions do not determine the map.

    References
    ----------
    .. [1] Umeyama, IEEE Trans. Pattern Anal. Mach. Intell. 13 (1991) 376-380.
    """
    if model not in FEWEST:
        raise RegistrationError(f"no linear model {model!r}; expected one of {', '.join(FEWEST)}")
    moving_points, fixed_points = paired(landmarks, fixed)
    check_spread(fixed_points, FEWEST[model], plane=model == "affine", model=model)
    fixed_mean, moving_mean = fixed_points.mean(axis=0), moving_points.mean(axis=0)
    x, y = fixed_points - fixed_mean, moving_points - moving_mean
    if model == "translation":
        matrix = np.eye(2)
    elif model == "affine":
        matrix = np.linalg.lstsq(x, y, rcond=None)[0].T
    else:
        u, spread, vt = np.linalg.svd(y.T @ x)
        sign = np.array([1.0, np.sign(np.linalg.det(u @ vt)) or 1.0])  # never a mirror image
        matrix = (u * sign) @ vt
        if model == "similarity":
            matrix = matrix * ((spread * sign).sum() / (x**2).sum())
    return Affine(matrix, moving_mean - matrix @ fixed_mean)
