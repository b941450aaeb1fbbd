"""Fourier ring correlation with the truth, and the resolution that follows from it.

Noise that truth and low image share correlates like signal, so cells are scored on the unseen parts of
prediction and truth, from the low image's own Nyquist frequency on.
"""

from __future__ import annotations

from typing import Literal

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
from msibench.metrics.detail import split_error
from msibench.metrics.detail_specs import NO_DETAIL, NO_SPLIT
from msibench.metrics.kept import of_images
from msibench.metrics.pairs import ImagesT
from msibench.metrics.spectra import ring_sums, rings, spectrum

Threshold = Literal["1/7", "half-bit"]
NO_PIXEL_SIZE = "the pixel size is not on record"
TOO_SMALL = "an edge is shorter than 4 pixels"
SMALLEST = 4


def frc(
    test: ImagesT, reference: ImagesT, *, pixel_size_um: float, threshold: Threshold | float = "1/7"
) -> ImagesT:
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
    start: float = 0.0,
) -> Floats:
    """Return where each curve falls below the threshold from the frequency `start` on, in µm."""
    if correlation.shape[-1] < SMALLEST // 2 or min(images.shape[-2:]) < SMALLEST:
        return np.full(images.shape[:-2], np.nan)
    limit = threshold_curve(images.shape[-2:], threshold)
    if start > 0:
        limit = np.maximum(limit, chance_floor(images.shape[-2:]))
    flat = correlation.reshape(-1, len(frequency))
    cut = np.array([_crossing(curve, limit, frequency, start) for curve in flat])
    values = (pixel_size_um / cut).reshape(images.shape[:-2])
    constant = np.ptp(images, axis=(-2, -1)) == 0
    return np.where(constant | np.isnan(correlation).any(axis=-1), np.nan, values)


def chance_floor(shape: tuple[int, ...]) -> Floats:
    """Return what two independent white noises stay below in 19 of 20 rings, ``(ring,)``.

    ``1.645 / √n`` of the n independent coefficients of a ring.
    """
    ring, frequency = rings((shape[-2], shape[-1]))
    count = np.bincount(ring[ring >= 0], minlength=len(frequency)) / 2
    return np.asarray(np.minimum(1.645 / np.sqrt(np.maximum(count, 1)), 1.0))


def ring_correlation(test: ImagesT, reference: ImagesT) -> tuple[Floats, Floats]:
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
    first, second = spectrum(image), of_images("spectrum", truth, lambda: spectrum(truth))
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
    """Score one cell on the unseen parts of prediction and truth.

    Curves ``frequency`` (cycles per pixel), ``threshold``, ``floor`` (white noise) and ``correlation``.
    """
    assert evaluation.truth is not None
    truth = evaluation.truth.values.astype(np.float64)
    prediction = evaluation.prediction.astype(np.float64)
    size = evaluation.truth.pixel_size_um
    count = len(truth)
    if evaluation.split is None:
        return Scored(np.full(count, np.nan), (NO_SPLIT,) * count)
    if min(truth.shape[-2:]) < SMALLEST:
        return Scored(np.full(count, np.nan), (TOO_SMALL,) * count)
    wanted = split_error(truth, truth, protocol=evaluation.split).wanted
    unseen = [evaluation.split(images)[1] for images in (prediction, truth)]
    correlation, frequency = ring_correlation(*unseen)
    curves = {
        "frequency": frequency,
        "threshold": threshold_curve(truth.shape, threshold),
        "floor": chance_floor(truth.shape),
        "correlation": correlation,
    }
    if not size > 0:
        return Scored(np.full(count, np.nan), (NO_PIXEL_SIZE,) * count, curves)
    start = 0.5 / max(evaluation.factor, 1)
    values = _resolution(correlation, frequency, unseen[1], size, threshold, start)
    reasons = first_reason(
        count, (~finite_images(prediction, truth), NOT_FINITE), (~(wanted > 0), NO_DETAIL)
    )
    return Scored(np.where(wanted > 0, values, np.nan), reasons, curves)


def _crossing(curve: Floats, limit: Floats, frequency: Floats, start: float) -> float:
    """Return the frequency from `start` on at which a curve first falls below its limit; else 0.5."""
    first = int(np.searchsorted(frequency, start))
    below = first + np.flatnonzero(curve[first:] < limit[first:])
    if not len(below):
        return 0.5
    ring = int(below[0])
    if ring == first:
        return max(start, float(frequency[0]))
    before, after = curve[ring - 1] - limit[ring - 1], curve[ring] - limit[ring]
    share = before / (before - after)
    return float(frequency[ring - 1] + share * (frequency[ring] - frequency[ring - 1]))


def _no_power(images: Floats, power: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Whether the power in a ring is nothing but rounding, ``(..., ring)``."""
    scale = (np.abs(images).max(axis=(-2, -1), initial=0.0) ** 2)[..., None]
    pixels = images.shape[-2] * images.shape[-1]
    return np.asarray(~(power > 1e-24 * scale * pixels**2))
