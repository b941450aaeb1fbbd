"""The noise of a measured section, told from the section alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from msibench.degradation import area_mean
from msibench.degradation.grid import reduce_mask
from msibench.image import MSImage
from msibench.metrics.detail_ceiling import nugget
from msibench.uncertainty.octaves import over

Floats = NDArray[np.float64]

LEAST_COUNTED = 0.1
"""Share of the variance between neighbours that is taken as counting noise, at least."""
FEWEST_WINDOWS = 12
"""Windows of 4 x 4 measured pixels below which third differences tell nothing."""


def noise_gain(image: Floats, mask: NDArray[np.bool_] | None = None) -> float:
    """Return the variance of the noise per intensity in one pixel: constant for counted ions.

    The variance is the larger of two, for each misses what the other sees: the nugget of the semivariogram [1]_, what is
    not correlated between neighbours, is too small on smooth images, often 0; third differences
    (`white_variance`) do not see noise that the pixels of a line share.

    Parameters
    ----------
    image
        One ion image, ``(row, column)``; NaN where not measured.
    mask
        Tissue; None: every pixel that was measured.

    Returns
    -------
    In the unit of `image`; 0 where nothing is present, and where neighbours differ by no noise.

    References
    ----------
    .. [1] Cressie, Statistics for Spatial Data, Wiley (1993), section 2.4.
    """
    inside = _measured(image, mask)
    if not inside.any():
        return 0.0
    mean = float(image[inside].mean())
    if not mean > 0:
        return 0.0
    white = float(np.nan_to_num(_by_third_differences(image, inside)))
    return max(nugget(np.where(inside, image, 0.0), inside), white) / mean


def noise_variance(section: MSImage) -> Floats:
    """Return the variance that neighbouring pixels do not share, of each ion image, mean over the image."""
    images = [np.asarray(image, dtype=np.float64) for image in section.values]
    means = [float(np.nan_to_num(image).mean()) for image in images]
    gains = [noise_gain(image, section.mask) for image in images]
    return np.array([gain * mean for gain, mean in zip(gains, means, strict=True)])


def white_variance(section: MSImage) -> Floats:
    """Return the variance of the noise that is independent in every pixel, of each ion image, mean over the image.

    By third differences along rows and columns at once: they remove any structure that a plane of cubic order
    describes, and look at the corner of the spectrum where an image has least. On made fields whose noise is known
    they are within a few per cent where `noise_variance` finds next to none (docs/confidence.md); noise
    that the pixels of a line share is not seen. Where too few pixels lie together, `noise_variance` instead.
    """
    found = _white(section)
    if np.isfinite(found).all():
        return found
    return np.where(np.isfinite(found), found, noise_variance(section))


def _white(section: MSImage) -> Floats:
    found = []
    for image in section.values:
        inside = _measured(image, section.mask)
        found.append(_by_third_differences(image, inside) * float(inside.mean()))
    return np.array(found)


def counting_variance(section: MSImage) -> Floats:
    """Return the variance of the counting noise in a pixel of each ion image, mean over the image.

    What neighbours do not share (`noise_variance`) is counting noise, which falls fourfold where 2 x 2 pixels are
    averaged, and structure of the size of a pixel, which stays about as large. Both are separated by measuring
    twice: in the image and in the image made twice coarser. The share that is counting noise is
    the mean of an ion's own and the median of all ions.
    """
    whole = noise_variance(section)
    coarser = _coarser(section)
    if coarser is None:
        return whole
    return _counted(whole, noise_variance(coarser), np.ones_like(whole))


def white_counting_variance(section: MSImage) -> Floats:
    """Return the part of `white_variance` that is counting noise, of each ion image, mean over the image.

    As `counting_variance`, but structure of the size of a pixel need not stay as large where pixels are averaged: how
    it changes is taken from the image twice coarser to that four times coarser, where noise is small beside it.
    """
    whole = white_variance(section)
    coarser = _coarser(section)
    if coarser is None:
        return whole
    second = white_variance(coarser)
    coarsest = _coarser(coarser)
    third = np.full_like(second, np.nan) if coarsest is None else _white(coarsest)
    falls = np.clip(over(second, np.nan_to_num(third)), 0.0, 1.0)
    common = float(np.nanmedian(falls)) if np.isfinite(falls).any() else 1.0
    return _counted(whole, second, np.where(np.isfinite(falls), (falls + common) / 2, common))


def _counted(whole: Floats, coarser: Floats, falls: Floats) -> Floats:
    """Return the counting noise in the variance of an image, by that of the image twice coarser.

    `falls` is the structure in `whole` over that in `coarser`; of noise it is four.
    """
    counted = np.clip((whole - falls * coarser) / (1 - falls / 4), 0, whole)
    seen = whole > 0
    share = np.divide(counted, whole, out=np.ones_like(whole), where=seen)
    common = float(np.median(share[seen])) if seen.any() else 1.0
    return np.asarray(whole * np.maximum((share + common) / 2, LEAST_COUNTED))


def _coarser(section: MSImage) -> MSImage | None:
    """Return a section with the means of 2 x 2 pixels; None where too little is left."""
    rows, columns = (side // 2 * 2 for side in section.shape)
    if min(rows, columns) < 4:
        return None
    cut = section.crop(slice(rows), slice(columns))
    mean = area_mean(np.nan_to_num(np.asarray(cut.values, dtype=np.float64)), 2)
    return replace(cut, values=mean.astype(np.float32), mask=reduce_mask(cut.mask, 2))


def _by_third_differences(image: NDArray[np.floating], inside: NDArray[np.bool_]) -> float:
    """Return the variance of white noise in the pixels `inside`; NaN where too few of them lie together."""
    whole, change = inside, np.where(inside, image, 0).astype(np.float64)
    for axis in (0, 1):
        change = np.diff(change, n=3, axis=axis)
        for _ in range(3):
            along = np.moveaxis(whole, axis, 0)
            whole = np.moveaxis(along[1:] & along[:-1], 0, axis)
    if np.count_nonzero(whole) < FEWEST_WINDOWS:
        return float("nan")
    # 1, -3, 3, -1 along each axis: 20 times the variance, twice
    return float(np.mean(change[whole] ** 2)) / 400


def _measured(image: NDArray[np.floating], mask: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(image) if mask is None else np.isfinite(image) & mask)
