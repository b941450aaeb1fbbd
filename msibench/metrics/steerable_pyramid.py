"""Two orientations of the steerable pyramid, as matlabPyrTools' ``buildSpyr`` makes them.

Correlations run in the frequency domain on images extended by mirroring (without repeating the edge
pixel), which gives the same numbers as direct sums to rounding error.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.metrics import frequency
from msibench.metrics.sp5_filters import (
    first_low_pass,
    horizontal_band,
    low_pass,
    vertical_band,
)

LEVELS = 4


def oriented_bands(images: Any, xp: ModuleType) -> Iterator[tuple[int, Any]]:
    """Yield ``(level, band)`` from the finest level (0) to the coarsest (3), two bands a level.

    Parameters
    ----------
    images
        ``(image, row, column)``; sides are multiples of 8 and at least 72, or mirroring fails.
    xp
        numpy or torch, whichever holds them.

    Yields
    ------
    Level, and band 1 then band 4 of that level, ``(image, row / 2**level, column / 2**level)``.
    """
    low = images
    for level in range(LEVELS):
        # lo0filt is symmetric, so it commutes with mirroring and can ride on the first level's filters.
        horizontal, vertical, low = _correlate(low, xp, first=level == 0, last=level == LEVELS - 1)
        yield level, horizontal
        yield level, vertical


def _correlate(images: Any, xp: ModuleType, *, first: bool, last: bool) -> Any:
    """Apply both band filters and, unless `last`, the low pass with its halving."""
    rows, columns = (int(side) for side in images.shape[-2:])
    margin = _radius(first)
    vertical, horizontal = (_mirrored_indices(side, margin) for side in (rows, columns))
    extended = images[:, vertical][:, :, horizontal]
    size = _fast_size(rows + 2 * margin), _fast_size(columns + 2 * margin)
    spectrum = frequency.forward(extended, size, xp)
    filters = _spectra(size, first)
    if xp is not np:
        filters = xp.tensor(filters, dtype=spectrum.dtype, device=images.device)
    inside = (slice(None), slice(margin, margin + rows), slice(margin, margin + columns))
    bands = [
        frequency.inverse(band * spectrum, size, xp)[inside] for band in filters[: 2 if last else 3]
    ]
    return (*bands, None) if last else (bands[0], bands[1], bands[2][:, ::2, ::2])


def _radius(first: bool) -> int:
    """Return how far the widest filter of a level reaches."""
    radius = len(low_pass()) // 2
    return radius + len(first_low_pass()) // 2 if first else radius


@lru_cache(maxsize=32)
def _mirrored_indices(side: int, margin: int) -> NDArray[np.int64]:
    return np.pad(np.arange(side), margin, mode="reflect")


@lru_cache(maxsize=64)
def _fast_size(side: int) -> int:
    import scipy.fft

    size: int = scipy.fft.next_fast_len(side, real=True)
    return size


@lru_cache(maxsize=32)
def _spectra(size: tuple[int, int], first: bool) -> NDArray[np.complex128]:
    """Return what to multiply a spectrum by: band 1, band 4, low pass, ``(3, row, frequency)``."""
    spectra = [
        _spectrum(kernel, size) for kernel in (horizontal_band(), vertical_band(), low_pass())
    ]
    if first:
        spectra = [_spectrum(first_low_pass(), size) * spectrum for spectrum in spectra]
    return np.stack(spectra)


def _spectrum(kernel: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.complex128]:
    """Return the conjugate spectrum of `kernel` with its centre at the origin: it correlates."""
    placed = np.zeros(size)
    placed[: kernel.shape[0], : kernel.shape[1]] = kernel
    placed = np.roll(placed, [-(side // 2) for side in kernel.shape], axis=(0, 1))
    return np.conj(np.fft.rfft2(placed))
