"""Bring the values of different metrics onto one scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.metric import turned
from msibench.scoring.schemes import Scheme, WeightedMetric

Floats = NDArray[np.float64]


def error_of(values: Floats, metric: WeightedMetric) -> Floats:
    """Return how far values are from what the truth gets, at least 0; any shape.

    For a decibel scale this is the error energy ``10 ** (-value / 10)`` (of PSNR: the mean squared
    error in units of the data range), which is 0 at +inf; otherwise ``|perfect - value|``.
    """
    if metric.scale == "decibel":
        return np.asarray(np.power(10.0, -np.asarray(values, dtype=np.float64) / 10.0))
    finite = np.where(np.isfinite(values), values, np.nan)
    return np.asarray(np.abs(metric.perfect - finite))


def anchored(error: Floats, control_error: Floats) -> Floats:
    """Return the share of the control's error that is gone: 0 as the control, 1 as the truth.

    ``1 - error / control`` where the method is no worse, ``control / error - 1`` where it is. The
    plain ratio has no lower bound, and one image on which the control happens to be almost perfect
    would decide a mean; this form lies in [-1, 1], has the same slope on both sides of 0, and
    exchanging method and control only flips its sign.

    Parameters
    ----------
    error, control_error
        Errors of at least 0 that broadcast with one another.

    Returns
    -------
    Scores in [-1, 1]; NaN where either is, and where both are 0: nothing was left to gain.

    Examples
    --------
    >>> anchored(np.array([0.0, 1.0, 2.0, 4.0]), np.array(2.0))
    array([ 1. ,  0.5,  0. , -0.5])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = 1.0 - error / control_error
        loss = control_error / error - 1.0
    return np.asarray(np.where(error <= control_error, gain, loss))


def minmax(values: Floats, metric: WeightedMetric, *, pooled: bool = False) -> Floats:
    """Scale between the worst method (0) and the best (1), of an image or of all (`pooled`).

    Parameters
    ----------
    values
        ``(image, method)``.

    Returns
    -------
    Same shape; 0.5 where all methods tie, NaN where a value is undefined or where fewer than two
    methods have one.
    """
    oriented = orient(values, metric)
    defined = np.isfinite(oriented)
    axis = None if pooled else 1
    low = np.where(defined, oriented, np.inf).min(axis=axis, keepdims=True, initial=np.inf)
    high = np.where(defined, oriented, -np.inf).max(axis=axis, keepdims=True, initial=-np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(high > low, (oriented - low) / (high - low), 0.5)
    scaled[~defined] = np.nan
    scaled[np.broadcast_to(defined.sum(axis=axis, keepdims=True) < 2, scaled.shape)] = np.nan
    return scaled


def orient(values: Floats, metric: WeightedMetric) -> Floats:
    """Turn values so that higher is better; not finite ones become NaN."""
    finite = np.where(np.isfinite(values), values, np.nan)
    return turned(finite, metric.direction)


def normalise(
    values: Floats, metric: WeightedMetric, scheme: Scheme, control: int | None
) -> Floats:
    """Apply the scheme's normalisation to one metric.

    Parameters
    ----------
    values
        ``(image, method)``.
    control
        Number of the control method; needed by ``anchored`` only.

    Returns
    -------
    Same shape; NaN where undefined.
    """
    if scheme.normalisation in {"minmax-per-image", "minmax-pooled"}:
        return minmax(values, metric, pooled=scheme.normalisation == "minmax-pooled")
    if scheme.normalisation == "bounded":  # an error of 1 stands at 0, none at 1
        error = error_of(values, metric)
        return anchored(error, np.ones_like(error))
    if scheme.normalisation == "none":
        return orient(values, metric)
    if control is None:
        raise ValueError("an anchored score needs the number of its control method, got None")
    error = error_of(values, metric)
    return anchored(error, error[:, control : control + 1])
