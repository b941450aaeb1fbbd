"""Antialiased bicubic reduction, the degradation of the super-resolution papers.

The kernel of Keys (1981) with a = -0.5, stretched by the factor so that it also removes what the
coarse grid cannot hold: MATLAB's ``imresize(image, 1 / factor, "bicubic")`` and PIL's
``Image.resize(..., BICUBIC)``. The two differ only within two coarse pixels of the border, where
MATLAB mirrors the image and PIL scales up what is left of the kernel. The kernel has negative
lobes: the result can be slightly below zero beside a bright edge, and is not clipped here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msibench.degradation.binning import check_divides
from msibench.degradation.line_projector import SeparableStep
from msibench.degradation.resampling import Edges, Line, resample_separably, taps
from msibench.degradation.step import NoiseSource


def keys_kernel(distance: NDArray[np.float64], a: float = -0.5) -> NDArray[np.float64]:
    """Cubic convolution kernel at `distance` (in sample spacings); zero from 2 on.

    References
    ----------
    .. [1] Keys, IEEE Trans. Acoust. Speech Signal Process. 29 (1981) 1153-1160.
    """
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def bicubic_reduce(
    values: NDArray[np.floating], factor: int, *, edges: Edges = "renormalise"
) -> NDArray[np.float64]:
    """Reduce ``(channel, row, column)`` or ``(row, column)`` with the antialiased bicubic kernel.

    Parameters
    ----------
    values
        Both sides multiples of `factor`.
    factor
        Fine pixels along each edge of a coarse one.
    edges
        ``"renormalise"`` as PIL and torch (``antialias=True``) do, ``"symmetric"`` as MATLAB does.

    Raises
    ------
    ConfigurationError
        If a side is not a multiple of `factor`.
    """
    rows, columns = values.shape[-2:]
    check_divides((rows, columns), factor)
    stack = np.asarray(values, dtype=np.float64).reshape(-1, rows, columns)
    line = Bicubic(factor, edges).line
    out = resample_separably(stack, line(rows), line(columns))
    return out.reshape(*values.shape[:-2], rows // factor, columns // factor)


@dataclass(frozen=True, slots=True)
class Bicubic(SeparableStep):
    """The step of a chain that reduces as the super-resolution papers do."""

    factor: int
    """Fine pixels along each edge of a coarse one."""
    edges: Edges = "renormalise"
    """``"renormalise"`` (PIL, torch) or ``"symmetric"`` (MATLAB)."""

    def definition(self) -> dict[str, object]:
        """Return name and parameters, ready for JSON."""
        return {
            "step": "bicubic-antialiased",
            "factor": self.factor,
            "keys_a": -0.5,
            "edges": self.edges,
        }

    def apply(self, values: NDArray[np.float64], noise: NoiseSource) -> NDArray[np.float64]:
        """Return the reduced stack."""
        return bicubic_reduce(values, self.factor, edges=self.edges)

    def line(self, fine: int) -> Line:
        """Return the taps of a line of `fine` pixels."""
        return taps(fine, self.factor, keys_kernel, 2.0, self.edges)
