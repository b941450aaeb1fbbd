"""Free-form deformation: a smooth displacement on a coarse net of control points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from msibench.errors import DataError
from msibench.registration.transform import Transform


class BSpline(Transform):
    """``moving = fixed + displacement(fixed)`` with a cubic B-spline displacement.

    References
    ----------
    .. [1] Rueckert et al., IEEE Trans. Med. Imaging 18 (1999) 712-721.
    """

    kind = "bspline"

    def __init__(self, coefficients: ArrayLike, origin: ArrayLike, spacing: ArrayLike) -> None:
        self.coefficients = np.array(coefficients, dtype=np.float64)
        """``(2, row, column)``: displacement along rows and along columns at each control point."""
        self.origin = np.array(origin, dtype=np.float64)
        """Fixed ``(row, column)`` of the first control point."""
        self.spacing = np.array(spacing, dtype=np.float64)
        """Fixed pixels between control points along rows and columns."""
        shape = self.coefficients.shape
        if len(shape) != 3 or shape[0] != 2 or min(shape[1:]) < 4:
            raise DataError(f"a B-spline net must be (2, row >= 4, column >= 4), got {shape}")
        if self.origin.shape != (2,) or self.spacing.shape != (2,) or not (self.spacing > 0).all():
            raise DataError(
                "a B-spline net needs an origin and a positive spacing, two numbers each"
            )
        if not all(
            np.isfinite(part).all() for part in (self.coefficients, self.origin, self.spacing)
        ):
            raise DataError("a B-spline net must not hold NaN or infinite entries")

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return the moving points of fixed points; beyond the net the border's displacement holds."""
        at = np.asarray(points, dtype=np.float64)
        net = (at - self.origin) / self.spacing
        last = np.array(self.coefficients.shape[1:]) - 2.0
        net = np.clip(net, 1.0, last)
        where = [net[..., 0], net[..., 1]]
        shift = [
            ndimage.map_coordinates(part, where, order=3, prefilter=False, mode="nearest")
            for part in self.coefficients
        ]
        return np.asarray(at + np.stack(shift, axis=-1))

    def parameters(self) -> dict[str, object]:
        """Return the net."""
        return {
            "coefficients": self.coefficients.tolist(),
            "origin": self.origin.tolist(),
            "spacing": self.spacing.tolist(),
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> BSpline:
        """Make the map from what `parameters` returned."""
        return cls(parameters["coefficients"], parameters["origin"], parameters["spacing"])
