"""Fourier spectra of ion images on rings of equal spatial frequency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench.metrics.arrays import Floats


def spectrum(images: Floats) -> NDArray[np.complex128]:
    """Fourier transform of images after mean removal and a Hann window along both axes.

    The window takes away the cross that the jump between opposite edges would draw through the
    spectrum. Sides of 1 or 2 pixels are left as they are: a window would leave nothing.

    Parameters
    ----------
    images
        ``(..., row, column)``, any side, odd or even.

    Returns
    -------
    ``(..., row, column)`` in FFT order.
    """
    rows, columns = images.shape[-2:]
    window = _hann(rows)[:, None] * _hann(columns)[None, :]
    centred = images - images.mean(axis=(-2, -1), keepdims=True)
    windowed = centred * window
    windowed = windowed - window * (windowed.sum(axis=(-2, -1), keepdims=True) / window.sum())
    return np.asarray(np.fft.fft2(windowed))


def frequencies(shape: tuple[int, int]) -> Floats:
    """Spatial frequency of every Fourier coefficient in cycles per pixel, ``(row, column)``.

    It is the same physical frequency along both axes whatever the sides are.
    """
    rows, columns = (np.fft.fftfreq(side) for side in shape)
    return np.asarray(np.hypot(rows[:, None], columns[None, :]))


def rings(shape: tuple[int, int]) -> tuple[NDArray[np.intp], Floats]:
    """Sort the Fourier coefficients into rings one frequency step of the shorter side wide.

    Returns
    -------
    Ring of every coefficient ``(row, column)``, -1 for the zero frequency and for the corners
    beyond the Nyquist frequency; and the centre of every ring in cycles per pixel, ``(ring,)``.
    """
    side = min(shape)
    frequency = frequencies(shape)
    number = np.floor(frequency * side + 0.5).astype(np.intp) - 1
    count = side // 2
    number[(number >= count) | (frequency > 0.5 + 1e-12)] = -1
    return number, np.arange(1, count + 1) / side


def ring_sums(values: Floats, ring: NDArray[np.intp], count: int) -> Floats:
    """Sum ``(..., row, column)`` over each ring, ``(..., ring)``."""
    flat = values.reshape(-1, values.shape[-2] * values.shape[-1])
    inside = ring.ravel() >= 0
    place = ring.ravel()[inside]
    sums = [np.bincount(place, weights=image[inside], minlength=count) for image in flat]
    return np.array(sums, dtype=np.float64).reshape(*values.shape[:-2], count)


def _hann(side: int) -> Floats:
    if side < 3:
        return np.ones(side)
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(side) + 0.5) / side))
