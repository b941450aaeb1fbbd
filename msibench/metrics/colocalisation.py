"""Whether ions that lie together in the truth lie together in the prediction."""

from __future__ import annotations

from typing import Any

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

ONE_ION = "colocalisation needs at least two ion images"
EMPTY = "the truth keeps no pixel above its median after the median filter"


def colocalisation_matrix(images: Any) -> Floats:
    """Cosine between ion images as METASPACE scores colocalisation.

    Pixels below the image's own median become 0, a 3 x 3 median filter takes single pixels away,
    and the cosine is taken over all pixels ("median-thresholded cosine").

    Parameters
    ----------
    images
        ``(channel, row, column)``.

    Returns
    -------
    ``(channel, channel)``; 0 for an image that has nothing left.

    References
    ----------
    .. [1] Ovchinnikova et al., ColocML, Bioinformatics 36 (2020) 3215-3224.
    """
    unit: Floats = _directions(to_host(images)[0])
    return np.asarray(unit @ unit.T)


def colocalisation(test: Any, reference: Any) -> Any:
    """Mean change of each ion's colocalisation with the others; 0 at best.

    Parameters
    ----------
    test, reference
        Prediction and truth, ``(channel, row, column)``, at least two channels.

    Returns
    -------
    Mean over the other ions of ``|cosine in test - cosine in reference|``, ``(channel,)``, in
    [0, 1] for images without negative values; NaN for a single channel, for an image of the truth
    with nothing left, and where a pixel is not finite (such images are no partners either).
    """
    images, back = to_host(test, "test")
    truth, _ = to_host(reference, "reference")
    check_pair(images, truth)
    if images.ndim != 3:
        raise ValueError(f"ion images must be (channel, row, column), got shape {images.shape}")
    usable = finite_images(images, truth)
    keep = usable[:, None, None]
    before, after = (_directions(np.where(keep, stack, 0.0)) for stack in (truth, images))
    change = np.abs(after @ after.T - before @ before.T)
    partner = usable & before.any(axis=1)
    pairs = partner[:, None] & partner[None, :] & ~np.eye(len(images), dtype=bool)
    count = pairs.sum(axis=1)
    total = np.where(pairs, change, 0.0).sum(axis=1)
    values = np.divide(total, count, out=np.full(len(images), np.nan), where=count > 0)
    return back(values)


def evaluate(evaluation: Evaluation) -> Scored:
    """Score one cell; curves ``truth`` and ``prediction`` hold the two matrices."""
    assert evaluation.truth is not None
    truth = evaluation.truth.values.astype(np.float64)
    prediction = evaluation.prediction.astype(np.float64)
    values: Floats = colocalisation(prediction, truth)
    reasons = first_reason(
        len(truth),
        (~finite_images(prediction, truth), NOT_FINITE),
        (np.full(len(truth), len(truth) < 2), ONE_ION),
        (np.isnan(values), EMPTY),
    )
    clean = (np.nan_to_num(stack, posinf=0.0, neginf=0.0) for stack in (truth, prediction))
    before, after = (colocalisation_matrix(stack) for stack in clean)
    return Scored(values, reasons, {"truth": before, "prediction": after})


def _directions(images: Floats) -> Floats:
    """Thresholded and filtered images as unit vectors, ``(channel, pixel)``; 0 where nothing is left."""
    from scipy.ndimage import median_filter

    flat = images.reshape(len(images), -1)
    median = np.quantile(flat, 0.5, axis=1, keepdims=True)
    kept = np.where(flat < median, 0.0, flat).reshape(images.shape)
    smooth = median_filter(kept, size=(1, 3, 3)).reshape(len(images), -1)
    length = np.sqrt((smooth * smooth).sum(axis=1, keepdims=True))
    np.divide(smooth, length, out=smooth, where=length > 0)
    return np.asarray(smooth)
