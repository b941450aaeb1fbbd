"""Other images that could have been measured: intensity changes that keep the anatomy.

A network that has seen one lipid of one tissue in 8 bits must also do well on sparse, noisy ion
images of another instrument. So a training image is drawn through contrast, detection threshold and
counting noise before it is degraded; the noise is part of the truth, as it is in measured data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class IonImageLook:
    """Ranges of the random changes; each range is ``(lowest, highest)``.

    Calling it with a fine image ``(row, column)`` in [0, 1] returns an image of the same shape,
    never negative. The share of images that are left as they are is `unchanged`.
    """

    unchanged: float = 0.3
    gamma: tuple[float, float] = (0.6, 2.2)
    """Exponent: above 1 only the brightest structures remain."""
    peak: tuple[float, float] = (0.4, 1.2)
    """Brightest value after the change: a hot spot elsewhere may set the scale, and a method that
    divides by the coarse image's maximum sees fine values above 1."""
    invert: float = 0.2
    """Chance of the complementary contrast within the tissue."""
    noisy: float = 0.5
    """Chance of counting noise."""
    counts: tuple[float, float] = (3.0, 300.0)
    """Expected ions in the brightest pixel, drawn on a logarithmic axis."""
    sparse: float = 0.35
    """Chance of a detection threshold, below which a peak picker writes zero."""
    threshold: tuple[float, float] = (0.05, 0.4)
    """Threshold as a share of the brightest value."""
    spread: float = 0.5
    """Largest log-normal spread of single pixels (matrix crystals), on thresholded images."""

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        """Return another look of `image`."""
        if rng.random() < self.unchanged:
            return image
        look = image.astype(np.float64)
        if rng.random() < self.invert:
            look = np.where(look > 0, look.max() - look, 0.0)
        look = look ** rng.uniform(*self.gamma)
        if rng.random() < self.sparse:
            look = look * np.exp(rng.normal(0.0, rng.uniform(0.0, self.spread), look.shape))
            look = np.where(look > rng.uniform(*self.threshold) * look.max(), look, 0.0)
        if rng.random() < self.noisy:
            ions = np.exp(rng.uniform(*np.log(self.counts)))
            look = rng.poisson(look * ions / max(float(look.max()), 1e-12)).astype(np.float64)
        highest = float(look.max())
        if highest <= 0:
            return image
        return (look * (rng.uniform(*self.peak) / highest)).astype(np.float32)
