"""Where a finer image is hard to know: what its error is likely to be proportional to, in every pixel.

Errors of super-resolved ion images have two sources that grow differently as pixels shrink: counting
noise of the measurement, whose variance per pixel is `factor`² times larger one scale down, and
structure that the coarse image could not see, which is larger at slopes and in textured regions. Each
is a feature here; `msibench.uncertainty.conformal` finds how much of each an error holds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench.degradation import area_mean
from msibench.metrics.detail_ceiling import nugget
from msibench.metrics.noise_ceiling import noise_map

Floats = NDArray[np.float64]

FEATURES = ("counting noise", "slope", "texture", "level", "spread")
"""Order of `features`; the spread is 0 where nothing is known of it."""
LEAST_OF_MAD = 0.2
"""Noise variance over that of the wavelet estimator, which sees structure as noise: up to three times
or more too much on phantoms and brain sections made four times coarser (docs/confidence.md)."""
LEAST = 1e-3
"""Of the ion's largest intensity: an uncertainty that no pixel falls below."""


def noise_gain(image: Floats, mask: NDArray[np.bool_] | None = None) -> float:
    """Return the variance of the noise per intensity in one pixel: constant for counted ions.

    The variance is the nugget of the semivariogram [1]_: what is not correlated between neighbours. On
    smooth images it is too small, often 0, so that at least `LEAST_OF_MAD` of the variance is taken that
    the median absolute Haar coefficient tells (`noise_map`), which counts fine structure as noise too.

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
    inside = np.isfinite(image) if mask is None else np.isfinite(image) & mask
    if not inside.any():
        return 0.0
    mean = float(image[inside].mean())
    if not mean > 0:
        return 0.0
    filled = np.where(inside, image, 0.0)
    by_wavelet = float((np.nan_to_num(noise_map(filled, inside))[inside] ** 2).mean())
    return max(nugget(filled, inside), LEAST_OF_MAD * by_wavelet) / mean


def scale_of(image: Floats) -> float:
    """Return the intensity that relative figures refer to: the 99.9 % quantile of what was measured."""
    finite = image[np.isfinite(image)]
    return float(np.quantile(finite, 0.999)) if finite.size else 0.0


def features(
    fine: Floats,
    *,
    factor: int,
    gain: float,
    scale: float,
    spread: Floats | None = None,
) -> NDArray[np.float32]:
    """Return the features of one predicted ion image, ``(feature, row, column)``, in its unit.

    Parameters
    ----------
    fine
        Prediction, ``(row, column)``, sides multiples of `factor`; NaN counts as 0.
    factor
        Fine pixels along each edge of a coarse one.
    gain
        Variance of the noise per intensity in a pixel of the fine grid (`noise_gain`).
    scale
        Intensity of the ion (`scale_of`).
    spread
        Standard deviation that the method or its seeds tell, ``(row, column)``.
    """
    from scipy.ndimage import gaussian_filter, uniform_filter

    image = np.maximum(np.nan_to_num(fine), 0.0)
    smooth = gaussian_filter(image, factor / 4)
    coarse = area_mean(image, factor)
    mean = uniform_filter(coarse, 3, mode="nearest")
    square = uniform_filter(coarse * coarse, 3, mode="nearest")
    texture = np.sqrt(np.maximum(square - mean * mean, 0.0))
    made = np.zeros((len(FEATURES), *image.shape), dtype=np.float32)
    made[0] = np.sqrt(gain * np.maximum(smooth, LEAST * scale))
    if min(image.shape) > 1:
        made[1] = factor * np.hypot(*np.gradient(smooth))
    made[2] = texture.repeat(factor, 0).repeat(factor, 1)
    made[3] = scale
    if spread is not None:
        made[4] = np.nan_to_num(spread)
    return made
