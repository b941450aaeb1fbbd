"""Fourier ring correlation with the truth, and the resolution that it leaves."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.metric import Evaluation, Scored
from msibench.metrics.arrays import (
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

    The spectrum is that of the whole image, however large: images are taken one after the other, each
    with about 12 times its own float64 size (16 million pixels: about 1.5 GB). Nothing is tiled, as a
    tile has other rings.

    References
    ----------
    .. [1] Saxton and Baumeister, J. Microsc. 127 (1982) 127-138.
    .. [2] van Heel and Schatz, J. Struct. Biol. 151 (2005) 250-262.
    """
    if not pixel_size_um > 0:
        raise ValueError(f"pixel_size_um must be above 0, got {pixel_size_um}")
    _, back = to_host(test, "test")
    images, _ = to_host(reference, "reference")
    correlation, frequency = ring_correlation(test, reference)
    return back(_resolution(correlation, frequency, images, pixel_size_um, threshold))


def _resolution(
    correlation: Floats,
    frequency: Floats,
    images: Floats,
    pixel_size_um: float,
    threshold: Threshold | float,
) -> Floats:
    """Return where each curve falls below the threshold, in µm."""
    if correlation.shape[-1] < SMALLEST // 2 or min(images.shape[-2:]) < SMALLEST:
        return np.full(images.shape[:-2], np.nan)
    limit = threshold_curve(images.shape[-2:], threshold)
    flat = correlation.reshape(-1, len(frequency))
    cut = np.array([_crossing(curve, limit, frequency) for curve in flat])
    values = (pixel_size_um / cut).reshape(images.shape[:-2])
    constant = np.ptp(images, axis=(-2, -1)) == 0
    return np.where(constant | np.isnan(correlation).any(axis=-1), np.nan, values)


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
    batch, shape = images.shape[:-2], (images.shape[-2], images.shape[-1])
    ring, frequency = rings(shape)
    pairs = zip(images.reshape(-1, *shape), truth.reshape(-1, *shape), strict=True)
    # One pair at a time: a spectrum takes twice the memory of its image.
    curves = [_correlate(image, other, ring, len(frequency)) for image, other in pairs]
    value = np.array(curves, dtype=np.float64).reshape(*batch, len(frequency))
    return value, frequency


def _correlate(image: Floats, truth: Floats, ring: NDArray[np.intp], count: int) -> Floats:
    """Return the correlation of one pair, ``(ring,)``; NaN where a pixel is not finite."""
    if not finite_images(image, truth):
        return np.full(count, np.nan)
    first, second = spectrum(image), spectrum(truth)
    cross = ring_sums(np.asarray((first * second.conj()).real), ring, count)
    own = [ring_sums(np.asarray(np.abs(one) ** 2), ring, count) for one in (first, second)]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.clip(cross / np.sqrt(own[0] * own[1]), -1.0, 1.0)
    nothing = _no_power(image, own[0]) | _no_power(truth, own[1])
    return np.where(nothing, 0.0, value)


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
    values = _resolution(correlation, frequency, truth, size, threshold)
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
