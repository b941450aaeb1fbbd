"""Share of the predicted intensity that lies where there is no tissue."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from msibench.contracts.metric import Evaluation, Scored
from msibench.metrics.arrays import NOT_FINITE, finite_images, first_reason, to_host
from msibench.metrics.pairs import ImagesT

EMPTY = "the prediction is zero everywhere"
NO_MASK = "no tissue mask is on record"
ALL_TISSUE = "every pixel counts as tissue: nothing lies off it"


def off_tissue(test: ImagesT, mask: ArrayLike) -> ImagesT:
    """Share of the absolute intensity outside the tissue mask; 0 at best for a tissue ion.

    Matrix ions belong off the tissue: read it beside the same share of the truth, which the curve
    ``truth`` of `evaluate` holds.

    Parameters
    ----------
    test
        Images ``(..., row, column)``; negative values count with their size.
    mask
        Tissue, bool ``(row, column)``.

    Returns
    -------
    One value per image in [0, 1], ``(...)``; NaN where the image is zero or a pixel is not finite.
    """
    images, back = to_host(test, "test")
    tissue = np.asarray(mask)
    if tissue.dtype != np.bool_ or tissue.shape != images.shape[-2:]:
        raise ValueError(
            f"mask must be bool (row, column) = {images.shape[-2:]}, got {tissue.dtype} "
            f"{tissue.shape}"
        )
    size = np.abs(images)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = size[..., ~tissue].sum(axis=-1) / size.sum(axis=(-2, -1))
    return back(np.where(finite_images(images), share, np.nan))


def evaluate(evaluation: Evaluation) -> Scored:
    """Score one cell; the curve ``truth`` holds the truth's own share per channel."""
    prediction = evaluation.prediction.astype(np.float64)
    truth = evaluation.truth
    count = len(prediction)
    if truth is None or truth.mask is None:
        return Scored(np.full(count, np.nan), (NO_MASK,) * count)
    if truth.mask.all():
        return Scored(np.full(count, np.nan), (ALL_TISSUE,) * count)
    values = off_tissue(prediction, truth.mask)
    reasons = first_reason(
        count,
        (~finite_images(prediction), NOT_FINITE),
        (np.asarray(~(np.abs(prediction) > 0).any(axis=(-2, -1))), EMPTY),
    )
    return Scored(values, reasons, {"truth": off_tissue(truth.values, truth.mask)})
