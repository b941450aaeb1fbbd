"""Whether a picture contradicts the measurement that it was made from, more than any such picture must.

Averaged back, a fine picture should give the coarse pixels again. Smooth pictures never do so exactly:
plain bicubic interpolation, which adds nothing, misses a part of every image, the more of it the more
detail or noise there is. A method that takes noise away misses the noise. Only what goes beyond both
says that a method has changed the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msibench.metrics.noise_ceiling import noise_map
from msibench.metrics.upsampling import bicubic

NEGLIGIBLE = 0.05
"""Share of the input that any method may miss."""
TWICE = 2.0
"""How much more than bicubic interpolation a method may miss. Bilinear interpolation, the smoothest of
all, misses 1.6 times as much where there is nothing but noise."""

NOISE = 1.5
"""How much of the noise, as it is estimated, a method may miss: estimates of small images are that far
off."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How much of one ion image is not reproduced, as shares of its Euclidean norm."""

    missed: float
    """By the picture, averaged back."""
    interpolation: float
    """By bicubic interpolation of the same image."""
    noise: float
    """By a picture without the noise of the image, as `noise_map` estimates it."""

    @property
    def allowed(self) -> float:
        """What may be missed before the picture contradicts its input."""
        return max(NEGLIGIBLE, TWICE * self.interpolation, NOISE * self.noise)

    @property
    def contradicts(self) -> bool:
        """Whether more is missed than that."""
        return self.missed > self.allowed


def agreement(fine: NDArray[np.float32], low: NDArray[np.float32], factor: int) -> Agreement | None:
    """Compare one ion image with the picture that was made of it.

    Parameters
    ----------
    fine
        The picture, ``(row * factor, column * factor)``.
    low
        The ion image, ``(row, column)``; NaN where nothing was measured, which is not compared.
    factor
        Fine pixels along each edge of a coarse one.

    Returns
    -------
    None where the ion image is zero wherever it was measured.
    """
    known = np.isfinite(low)
    image = np.where(known, low, 0.0).astype(np.float64)
    norm = float(np.sqrt((image**2).sum()))
    if not norm:
        return None
    weight = bicubic(known.astype(np.float64), factor)
    plain = bicubic(image, factor) / np.where(weight > 0.1, weight, np.inf)
    noise = 0.0
    if min(low.shape) >= 2:
        sigma = np.nan_to_num(noise_map(image, known))
        noise = float(np.sqrt((sigma[known] ** 2).sum())) / norm
    return Agreement(
        _missed(np.where(np.isfinite(fine), fine, 0.0), image, known, factor) / norm,
        _missed(plain, image, known, factor) / norm,
        noise,
    )


def _missed(
    fine: NDArray[np.floating],
    image: NDArray[np.float64],
    known: NDArray[np.bool_],
    factor: int,
) -> float:
    rows, columns = image.shape
    wide = np.asarray(fine, dtype=np.float64).reshape(rows, factor, columns, factor)
    error = np.where(known, wide.mean(axis=(1, 3)) - image, 0.0)
    return float(np.sqrt((error**2).sum()))
