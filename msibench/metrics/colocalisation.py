"""Whether ions that lie together in the truth lie together in the prediction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.metric import Evaluation, Scored, SectionParts
from msibench.metrics.arrays import (
    NOT_FINITE,
    Floats,
    check_pair,
    finite_images,
    first_reason,
    to_host,
)
from msibench.metrics.pairs import ImagesT
from msibench.metrics.products import product

ONE_ION = "colocalisation needs at least two ion images"
EMPTY = "the truth keeps no pixel above its median after the median filter"


def colocalisation_matrix(images: ImagesT) -> Floats:
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
    return np.asarray(product(unit, unit.T))


def colocalisation(test: ImagesT, reference: ImagesT) -> ImagesT:
    """Mean change of each ion's colocalisation with the others; 0 at best.

    Parameters
    ----------
    test, reference
        Prediction and truth, ``(channel, row, column)``, at least two channels.

    Returns
    -------
    Mean over the other ions of ``|cosine in test - cosine in reference|``, ``(channel,)``, in
    [0, 1] for images without negative values; NaN for a single channel, for an image of the truth
    with nothing left, and where a pixel is not finite (such images are not partners either).
    """
    images, back = to_host(test, "test")
    truth, _ = to_host(reference, "reference")
    check_pair(images, truth)
    if images.ndim != 3:
        raise ValueError(f"ion images must be (channel, row, column), got shape {images.shape}")
    usable = finite_images(images, truth)
    keep = usable[:, None, None]
    before, after = (_directions(np.where(keep, stack, 0.0)) for stack in (truth, images))
    partner = usable & before.any(axis=1)
    return back(_mean_change(product(before, before.T), product(after, after.T), partner))


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


def evaluate_in_parts(parts: SectionParts) -> Scored:
    """Score a large section: medians ion by ion, then the products of all pairs band by band of rows.

    The sums over pixels run in another order than in `evaluate`, so values agree within rounding
    (about 1e-12). Images with a pixel that is not finite count as empty in the curves.
    """
    count = parts.channels
    usable = np.ones(count, dtype=np.bool_)
    medians = np.zeros((2, count))
    for group in parts.groups:
        evaluation = parts.ions(group)
        assert evaluation.truth is not None
        for place, prediction, truth in zip(
            range(group.start, group.stop),
            evaluation.prediction,
            evaluation.truth.values,
            strict=True,
        ):
            usable[place] = np.isfinite(prediction).all() and np.isfinite(truth).all()
            if usable[place]:
                medians[:, place] = [
                    np.quantile(image.astype(np.float64), 0.5) for image in (truth, prediction)
                ]
    products = np.zeros((2, count, count))
    for index, band in enumerate(parts.bands):
        above, below = (parts.bands[index - 1 : index], parts.bands[index + 1 : index + 2])
        top = band.start - (1 if above else 0)
        stop = band.stop + (1 if below else 0)
        rows = slice(band.start - top, band.stop - top)
        prediction, truth = parts.rows(slice(top, stop))
        for sums, stack, median in zip(products, (truth, prediction), medians, strict=True):
            images = np.where(usable[:, None, None], stack.astype(np.float64), 0.0)
            kept = _smoothed(images, median[:, None, None])[:, rows].reshape(count, -1)
            sums += product(kept, kept.T)
    before, after = (_cosines(product) for product in products)
    partner = usable & (products[0].diagonal() > 0)
    values = _mean_change(before, after, partner)
    reasons = first_reason(
        count,
        (~usable, NOT_FINITE),
        (np.full(count, count < 2), ONE_ION),
        (np.isnan(values), EMPTY),
    )
    return Scored(values, reasons, {"truth": before, "prediction": after})


def _cosines(products: Floats) -> Floats:
    """Return cosines from the products of all pairs; 0 for an image that has nothing left."""
    length = np.sqrt(products.diagonal())
    size = length[:, None] * length[None, :]
    return np.asarray(np.divide(products, size, out=np.zeros_like(products), where=size > 0))


def _mean_change(before: Floats, after: Floats, partner: NDArray[np.bool_]) -> Floats:
    """Return the mean change of each ion's cosines with its partners, ``(channel,)``."""
    pairs = partner[:, None] & partner[None, :] & ~np.eye(len(before), dtype=bool)
    count = pairs.sum(axis=1)
    total = np.where(pairs, np.abs(after - before), 0.0).sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(len(before), np.nan), where=count > 0))


def _directions(images: Floats) -> Floats:
    """Thresholded and filtered images as unit vectors, ``(channel, pixel)``; 0 where nothing is left."""
    flat = images.reshape(len(images), -1)
    median = np.quantile(flat, 0.5, axis=1)[:, None, None]
    smooth = _smoothed(images, median).reshape(len(images), -1)
    length = np.sqrt((smooth * smooth).sum(axis=1, keepdims=True))
    np.divide(smooth, length, out=smooth, where=length > 0)
    return np.asarray(smooth)


def _smoothed(images: Floats, median: Floats) -> Floats:
    """Return images without what lies below their medians, and without single pixels."""
    from scipy.ndimage import median_filter

    kept = np.where(images < median, 0.0, images)
    return np.asarray(median_filter(kept, size=(1, 3, 3)))
