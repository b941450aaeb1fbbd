"""Separable filtering of stacks of images, in numpy or torch alike."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=32)
def gaussian_weights(size: int, sigma: float) -> tuple[float, ...]:
    """Return `size` Gaussian weights that sum to 1: one axis of MATLAB's ``fspecial('gaussian')``."""
    offsets = np.arange(size) - (size - 1) / 2
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    return tuple(float(weight) for weight in weights / weights.sum())


def correlate_valid(images: Any, weights: tuple[float, ...]) -> Any:
    """Filter rows and columns with symmetric `weights`, keeping only full overlaps.

    Parameters
    ----------
    images
        ``(..., row, column)``; both sides at least ``len(weights)``.
    weights
        Symmetric, odd in number; the same along both axes.

    Returns
    -------
    ``(..., row - n + 1, column - n + 1)``.
    """
    return _along_rows(_along_columns(images, weights), weights)


def _along_columns(images: Any, weights: tuple[float, ...]) -> Any:
    last, half = len(weights) - 1, len(weights) // 2
    width = images.shape[-1] - last
    total = images[..., half : half + width] * weights[half]
    for near in range(half):
        far = last - near
        both = images[..., near : near + width] + images[..., far : far + width]
        both *= weights[near]
        total += both
    return total


def _along_rows(images: Any, weights: tuple[float, ...]) -> Any:
    last, half = len(weights) - 1, len(weights) // 2
    height = images.shape[-2] - last
    total = images[..., half : half + height, :] * weights[half]
    for near in range(half):
        far = last - near
        both = images[..., near : near + height, :] + images[..., far : far + height, :]
        both *= weights[near]
        total += both
    return total


def as_like(values: NDArray[np.float64], like: Any, xp: Any) -> Any:
    """Return a constant table in the library, precision and place of `like`."""
    if xp is np:
        return values.astype(like.dtype, copy=False)
    return xp.as_tensor(values, dtype=like.dtype, device=like.device)
