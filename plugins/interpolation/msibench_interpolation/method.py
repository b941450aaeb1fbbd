"""Interpolation of ion images with a separable kernel; pixel centres half a pixel from the edge.

Antialiasing matters only where an image becomes coarser, so there is one variant of each kernel here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench import Problem
from msibench.degradation.resampling import resample_separably
from msibench_interpolation.config import KERNELS

Weights = tuple[NDArray[np.intp], NDArray[np.float64]]


class Interpolation:
    """Puts every ion image on the finer grid with one kernel.

    Parameters
    ----------
    kernel
        Name of the kernel, a key of ``KERNELS``.
    clip
        Set negative values to 0 where the input has none.
    """

    def __init__(self, kernel: str, *, clip: bool = True) -> None:
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {kernel!r}")
        self.kernel = kernel
        self.clip = clip

    def upscale(self, problem: Problem) -> NDArray[np.float32]:
        """Return the interpolated stack in the unit of ``problem.low``.

        A NaN pixel was not measured: its neighbours fill in for it as far as the kernel reaches,
        and where none does the result is 0.
        """
        low = problem.low.values
        rows, columns = (fine_taps(size, problem.factor, self.kernel) for size in low.shape[1:])
        fine = np.empty((low.shape[0], *problem.fine_shape), dtype=np.float32)
        for channel, image in enumerate(low):  # one by one: memory stays at a few images
            fine[channel] = self._interpolate(image.astype(np.float64), rows, columns)
        return fine

    def _interpolate(
        self, image: NDArray[np.float64], rows: Weights, columns: Weights
    ) -> NDArray[np.float64]:
        known = np.isfinite(image)
        if known.all():
            fine = resample_separably(image[None], rows, columns)[0]
        else:
            both = np.stack([np.where(known, image, 0.0), known.astype(np.float64)])
            values, weight = resample_separably(both, rows, columns)
            fine = np.where(weight > 0.1, values / np.where(weight > 0.1, weight, 1.0), 0.0)
        if self.clip and not (image < 0).any():
            fine = np.maximum(fine, 0.0)
        return np.asarray(fine)


def fine_taps(coarse: int, factor: int, kernel: str) -> Weights:
    """Return the coarse pixels that each fine pixel of a line is made of, and their weights.

    Parameters
    ----------
    coarse, factor
        Length of the coarse line, and how many fine pixels each of its pixels becomes. The outer
        edges of both grids coincide: fine pixel ``i`` lies at ``(i + 0.5) / factor - 0.5``.
    kernel
        Name of the kernel.

    Returns
    -------
    ``(fine, tap)`` indices (the edge pixel is repeated outward) and weights that sum to 1.
    """
    shape = KERNELS[kernel]
    place = (np.arange(coarse * factor) + 0.5) / factor - 0.5
    first = np.floor(place - shape.support).astype(np.intp) + 1
    if kernel == "nearest":
        index = np.floor(place + 0.5).astype(np.intp)[:, None]
        return np.clip(index, 0, coarse - 1), np.ones(index.shape)
    index = first[:, None] + np.arange(int(2 * shape.support))[None, :]
    weight = _weight(kernel, np.abs(index - place[:, None]))
    weight /= weight.sum(axis=1, keepdims=True)
    return np.clip(index, 0, coarse - 1), weight


def _weight(kernel: str, distance: NDArray[np.float64]) -> NDArray[np.float64]:
    x, a = distance, KERNELS[kernel].parameter
    if kernel == "bilinear":
        return np.asarray(np.maximum(1 - x, 0))
    if kernel == "lanczos3":
        return np.asarray(np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0.0))
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.asarray(np.where(x <= 1, near, np.where(x < 2, far, 0.0)))
