"""Fourier transforms of stacks of real images, in numpy (through scipy) or torch alike."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np


def forward(images: Any, size: tuple[int, int], xp: ModuleType) -> Any:
    """Return the half-plane spectrum of images extended with zeros to `size` (row, column)."""
    if xp is np:
        import scipy.fft

        return scipy.fft.rfft2(images, size)
    return xp.fft.rfft2(images, size)


def inverse(spectrum: Any, size: tuple[int, int], xp: ModuleType) -> Any:
    """Return images ``(..., *size)`` of a half-plane spectrum whose missing columns are zero.

    Leaving out the columns that a band-pass filter blanks saves most of the transforms along rows; and
    two one-dimensional calls are twice as fast as scipy's ``irfft2``.
    """
    if xp is np:
        import scipy.fft

        lines = scipy.fft.ifft(spectrum, axis=-2, overwrite_x=True)
        return scipy.fft.irfft(lines, size[1], axis=-1, overwrite_x=True)
    return xp.fft.irfft(xp.fft.ifft(spectrum, dim=-2), size[1], dim=-1)
