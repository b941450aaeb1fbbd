"""Give a fine image what its own low image lacks: the residual, magnified and added."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Degrade = Callable[[NDArray[np.floating]], NDArray[np.floating]]


def back_project(
    fine: NDArray[np.floating],
    low: NDArray[np.floating],
    degrade: Degrade,
    *,
    steps: int = 3,
) -> NDArray[np.float32]:
    """Add the magnified difference between what was measured and what `fine` gives when degraded.

    Each step adds the cubic spline through ``low - degrade(fine)``; values below 0 become 0. Where
    `low` is not known (NaN), nothing is added. Steps shrink the difference; they do not end it, so that
    noise of the low image is not drawn to the last digit.

    Parameters
    ----------
    fine
        ``(channel, row*factor, column*factor)``.
    low
        ``(channel, row, column)``, in the same unit.
    degrade
        Fine to low.
    steps
        How often.

    Returns
    -------
    ``(channel, row*factor, column*factor)`` float32, never negative.

    References
    ----------
    .. [1] Irani and Peleg, CVGIP: Graphical Models and Image Processing 53 (1991) 231-239.
    """
    result = np.maximum(np.asarray(fine, dtype=np.float64), 0)
    for _ in range(steps):
        residual = np.nan_to_num(low - degrade(result))
        result = np.maximum(result + _magnified(residual, result.shape[1] // low.shape[1]), 0)
    return result.astype(np.float32)


def _magnified(images: NDArray[np.floating], factor: int) -> NDArray[np.float64]:
    """Return the cubic spline through coarse pixels, at the fine ones; the border repeats outside."""
    fine = np.empty((len(images), images.shape[1] * factor, images.shape[2] * factor))
    for channel, image in enumerate(images):
        ndimage.zoom(
            np.asarray(image, np.float64), factor, fine[channel], order=3, mode="nearest",
            grid_mode=True,
        )  # fmt: skip
    return fine
