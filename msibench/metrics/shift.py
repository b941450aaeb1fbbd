"""How far a prediction is displaced against the low image that it was made from, to a fraction of a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.metric import Evaluation, Scored
from msibench.metrics.arrays import (
    NOT_FINITE,
    Floats,
    factor_between,
    finite_images,
    first_reason,
    to_host,
)
from msibench.metrics.kept import of_images
from msibench.metrics.pairs import ImagesT
from msibench.metrics.spectra import frequencies, spectrum
from msibench.metrics.upsampling import bicubic

NO_STRUCTURE = "prediction and low image have no structure in common"
STEPS = 8
"""Largest number of times that the image is moved back by the shift found, and measured again."""


def shift(test: ImagesT, low: ImagesT) -> ImagesT:
    """Distance in fine pixels by which a prediction is displaced against its low image; 0 at best.

    Phase correlation [1]_ with the bicubically enlarged low image, below the low image's Nyquist
    frequency: a displacement turns the phase of every Fourier coefficient in proportion to its
    frequency. The peak of the phase correlation gives whole pixels, a least-squares fit of what phase
    is left, weighted by the strength of the coefficients, the fraction.

    Parameters
    ----------
    test
        Predictions, ``(..., row, column)``.
    low
        What they were made from, ``(..., row / factor, column / factor)``.

    Returns
    -------
    One value per image, ``(...)``; NaN where either image has no structure that both show, or a pixel
    is not finite. `displacement` has the two components.

    References
    ----------
    .. [1] Kuglin and Hines, Proc. IEEE Int. Conf. Cybernetics and Society (1975) 163-165.
    """
    _, back = to_host(test, "test")
    moved = displacement(test, low)
    return back(np.hypot(moved[..., 0], moved[..., 1]))


def displacement(test: ImagesT, low: ImagesT) -> Floats:
    """Return by how many fine pixels predictions are displaced, ``(..., 2)``: rows down, columns right."""
    images, _ = to_host(test, "test")
    coarse, _ = to_host(low, "low")
    factor = factor_between(images, coarse)
    stacks = (stack.reshape(-1, *stack.shape[-2:]) for stack in (images, coarse))
    found = [_displacement(image, small, factor) for image, small in zip(*stacks, strict=True)]
    return np.array(found, dtype=np.float64).reshape(*images.shape[:-2], 2)


def evaluate(evaluation: Evaluation) -> Scored:
    """Score one cell."""
    prediction = evaluation.prediction.astype(np.float64)
    low = evaluation.low.values.astype(np.float64)
    values: Floats = shift(prediction, low)
    bad = ~(finite_images(prediction) & finite_images(low))
    reasons = first_reason(len(values), (bad, NOT_FINITE), (np.isnan(values), NO_STRUCTURE))
    return Scored(values, reasons)


def _displacement(image: Floats, low: Floats, factor: int) -> tuple[float, float]:
    if not (finite_images(image) and finite_images(low)):
        return float("nan"), float("nan")
    fixed = of_images("shift", low, lambda: _Fixed.of(bicubic(low, factor), factor), factor)
    total, whole = np.zeros(2), np.fft.fft2(image)
    for _ in range(STEPS):  # the window stays where it is: bring the image back, and look again
        step = _step(_moved(whole, -total) if total.any() else image, fixed)
        total += step
        if not np.isfinite(step).all() or np.abs(step).max() < 1e-3:
            break
    return float(total[0]), float(total[1])


@dataclass(frozen=True, slots=True, eq=False)
class _Fixed:
    """The enlarged low image, and what does not change from step to step."""

    largest: float
    conjugate: NDArray[np.complex128]
    """Of its spectrum, ``(row, column)``."""
    kept: NDArray[np.bool_]
    """Coefficients below the low image's Nyquist frequency, but for the mean."""
    rows: Floats
    """Angular frequency along the rows of every kept coefficient."""
    columns: Floats

    @staticmethod
    def of(enlarged: Floats, factor: int) -> _Fixed:
        """Work it out."""
        shape = (enlarged.shape[0], enlarged.shape[1])
        frequency = frequencies(shape)
        kept = (frequency < 0.5 / factor) & (frequency > 0)
        turn = [2 * np.pi * np.fft.fftfreq(side) for side in shape]
        rows, columns = (
            np.broadcast_to(one, shape)[kept] for one in (turn[0][:, None], turn[1][None])
        )
        largest = float(np.abs(enlarged).max())
        return _Fixed(largest, spectrum(enlarged).conj(), kept, rows, columns)


def _step(image: Floats, fixed: _Fixed) -> Floats:
    """Return how far two images are displaced, from the peak and the slope of their phases."""
    shape = (image.shape[0], image.shape[1])
    kept, rows, columns = fixed.kept, fixed.rows, fixed.columns
    cross = (spectrum(image) * fixed.conjugate)[kept]
    strength = np.abs(cross)
    scale = float(np.abs(image).max() * fixed.largest) * image.size**2
    if not strength.max(initial=0.0) > 1e-12 * scale:
        return np.full(2, np.nan)
    phase = np.divide(cross, strength, out=np.zeros_like(cross), where=strength > 0)
    whole = np.zeros(shape, np.complex128)
    whole[kept] = phase
    place = np.unravel_index(int(np.argmax(np.fft.ifft2(whole).real)), shape)
    moved = np.array(
        [(at + side // 2) % side - side // 2 for at, side in zip(place, shape, strict=True)]
    )
    left = np.angle(phase * np.exp(1j * (moved[0] * rows + moved[1] * columns)))
    sums = [float((strength * a * b).sum()) for a in (rows, columns) for b in (rows, columns, left)]
    normal = np.array([[sums[0], sums[1]], [sums[3], sums[4]]])
    return np.asarray(moved - np.linalg.lstsq(normal, np.array([sums[2], sums[5]]), rcond=1e-10)[0])


def _moved(whole: NDArray[np.complex128], by: Floats) -> Floats:
    """Move the image of a spectrum by a fraction of a pixel, cyclically."""
    turn = [np.fft.fftfreq(side) * step for side, step in zip(whole.shape, by, strict=True)]
    phase = np.exp(-2j * np.pi * (turn[0][:, None] + turn[1][None, :]))
    return np.asarray(np.fft.ifft2(whole * phase).real)
