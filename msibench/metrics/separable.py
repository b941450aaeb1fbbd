"""Separable filtering of stacks of images, in numpy or torch alike."""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.metrics.products import product


@lru_cache(maxsize=32)
def gaussian_weights(size: int, sigma: float) -> tuple[float, ...]:
    """Return `size` Gaussian weights that sum to 1: one axis of MATLAB's ``fspecial('gaussian')``."""
    offsets = np.arange(size) - (size - 1) / 2
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    return tuple(float(weight) for weight in weights / weights.sum())


def correlate_valid(images: Any, weights: tuple[float, ...], xp: ModuleType) -> Any:
    """Filter rows and columns with `weights`, keeping only full overlaps.

    A banded matrix product, `BLOCK` columns at a time: small blocks waste little on the zeros of the
    band, and linear-algebra libraries are faster at this than sums of shifted images.

    Parameters
    ----------
    images
        ``(..., row, column)``; both sides at least ``len(weights)``.
    weights
        The same along both axes.
    xp
        numpy or torch, whichever holds the images.

    Returns
    -------
    ``(..., row - n + 1, column - n + 1)``.
    """
    return _along_rows(_along_columns(images, weights, xp), weights, xp)


BLOCK = 64
"""Columns filtered by one matrix product."""


def _along_columns(images: Any, weights: tuple[float, ...], xp: ModuleType) -> Any:
    width = int(images.shape[-1]) - len(weights) + 1
    parts = []
    for start in range(0, width, BLOCK):
        stop = min(start + BLOCK, width)
        band = as_like(_band(stop - start, weights), images, xp)
        parts.append(product(images[..., start : stop + len(weights) - 1], band))
    return parts[0] if len(parts) == 1 else xp.concatenate(parts, -1)


def _along_rows(images: Any, weights: tuple[float, ...], xp: ModuleType) -> Any:
    height = int(images.shape[-2]) - len(weights) + 1
    parts = []
    for start in range(0, height, BLOCK):
        stop = min(start + BLOCK, height)
        band = as_like(_band(stop - start, weights), images, xp).swapaxes(0, 1)
        parts.append(product(band, images[..., start : stop + len(weights) - 1, :]))
    return parts[0] if len(parts) == 1 else xp.concatenate(parts, -2)


@lru_cache(maxsize=64)
def _band(outputs: int, weights: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the matrix ``(outputs + n - 1, outputs)`` whose columns hold the shifted weights."""
    band = np.zeros((outputs + len(weights) - 1, outputs))
    for offset, weight in enumerate(weights):
        band[np.arange(outputs) + offset, np.arange(outputs)] = weight
    band.setflags(write=False)
    return band


def as_like(values: NDArray[np.float64], like: Any, xp: ModuleType) -> Any:
    """Return a constant table in the library, precision and place of `like`."""
    if xp is np:
        return values.astype(like.dtype, copy=False)
    return xp.tensor(values, dtype=like.dtype, device=like.device)
