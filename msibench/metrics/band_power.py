"""Power of the spatial frequencies that the low image lost: restored, missing or invented."""

from __future__ import annotations

from typing import Any

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
from msibench.metrics.pairs import Images, ImagesT
from msibench.metrics.spectra import frequencies, ring_sums, spectrum

NO_DETAIL = "the truth has no power above the low image's Nyquist frequency"
NO_BAND = "the grid is not finer than the low image's"
BANDS = 8


def band_power(test: ImagesT, reference: ImagesT, *, above: float, below: float = 0.5) -> ImagesT:
    """Power of the test over that of the reference between two frequencies; 1 at best.

    Below 1 detail is missing (interpolation: near 0), above 1 it is invented. It says nothing about
    detail being in the right place: that is the Fourier ring correlation.

    Parameters
    ----------
    test, reference
        Images ``(..., row, column)``, any sides.
    above, below
        Band in cycles per pixel. What a low image of factor k cannot hold lies above ``0.5 / k``.

    Returns
    -------
    One value per image, ``(...)``; NaN where the reference has no power in the band or a pixel is
    not finite.

    Notes
    -----
    The spectrum is that of the whole image, however large; images are taken one after the other, each
    with about 12 times its own float64 size.
    """
    _, back = to_host(test, "test")
    return back(_ratio(test, reference, np.array([above, below]))[..., 0])


def radial_power_ratio(
    test: Images, reference: Images, *, bands: int = BANDS
) -> tuple[Floats, Floats]:
    """Return the power ratio in bands of equal width up to the Nyquist frequency.

    Returns
    -------
    Ratio ``(..., band)`` and the upper edge of each band in cycles per pixel, ``(band,)``.
    """
    edges = np.linspace(0.0, 0.5, bands + 1)
    return _ratio(test, reference, edges), edges[1:]


def evaluate(evaluation: Evaluation) -> Scored:
    """Score one cell above the low image's Nyquist frequency; curves ``ratio`` and ``frequency``."""
    assert evaluation.truth is not None
    truth = evaluation.truth.values.astype(np.float64)
    prediction = evaluation.prediction.astype(np.float64)
    count = len(truth)
    if evaluation.factor < 2:
        return Scored(np.full(count, np.nan), (NO_BAND,) * count)
    values = band_power(prediction, truth, above=0.5 / evaluation.factor)
    ratio, frequency = radial_power_ratio(prediction, truth)
    reasons = first_reason(
        count,
        (~finite_images(prediction, truth), NOT_FINITE),
        (np.isnan(values), NO_DETAIL),
    )
    return Scored(values, reasons, {"ratio": ratio, "frequency": frequency})


def _ratio(test: Any, reference: Any, edges: Floats) -> Floats:
    images, _ = to_host(test, "test")
    truth, _ = to_host(reference, "reference")
    check_pair(images, truth)
    if not (np.diff(edges) > 0).all() or edges[0] < 0:
        raise ValueError(f"expected rising frequencies of at least 0, got {edges.tolist()}")
    frequency = frequencies((images.shape[-2], images.shape[-1]))
    band = (
        np.searchsorted(edges, frequency, side="left") - 1
    )  # above the lower edge, up to the upper
    band[(frequency == 0) | (band >= len(edges) - 1)] = -1
    batch, shape = images.shape[:-2], images.shape[-2:]
    pairs = zip(images.reshape(-1, *shape), truth.reshape(-1, *shape), strict=True)
    # One pair at a time: a spectrum takes twice the memory of its image.
    ratios = [_ratio_of(image, other, band, len(edges) - 1) for image, other in pairs]
    return np.array(ratios, dtype=np.float64).reshape(*batch, len(edges) - 1)


def _ratio_of(image: Floats, truth: Floats, band: NDArray[np.intp], count: int) -> Floats:
    """Return the power ratio of one pair in each band; NaN where a pixel is not finite."""
    if not finite_images(image, truth):
        return np.full(count, np.nan)
    mine, own = (
        ring_sums(np.asarray(np.abs(spectrum(one)) ** 2), band, count) for one in (image, truth)
    )
    scale = np.abs(truth).max(initial=0.0) ** 2
    there = own > 1e-24 * scale * truth.size**2
    return np.divide(mine, own, out=np.full_like(mine, np.nan), where=there)
