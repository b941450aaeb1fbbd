"""Angle between predicted and measured spectrum at every pixel, over the test m/z set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.metric import Evaluation, Scored, SectionParts
from msibench.metrics.arrays import Floats, check_pair, to_host
from msibench.metrics.pairs import ImagesT

ONE_ION = "an angle needs at least two ion images"
EMPTY = "no pixel of the truth holds any intensity"


def spectral_angle(test: ImagesT, reference: ImagesT) -> ImagesT:
    """Angle between two spectra at every pixel, in degrees.

    Parameters
    ----------
    test, reference
        Intensities, ``(channel, row, column)``.

    Returns
    -------
    ``(row, column)``, in [0, 90] where nothing is negative; NaN where either spectrum is all zero
    or not finite.

    References
    ----------
    .. [1] Kruse et al., Remote Sens. Environ. 44 (1993) 145-163.
    """
    images, back = to_host(test, "test")
    truth, _ = to_host(reference, "reference")
    check_pair(images, truth)
    if images.ndim != 3:
        raise ValueError(f"spectra must be (channel, row, column), got shape {images.shape}")
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (stack / np.sqrt((stack * stack).sum(axis=0)) for stack in (images, truth))
        # half angle from difference and sum: exact near 0, where an arc cosine is not
        half = np.arctan2(
            np.sqrt(((first - second) ** 2).sum(axis=0)),
            np.sqrt(((first + second) ** 2).sum(axis=0)),
        )
    return back(np.asarray(np.degrees(2 * half)))


def evaluate(evaluation: Evaluation) -> Scored:
    """Mean angle of one section inside the tissue mask: one value, stored with channel -1.

    A pixel at which the truth has a spectrum and the prediction none counts as 90 degrees; one
    without a measured spectrum is left out. The curve ``map`` holds the angle of every pixel.
    """
    assert evaluation.truth is not None
    truth = evaluation.truth
    if truth.channels < 2:
        return Scored(np.array([np.nan]), (ONE_ION,))
    angle: Floats = spectral_angle(evaluation.prediction, truth.values)
    measured = np.any(truth.values != 0, axis=0)
    if truth.mask is not None:
        measured &= truth.mask
    if not measured.any():
        return Scored(np.array([np.nan]), (EMPTY,), {"map": angle})
    return _scored(angle, measured)


def evaluate_in_parts(parts: SectionParts) -> Scored:
    """Score a large section band by band of rows, all ion images of a band together; as `evaluate`."""
    if parts.channels < 2:
        return Scored(np.array([np.nan]), (ONE_ION,))
    angle = np.full(parts.shape, np.nan)
    measured = np.zeros(parts.shape, dtype=np.bool_)
    for band in parts.bands:
        prediction, truth = parts.rows(band)
        angle[band] = spectral_angle(prediction, truth)
        measured[band] = np.any(truth != 0, axis=0)
    if parts.mask is not None:
        measured &= parts.mask
    if not measured.any():
        return Scored(np.array([np.nan]), (EMPTY,), {"map": angle})
    return _scored(angle, measured)


def _scored(angle: Floats, measured: NDArray[np.bool_]) -> Scored:
    inside = np.where(np.isnan(angle), 90.0, angle)[measured]
    return Scored(np.array([inside.mean()]), ("",), {"map": angle})
