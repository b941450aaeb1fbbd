"""The score that the noise-free signal itself would get against a noisy truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.contracts.metric import Evaluation, Scored
from msibench.metrics.host import (
    NOT_FINITE,
    Floats,
    check_pair,
    finite_images,
    first_reason,
    to_host,
)

EXACT, COUNTED, ESTIMATED = 0.0, 1.0, 2.0
"""What the curve ``source`` of `evaluate` says of a value: from the noise-free signal, from counting
statistics, or estimated from the truth's finest wavelet coefficients."""
NO_NOISE = "no noise could be estimated: most of the finest wavelet coefficients are 0"
DRAWS = 8

Metric = Callable[..., Any]


def noise_ceiling(
    metric: Metric,
    truth: Any,
    *,
    noise_free: Any = None,
    counts: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Any:
    """Value of a full-reference metric that no method can be expected to pass.

    With `noise_free` it is exact: ``metric(noise_free, truth)``. Otherwise the truth after an
    adaptive Wiener filter stands in for the signal and fresh noise is put on it: Poisson where
    `counts` are known, else Gaussian of the standard deviation that `noise_sigma` estimates; the
    value is the mean of ``metric(signal, signal + noise)`` over `draws`. The squared error depends on
    little but the total counts and comes out right; for metrics of structure it is an approximation
    (``docs/metrics.md`` has what was measured).

    Parameters
    ----------
    metric
        ``f(test, reference)``, one value per image: ``msibench.metrics.psnr``.
    truth
        Measured images ``(..., row, column)``.
    noise_free
        The signal without noise, same shape.
    counts
        Ions per intensity unit, one per image.
    mask
        Tissue, bool ``(row, column)``: where noise is estimated and put, without the pixels that
        are exactly 0; None: everywhere. Counting noise needs none.
    seed, draws
        Of the fresh noise.

    Returns
    -------
    One value per image, ``(...)``; NaN where a pixel is not finite, the metric is undefined, or no
    noise could be estimated.
    """
    images, back = to_host(truth, "truth")
    usable = finite_images(images)
    images = np.where(usable[..., None, None], images, 0.0)
    if noise_free is not None:
        signal, _ = to_host(noise_free, "noise_free")
        check_pair(signal, images)
        usable = usable & finite_images(signal)
        values = np.asarray(metric(np.nan_to_num(signal), images), dtype=np.float64)
        return back(np.where(usable, values, np.nan))
    rng = np.random.default_rng(seed)
    if counts is None:
        sigma = np.nan_to_num(noise_sigma(images, mask))[..., None, None]
        usable = usable & (sigma[..., 0, 0] > 0)
        noisy = (images != 0) & (True if mask is None else np.asarray(mask))
    else:
        ions = np.broadcast_to(np.asarray(counts, dtype=np.float64), images.shape[:-2])
        usable = usable & (ions > 0)
        ions = np.where(ions > 0, ions, 1.0)[..., None, None]
    if counts is None:
        signal = _wiener(images, np.broadcast_to(sigma**2, images.shape))
    else:
        signal = np.clip(_wiener(images, None, ions), 0.0, None)
    total = np.zeros(images.shape[:-2])
    for _ in range(draws):
        if counts is None:
            measured = signal + noisy * sigma * rng.standard_normal(images.shape)
        else:
            measured = rng.poisson(signal * ions) / ions
        total = total + np.asarray(metric(signal, measured), dtype=np.float64)
    return back(np.where(usable, total / draws, np.nan))


def noise_sigma(images: Any, mask: ArrayLike | None = None) -> Floats:
    """Estimate the standard deviation of white noise from the finest diagonal wavelet coefficients.

    Median absolute value of the Haar coefficients ``(a - b - c + d) / 2`` of 2 x 2 blocks, over
    0.6745 (Donoho and Johnstone). Blocks without any intensity tell nothing and are left out.

    Parameters
    ----------
    images
        ``(..., row, column)``, sides of at least 2; an odd last row or column is left out.
    mask
        Pixels to look at, bool ``(row, column)``: blocks that lie inside it entirely.

    Returns
    -------
    ``(...)``; 0 where half of the coefficients are 0, NaN without any block.
    """
    array, _ = to_host(images)
    rows, columns = (side // 2 * 2 for side in array.shape[-2:])
    a, b, c, d = _blocks(array[..., :rows, :columns])
    diagonal = np.abs(a - b - c + d) / 2
    inside = (a != 0) | (b != 0) | (c != 0) | (d != 0)
    if mask is not None:
        inside = inside & np.logical_and.reduce(_blocks(np.asarray(mask)[:rows, :columns]))
    flat = diagonal.reshape(-1, diagonal.shape[-2] * diagonal.shape[-1])
    chosen = inside.reshape(flat.shape)
    median = [
        np.median(line[use]) if use.any() else np.nan
        for line, use in zip(flat, chosen, strict=True)
    ]
    return np.array(median, dtype=np.float64).reshape(array.shape[:-2]) / 0.6744897501960817


def evaluate(evaluation: Evaluation, *, metric: str = "psnr") -> Scored:
    """Ceiling of one cell; the same for every method.

    Parameters
    ----------
    evaluation
        Its noise-free signal is used where it is known, else its counts, else an estimate.
    metric
        Name of a full-reference metric of `msibench.metrics`.

    Returns
    -------
    One value per channel; the curve ``source`` says per channel where it comes from (0 exact,
    1 counting statistics, 2 estimate).
    """
    from importlib import import_module

    assert evaluation.truth is not None
    function: Metric = getattr(import_module(f"msibench.metrics.{metric}"), metric)
    truth = evaluation.truth.values.astype(np.float64)
    counts, mask = evaluation.counts_per_unit, evaluation.truth.mask
    known: NDArray[np.bool_] = np.zeros(len(truth), bool)
    source = np.full(len(truth), ESTIMATED)
    if evaluation.noise_free is not None:
        values = noise_ceiling(function, truth, noise_free=evaluation.noise_free)
        source[:] = EXACT
    else:
        values = noise_ceiling(function, truth, mask=mask, seed=evaluation.seed)
        if counts is not None:
            known = np.isfinite(counts) & (counts > 0)
            counted = noise_ceiling(
                function, truth, counts=np.where(known, counts, 0.0), seed=evaluation.seed
            )
            values, source = np.where(known, counted, values), np.where(known, COUNTED, ESTIMATED)
    flat = (source == ESTIMATED) & ~(noise_sigma(np.nan_to_num(truth), mask) > 0)
    reasons = first_reason(
        len(truth),
        (~finite_images(truth), NOT_FINITE),
        (flat, NO_NOISE),
        (np.isnan(values), f"{metric} of the signal against this truth is undefined"),
    )
    return Scored(values, reasons, {"source": source})


def _wiener(images: Floats, noise: Floats | None, ions: Floats | float = 1.0) -> Floats:
    """Pull every pixel to its 5 x 5 mean as far as noise explains the variance around it.

    `noise` is the variance per pixel; None: that of counting ``ions`` per unit.
    """
    from scipy.ndimage import uniform_filter

    mean = uniform_filter(images, size=5, axes=(-2, -1), mode="reflect")
    square = uniform_filter(images**2, size=5, axes=(-2, -1), mode="reflect")
    variance = np.maximum(square - mean**2, 0.0)
    share = np.maximum(mean, 0.0) / ions if noise is None else noise
    kept = np.divide(
        np.maximum(variance - share, 0.0), variance, out=np.zeros_like(mean), where=variance > 0
    )
    return np.asarray(mean + kept * (images - mean))


def _blocks(images: Any) -> list[Any]:
    """Return the four pixels of every 2 x 2 block, each ``(..., row / 2, column / 2)``."""
    return [images[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]
