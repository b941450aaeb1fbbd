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

Floats = NDArray[np.float64]

FEATURES = ("counting noise", "slope", "texture", "level", "spread")
"""Order of `features`; the spread is 0 where nothing is known of it."""
LEAST = 1e-3
"""Of the ion's largest intensity: an uncertainty that no pixel falls below."""


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
        Variance of the noise per intensity in a pixel of the fine grid (`msibench.uncertainty.noise`).
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
