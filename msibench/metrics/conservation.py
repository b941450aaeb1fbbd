"""Whether the prediction holds as much intensity as the low image did."""

from __future__ import annotations

import numpy as np

from msibench.contracts.metric import Evaluation, Scored
from msibench.metrics.arrays import NOT_FINITE, factor_between, finite_images, first_reason, to_host
from msibench.metrics.pairs import ImagesT

EMPTY = "the low image holds no intensity"


def conservation(test: ImagesT, low: ImagesT) -> ImagesT:
    """Total predicted intensity over that of the low image; 1 at best.

    A coarse pixel is the mean of its fine ones, so the ratio is ``mean(test) / mean(low)``.

    Parameters
    ----------
    test
        Predictions on the fine grid, ``(..., row, column)``.
    low
        What they were made from, ``(..., row / factor, column / factor)``.

    Returns
    -------
    One value per image, ``(...)``; NaN where the low image sums to 0 or a pixel is not finite.

    Examples
    --------
    >>> float(conservation(np.ones((4, 6)), np.ones((2, 3))))
    1.0
    """
    fine, back = to_host(test, "test")
    coarse, _ = to_host(low, "low")
    factor_between(fine, coarse)
    total = coarse.mean(axis=(-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(total > 0, fine.mean(axis=(-2, -1)) / total, np.nan)
    return back(np.where(finite_images(fine, coarse), ratio, np.nan))


def evaluate(evaluation: Evaluation) -> Scored:
    """Score one cell."""
    low = evaluation.low.values.astype(np.float64)
    reasons = first_reason(
        len(low),
        (
            ~(finite_images(evaluation.prediction.astype(np.float64)) & finite_images(low)),
            NOT_FINITE,
        ),
        (~(low.sum(axis=(-2, -1)) > 0), EMPTY),
    )
    return Scored(conservation(evaluation.prediction, low), reasons)
