"""Pixel by pixel: detail that a prediction improved, omitted or invented."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.contracts.metric import Evaluation, Scored
from msibench.metrics.arrays import (
    NOT_FINITE,
    Floats,
    check_pair,
    finite_images,
    first_reason,
    to_host,
)
from msibench.metrics.detail import Splitter, splitter_of
from msibench.metrics.detail_specs import NO_SPLIT, NOTHING_ABOVE_NOISE
from msibench.metrics.kept import digest_of_arrays, of_images
from msibench.metrics.noise_ceiling import noise_map

NOTHING, IMPROVED, OMITTED, INVENTED = range(4)
"""Meaning of the numbers of a map."""
CLEAR = 2.0
"""Standard deviations of the noise above which detail, or an error, is to be seen at all."""
LEAST = 0.25
"""Share of an image's mean noise that every pixel has at least: a pixel of no counts is not exact."""
What = Literal["improved", "omitted", "invented"]


def hallucination_map(
    test: Any, reference: Any, *, protocol: Any, mask: ArrayLike | None = None
) -> NDArray[np.int8]:
    """Return for every pixel whether its unseen detail was improved, omitted or invented.

    With ``n`` and ``t`` the unseen parts of prediction and truth and σ the truth's noise in that pixel
    (`msibench.metrics.noise_ceiling.noise_map`: wavelet MAD by brightness, mean of 5 x 5 pixels, at least a
    quarter of the image's), a pixel is

    * *improved* (1) where the truth has clear detail, ``|t| > 2 σ``, and the error falls:
      ``|t| - |n - t| > σ``;
    * *invented* (3) where the error is clear, ``|n - t| > 2 σ``, and grows: ``|n - t| - |t| > σ``;
    * *omitted* (2) where the truth has clear detail and neither holds;
    * else 0: nothing there that noise would not explain.

    An image that adds nothing (each pixel repeated, where the low image is the area mean) is all omission
    by construction. Intensities are compared as they are; no histogram is matched.

    Parameters
    ----------
    test, reference
        Prediction and truth, ``(..., row, column)``.
    protocol
        Name of the degradation protocol, the protocol, or its `split`.
    mask
        Pixels to judge, bool ``(row, column)``; None: all.

    Returns
    -------
    int8, ``(..., row, column)``; 0 throughout where a pixel of the image is not finite.
    """
    images, _ = to_host(test, "test")
    truth, _ = to_host(reference, "reference")
    check_pair(images, truth)
    grid = images.shape[-2:]
    inside = np.ones(grid, np.bool_) if mask is None else np.asarray(mask, dtype=np.bool_)
    split = splitter_of(protocol)
    pairs = zip(images.reshape(-1, *grid), truth.reshape(-1, *grid), strict=True)
    maps = [_map_of(image, other, split, inside) for image, other in pairs]
    return np.array(maps, dtype=np.int8).reshape(images.shape)


def shares(found: NDArray[np.int8]) -> Floats:
    """Return the shares of improved, omitted and invented pixels, ``(..., 3)``; they sum to 1.

    NaN where no pixel is one of them.
    """
    counts = np.stack(
        [(found == what).sum(axis=(-2, -1)) for what in (IMPROVED, OMITTED, INVENTED)], axis=-1
    ).astype(np.float64)
    total = counts.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0))


def evaluate(evaluation: Evaluation, *, what: What = "invented") -> Scored:
    """Return one of the three shares of every ion image, inside the tissue mask."""
    assert evaluation.truth is not None
    truth = evaluation.truth
    if evaluation.split is None:
        return Scored(np.full(truth.channels, np.nan), (NO_SPLIT,) * truth.channels)
    split = evaluation.split
    found = evaluation.once(
        "hallucination_map",
        lambda: hallucination_map(
            evaluation.prediction, truth.values, protocol=split, mask=truth.mask
        ),
    )
    place = ("improved", "omitted", "invented").index(what)
    values = shares(found)[:, place]
    bad = ~finite_images(evaluation.prediction.astype(np.float64), truth.values.astype(np.float64))
    reasons = first_reason(len(values), (bad, NOT_FINITE), (np.isnan(values), NOTHING_ABOVE_NOISE))
    return Scored(values, reasons)


def _map_of(
    image: Floats, truth: Floats, split: Splitter, mask: NDArray[np.bool_]
) -> NDArray[np.int8]:
    found = np.zeros(image.shape, dtype=np.int8)
    if not finite_images(image, truth):
        return found
    added, wanted = split(image)[1], split(truth)[1]
    noise = of_images(
        "noise of every pixel", truth, lambda: _noise_of(truth, mask), digest_of_arrays([mask])
    )
    before, after = np.abs(wanted), np.abs(added - wanted)
    clear = before > CLEAR * noise
    found[clear] = OMITTED
    found[clear & (before - after > noise)] = IMPROVED
    found[(after > CLEAR * noise) & (after - before > noise)] = INVENTED
    found[~mask] = NOTHING
    return found


def _noise_of(truth: Floats, mask: NDArray[np.bool_]) -> Floats:
    """Return the noise of every pixel, including those in which nothing was counted."""
    from scipy.ndimage import uniform_filter

    square = np.nan_to_num(noise_map(truth[None], mask)[0]) ** 2
    least = LEAST * np.sqrt(square[mask].mean()) if mask.any() else 0.0
    rounding = 1e-6 * float(np.abs(truth).max(initial=0.0))
    around = np.sqrt(np.maximum(uniform_filter(square, size=5, mode="reflect"), 0.0))
    return np.asarray(np.maximum(around, max(least, rounding)))
