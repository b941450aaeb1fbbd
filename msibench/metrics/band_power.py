"""Power of the spatial frequencies that the low image lost: restored, missing or invented."""

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
from msibench.metrics.spectra import frequencies, ring_sums, spectrum

NO_DETAIL = "the truth has no power above the low image's Nyquist frequency"
NO_BAND = "the grid is not finer than the low image's"
BANDS = 8


def band_power(test: Any, reference: Any, *, above: float, below: float = 0.5) -> Any:
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
    """
    _, back = to_host(test, "test")
    return back(_ratio(test, reference, np.array([above, below]))[..., 0])


def radial_power_ratio(test: Any, reference: Any, *, bands: int = BANDS) -> tuple[Floats, Floats]:
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
    usable = finite_images(images, truth)
    frequency = frequencies((images.shape[-2], images.shape[-1]))
    band = (
        np.searchsorted(edges, frequency, side="left") - 1
    )  # above the lower edge, up to the upper
    band[(frequency == 0) | (band >= len(edges) - 1)] = -1
    keep = usable[..., None, None]
    mine, own = (
        ring_sums(np.abs(spectrum(np.where(keep, stack, 0.0))) ** 2, band, len(edges) - 1)
        for stack in (images, truth)
    )
    scale = (np.abs(np.where(keep, truth, 0.0)).max(axis=(-2, -1), initial=0.0) ** 2)[..., None]
    there = own > 1e-24 * scale * (truth.shape[-2] * truth.shape[-1]) ** 2
    ratio = np.divide(mine, own, out=np.full_like(mine, np.nan), where=there)
    return np.where(usable[..., None], ratio, np.nan)
