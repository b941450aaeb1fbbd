"""Fourier ring correlation with the truth, and the resolution that it leaves."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from msibench.contracts.metric import Evaluation, Scored
from msibench.metrics.host import (
    NOT_FINITE,
    Floats,
    check_pair,
    finite_images,
    first_reason,
    to_host,
)
from msibench.metrics.spectra import ring_sums, rings, spectrum

Threshold = Literal["1/7", "half-bit"]
CONSTANT = "the truth is constant: it has no structure to resolve"
NO_PIXEL_SIZE = "the pixel size is not on record"
TOO_SMALL = "an edge is shorter than 4 pixels"
SMALLEST = 4


def frc(
    test: Any, reference: Any, *, pixel_size_um: float, threshold: Threshold | float = "1/7"
) -> Any:
    """Effective resolution in µm: the period at which the ring correlation falls below the threshold.

    The first ring below the threshold decides; between it and the ring before, the frequency is
    interpolated linearly. A prediction that stays above resolves what the grid can hold: two
    pixels. One that never rises above resolves nothing: its value is the shorter side of the image,
    and so is that of a constant prediction.

    Parameters
    ----------
    test, reference
        Images ``(..., row, column)``, sides of at least 4 pixels, odd or even, square or not.
    pixel_size_um
        Edge of one pixel.
    threshold
        ``"1/7"`` (0.143; Rosenthal and Henderson), ``"half-bit"`` (van Heel and Schatz, depends on
        the number of coefficients in a ring) or a fixed number.

    Returns
    -------
    One value per image in µm, ``(...)``, lower is better; NaN where the reference is constant, a
    pixel is not finite or the image too small.

    Notes
    -----
    The truth is itself noisy, so even a perfect prediction falls below the threshold where noise
    outweighs the signal.

    References
    ----------
    .. [1] Saxton and Baumeister, J. Microsc. 127 (1982) 127-138.
    .. [2] van Heel and Schatz, J. Struct. Biol. 151 (2005) 250-262.
    """
    if not pixel_size_um > 0:
        raise ValueError(f"pixel_size_um must be above 0, got {pixel_size_um}")
    _, back = to_host(test, "test")
    correlation, frequency = ring_correlation(test, reference)
    images, _ = to_host(reference, "reference")
    if correlation.shape[-1] < SMALLEST // 2 or min(images.shape[-2:]) < SMALLEST:
        return back(np.full(images.shape[:-2], np.nan))
    limit = threshold_curve(images.shape[-2:], threshold)
    flat = correlation.reshape(-1, len(frequency))
    cut = np.array([_crossing(curve, limit, frequency) for curve in flat])
    values = (pixel_size_um / cut).reshape(images.shape[:-2])
    constant = np.ptp(images, axis=(-2, -1)) == 0
    undefined = constant | np.isnan(correlation).any(axis=-1)
    return back(np.where(undefined, np.nan, values))


def ring_correlation(test: Any, reference: Any) -> tuple[Floats, Floats]:
    """Correlate two images ring by ring of spatial frequency.

    ``Re Σ F conj(G) / sqrt(Σ|F|² Σ|G|²)`` over the Fourier coefficients of a ring, after mean removal
    and a Hann window; rings are one frequency step of the shorter side wide and end at the Nyquist
    frequency.

    Returns
    -------
    Correlation ``(..., ring)`` in [-1, 1], 0 where one image has no power in the ring and NaN where
    a pixel is not finite; and the frequency of each ring in cycles per pixel, ``(ring,)``.
    """
    images, _ = to_host(test, "test")
    truth, _ = to_host(reference, "reference")
    check_pair(images, truth)
    usable = finite_images(images, truth)
    shape = (images.shape[-2], images.shape[-1])
    ring, frequency = rings(shape)
    keep = usable[..., None, None]
    first, second = (spectrum(np.where(keep, stack, 0.0)) for stack in (images, truth))
    sums = [
        ring_sums(np.asarray(part), ring, len(frequency))
        for part in ((first * second.conj()).real, np.abs(first) ** 2, np.abs(second) ** 2)
    ]
    floors = [_no_power(stack, total) for stack, total in ((images, sums[1]), (truth, sums[2]))]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = sums[0] / np.sqrt(sums[1] * sums[2])
    value = np.where(floors[0] | floors[1], 0.0, np.clip(value, -1.0, 1.0))
    return np.where(usable[..., None], value, np.nan), frequency


def threshold_curve(shape: tuple[int, ...], threshold: Threshold | float) -> Floats:
    """Return the threshold of every ring, ``(ring,)``."""
    ring, frequency = rings((shape[-2], shape[-1]))
    if threshold == "1/7":
        return np.full(len(frequency), 1 / 7)
    if threshold == "half-bit":  # only half of the coefficients of a real image are independent
        count = np.bincount(ring[ring >= 0], minlength=len(frequency)) / 2
        root = np.sqrt(np.maximum(count, 1))
        return np.asarray((0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root))
    if isinstance(threshold, str) or not 0 < threshold < 1:
        raise ValueError(
            f"threshold must be '1/7', 'half-bit' or a number between 0 and 1, got {threshold!r}"
        )
    return np.full(len(frequency), float(threshold))


def evaluate(evaluation: Evaluation, *, threshold: Threshold | float = "1/7") -> Scored:
    """Score one cell; curves ``frequency`` (cycles per pixel), ``threshold`` and ``correlation``."""
    assert evaluation.truth is not None
    truth = evaluation.truth.values.astype(np.float64)
    prediction = evaluation.prediction.astype(np.float64)
    size = evaluation.truth.pixel_size_um
    count = len(truth)
    if min(truth.shape[-2:]) < SMALLEST:
        return Scored(np.full(count, np.nan), (TOO_SMALL,) * count)
    correlation, frequency = ring_correlation(prediction, truth)
    curves = {
        "frequency": frequency,
        "threshold": threshold_curve(truth.shape, threshold),
        "correlation": correlation,
    }
    if not size > 0:
        return Scored(np.full(count, np.nan), (NO_PIXEL_SIZE,) * count, curves)
    values = frc(prediction, truth, pixel_size_um=size, threshold=threshold)
    reasons = first_reason(
        count,
        (~finite_images(prediction, truth), NOT_FINITE),
        (np.ptp(truth, axis=(-2, -1)) == 0, CONSTANT),
    )
    return Scored(values, reasons, curves)


def _crossing(curve: Floats, limit: Floats, frequency: Floats) -> float:
    """Return the frequency at which a curve first falls below its limit; 0.5 if it never does."""
    below = np.flatnonzero(curve < limit)
    if not len(below):
        return 0.5
    ring = int(below[0])
    if ring == 0:
        return float(frequency[0])
    before, after = curve[ring - 1] - limit[ring - 1], curve[ring] - limit[ring]
    share = before / (before - after)
    return float(frequency[ring - 1] + share * (frequency[ring] - frequency[ring - 1]))


def _no_power(images: Floats, power: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Whether the power in a ring is nothing but rounding, ``(..., ring)``."""
    scale = (np.abs(images).max(axis=(-2, -1), initial=0.0) ** 2)[..., None]
    pixels = images.shape[-2] * images.shape[-1]
    return np.asarray(~(power > 1e-24 * scale * pixels**2))
