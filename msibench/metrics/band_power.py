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
from msibench.metrics.kept import of_images
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
    return back(_ratios(test, reference, np.array([above, below]))[0][..., 0])


def radial_power_ratio(
    test: Images, reference: Images, *, bands: int = BANDS
) -> tuple[Floats, Floats]:
    """Return the power ratio in bands of equal width up to the Nyquist frequency.

    Returns
    -------
    Ratio ``(..., band)`` and the upper edge of each band in cycles per pixel, ``(band,)``.
    """
    edges = np.linspace(0.0, 0.5, bands + 1)
    return _ratios(test, reference, edges)[0], edges[1:]


def evaluate(evaluation: Evaluation) -> Scored:
    """Score one cell above the low image's Nyquist frequency; curves ``ratio`` and ``frequency``."""
    assert evaluation.truth is not None
    truth = evaluation.truth.values.astype(np.float64)
    prediction = evaluation.prediction.astype(np.float64)
    count = len(truth)
    if evaluation.factor < 2:
        return Scored(np.full(count, np.nan), (NO_BAND,) * count)
    lost, every = np.array([0.5 / evaluation.factor, 0.5]), np.linspace(0.0, 0.5, BANDS + 1)
    one, ratio = _ratios(prediction, truth, lost, every)
    values = one[..., 0]
    reasons = first_reason(
        count,
        (~finite_images(prediction, truth), NOT_FINITE),
        (np.isnan(values), NO_DETAIL),
    )
    return Scored(values, reasons, {"ratio": ratio, "frequency": every[1:]})


def _ratios(test: Any, reference: Any, *sets: Floats) -> list[Floats]:
    """Return the power ratio in the bands between each set of edges, ``(..., band)``."""
    images, _ = to_host(test, "test")
    truth, _ = to_host(reference, "reference")
    check_pair(images, truth)
    frequency = frequencies((images.shape[-2], images.shape[-1]))
    bands = [_bands_between(edges, frequency) for edges in sets]
    batch, shape = images.shape[:-2], images.shape[-2:]
    pairs = zip(images.reshape(-1, *shape), truth.reshape(-1, *shape), strict=True)
    # One pair at a time: a spectrum takes twice the memory of its image.
    found = [_ratios_of(image, other, bands) for image, other in pairs]
    return [
        np.array([each[place] for each in found], dtype=np.float64).reshape(*batch, count)
        for place, (_, count) in enumerate(bands)
    ]


def _bands_between(edges: Floats, frequency: Floats) -> tuple[NDArray[np.intp], int]:
    """Return the band of every coefficient, -1 outside of all of them, and how many bands there are."""
    if not (np.diff(edges) > 0).all() or edges[0] < 0:
        raise ValueError(f"expected rising frequencies of at least 0, got {edges.tolist()}")
    band = (
        np.searchsorted(edges, frequency, side="left") - 1
    )  # above the lower edge, up to the upper
    band[(frequency == 0) | (band >= len(edges) - 1)] = -1
    return band, len(edges) - 1


def _ratios_of(
    image: Floats, truth: Floats, bands: list[tuple[NDArray[np.intp], int]]
) -> list[Floats]:
    """Return the power ratios of one pair in each set of bands; NaN where a pixel is not finite."""
    if not finite_images(image, truth):
        return [np.full(count, np.nan) for _, count in bands]
    power, of_truth = (
        np.asarray(np.abs(one) ** 2)
        for one in (spectrum(image), of_images("spectrum", truth, lambda: spectrum(truth)))
    )
    scale = np.abs(truth).max(initial=0.0) ** 2
    ratios = []
    for band, count in bands:
        mine, own = (ring_sums(each, band, count) for each in (power, of_truth))
        there = own > 1e-24 * scale * truth.size**2
        ratios.append(np.divide(mine, own, out=np.full_like(mine, np.nan), where=there))
    return ratios
