"""Separable resampling to a coarser grid with a kernel that is given as taps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Edges = Literal["renormalise", "symmetric"]
"""What lies beyond the image: nothing, with the rest of the kernel scaled up to 1 (PIL, torch),
or its mirror image with the edge pixel repeated (MATLAB ``imresize``)."""

Line = tuple[NDArray[np.intp], NDArray[np.float64]]
"""Taps of a line: indices and weights, ``(coarse, tap)`` each."""


def taps(
    fine: int,
    factor: int,
    kernel: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    support: float,
    edges: Edges,
) -> Line:
    """Return indices and weights with which `fine` pixels give ``fine / factor`` coarse ones.

    Parameters
    ----------
    fine, factor
        Length of the fine line and the ratio of the two grids. The outer edges of both grids
        coincide, so coarse pixel ``i`` is centred at ``(i + 0.5) * factor - 0.5``.
    kernel
        Weight as a function of the distance in coarse pixels.
    support
        Distance in coarse pixels beyond which `kernel` is 0.
    edges
        What lies beyond the image.

    Returns
    -------
    ``(coarse, tap)`` indices into the line, and weights that sum to 1 over the taps.
    """
    centres = (np.arange(fine // factor) + 0.5) * factor - 0.5
    reach = support * factor
    first = np.floor(centres - reach).astype(np.intp)
    index = first[:, None] + np.arange(int(np.ceil(2 * reach)) + 2)[None, :]
    weight = kernel((index - centres[:, None]) / factor)
    inside = (index >= 0) & (index < fine)
    if edges == "renormalise":
        weight = np.where(inside, weight, 0.0)
        index = np.clip(index, 0, fine - 1)
    else:
        period = np.mod(index, 2 * fine)
        index = np.where(period < fine, period, 2 * fine - 1 - period)
    weight = weight / weight.sum(axis=1, keepdims=True)
    used = np.any(weight != 0.0, axis=0)
    return index[:, used], weight[:, used]


def resample_separably(
    values: NDArray[np.float64],
    rows: Line,
    columns: Line,
) -> NDArray[np.float64]:
    """Apply taps along both axes of ``(channel, row, column)``.

    As sparse matrices: their products add tap after tap, so the bytes are the same whatever the
    number of threads of the linear-algebra library.
    """
    down, across = matrix_of(rows, values.shape[1]), matrix_of(columns, values.shape[2])
    out = np.empty((values.shape[0], down.shape[0], across.shape[0]))
    for channel, image in enumerate(values):
        out[channel] = (across @ np.ascontiguousarray((down @ image).T)).T
    return out


def matrix_of(line: Line, fine: int) -> sparse.csr_array:
    """Return taps into a line of `fine` pixels as a sparse matrix ``(coarse, fine)``."""
    index, weight = line
    starts = np.arange(index.shape[0] + 1) * index.shape[1]
    return sparse.csr_array((weight.ravel(), index.ravel(), starts), shape=(index.shape[0], fine))
