"""Whether the prediction, degraded again, gives the low image that it was made from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.contracts.metric import Evaluation, Scored
from msibench.metrics.arrays import (
    NOT_FINITE,
    Floats,
    factor_between,
    finite_images,
    first_reason,
    to_host,
)
from msibench.metrics.pairs import ImagesT

EMPTY = "the low image is zero: there is nothing to be consistent with"


def consistency(
    test: ImagesT,
    low: ImagesT,
    *,
    degrade: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    counts: ArrayLike | None = None,
) -> ImagesT:
    """Distance between the degraded prediction and the low image; 0 at best.

    Without `counts` the relative error ``|degrade(test) - low| / |low|`` (Euclidean norms over the
    pixels). With `counts` the root mean square of ``(degrade(test) - low) / σ`` with the counting
    noise ``σ² = max(n, 1)`` of the ``n`` ions behind a coarse pixel, in ions: about 1 or less means
    that the low image cannot tell the prediction from the signal it was measured from.

    Parameters
    ----------
    test
        Predictions on the fine grid, ``(..., row, column)``.
    low
        What they were made from, ``(..., row / factor, column / factor)``.
    degrade
        The protocol's noise-free degradation, ``(channel, row, column)`` fine to coarse.
    counts
        Ions per intensity unit in one fine pixel, one per image. A coarse pixel that is a mean of
        ``factor²`` fine ones has ``factor² · counts`` ions per unit.

    Returns
    -------
    One value per image, ``(...)``; NaN where the low image is zero or a pixel is not finite.

    Notes
    -----
    Norms are sums over the whole image, and images are degraded one after the other: a large image
    needs about 4 times its own float64 size.
    """
    fine, back = to_host(test, "test")
    coarse, _ = to_host(low, "low")
    factor = factor_between(fine, coarse)
    again = np.empty_like(coarse)
    places = again.reshape(-1, *coarse.shape[-2:])  # a view: one image after the other
    for place, image in zip(places, fine.reshape(-1, *fine.shape[-2:]), strict=True):
        place[:] = np.asarray(degrade(image[None].astype(np.float32)), dtype=np.float64)[0]
    difference = again - coarse
    with np.errstate(divide="ignore", invalid="ignore"):
        if counts is None:
            norm = np.sqrt((coarse**2).sum(axis=(-2, -1)))
            values = np.sqrt((difference**2).sum(axis=(-2, -1))) / norm
        else:
            ions = np.asarray(counts, dtype=np.float64)[..., None, None] * factor**2
            sigma = np.sqrt(np.maximum(coarse * ions, 1.0))
            values = np.sqrt(((difference * ions / sigma) ** 2).mean(axis=(-2, -1)))
    empty = ~(np.abs(coarse) > 0).any(axis=(-2, -1))
    return back(np.where(empty | ~finite_images(fine, coarse), np.nan, values))


def evaluate(evaluation: Evaluation, *, noise_units: bool = False) -> Scored:
    """Score one cell; with `noise_units` in units of the counting noise."""
    prediction = evaluation.prediction.astype(np.float64)
    low = evaluation.low.values.astype(np.float64)
    counts = evaluation.counts_per_unit if noise_units else None
    values: Floats = consistency(
        evaluation.prediction, evaluation.low.values, degrade=evaluation.degrade, counts=counts
    )
    empty = np.asarray(~(np.abs(low) > 0).any(axis=(-2, -1)))
    reasons = first_reason(
        len(prediction), (~finite_images(prediction, low), NOT_FINITE), (empty, EMPTY)
    )
    return Scored(values, reasons)
