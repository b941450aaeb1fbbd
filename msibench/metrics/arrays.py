"""Bring images to numpy and values back to where the images came from.

Measures of trust run once a cell on the whole section; they compute on the host in float64 and return
a tensor on the caller's device when they were given one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.metrics.pairs import ImagesT

Floats = NDArray[np.float64]

NOT_FINITE = "a pixel is NaN or infinite"


def to_host(images: ImagesT, name: str = "images") -> tuple[Floats, Callable[[Floats], ImagesT]]:
    """Return images as a float64 array and a function that gives values back in the caller's kind.

    Pixels that a masked array of numpy hides become NaN: they are not known.

    Raises
    ------
    ValueError
        If there are fewer than two axes.
    """
    torch = sys.modules.get("torch")
    back: Callable[[Floats], Any] = np.asarray
    if torch is not None and isinstance(images, torch.Tensor):
        device = images.device
        images = images.detach().cpu().numpy()

        def back(values: Floats) -> Any:
            return torch.as_tensor(values, device=device)

    if isinstance(images, np.ma.MaskedArray):
        images = np.ma.filled(images.astype(np.float64), np.nan)
    array = np.asarray(images, dtype=np.float64)
    if array.ndim < 2:
        raise ValueError(f"{name} must be images (..., row, column), got shape {array.shape}")
    return array, back


def factor_between(fine: Floats, low: Floats) -> int:
    """Return how many fine pixels stand along each edge of a coarse one.

    Raises
    ------
    ValueError
        If the grids do not nest, or the batches differ.
    """
    rows, columns = fine.shape[-2:]
    coarse_rows, coarse_columns = low.shape[-2:]
    factor = rows // coarse_rows if coarse_rows else 0
    nested = (coarse_rows * factor, coarse_columns * factor) == (rows, columns)
    if factor < 1 or not nested or fine.shape[:-2] != low.shape[:-2]:
        raise ValueError(
            "expected the fine images on a whole multiple of the coarse grid and as many of them, "
            f"got {fine.shape} and {low.shape}"
        )
    return factor


def check_pair(test: Floats, reference: Floats) -> None:
    """Raise ValueError where two stacks differ in shape."""
    if test.shape != reference.shape:
        raise ValueError(
            f"test and reference must have one shape, got {test.shape} and {reference.shape}"
        )


def finite_images(*stacks: Floats) -> NDArray[np.bool_]:
    """Return per image whether every pixel of all the stacks is finite, ``(...)``."""
    return np.asarray(
        np.logical_and.reduce([np.isfinite(stack).all(axis=(-2, -1)) for stack in stacks])
    )


def first_reason(count: int, *findings: tuple[NDArray[np.bool_], str]) -> tuple[str, ...]:
    """Return one sentence per image: that of the first finding that holds; empty where none does."""
    reasons = [""] * count
    for found, sentence in findings:
        for index in np.flatnonzero(np.broadcast_to(found, (count,))):
            reasons[index] = reasons[index] or sentence
    return tuple(reasons)
