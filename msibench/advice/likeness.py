"""How alike two sections are to whoever sharpens them: pixel size, noise and texture of the coarse image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from msibench.advice.expected import expected_detail
from msibench.image import MSImage
from msibench.uncertainty.noise import counting_variance
from msibench.uncertainty.octaves import finest_octaves, signal_in

STEPS = {"pixel size": 0.7, "noise": 0.3, "texture": 0.2, "fineness": 0.25}
"""Difference that counts as one: a factor of two in pixel size, 0.3 in the share of signal, a factor of 1.6 in
texture, a quarter in the fall of detail. Our choice; docs/confidence.md shows what it finds."""
ALIKE = 1.0
"""Root mean square of the differences, in `STEPS`, up to which sections are called alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """What a coarse image looks like, at one factor; medians over the ions that are present."""

    pixel_size_um: float
    """NaN where nobody knows."""
    signal: float
    """Share of the finer detail that would be signal rather than noise, 0 to 1."""
    texture: float
    """Detail of two to four pixels over the mean intensity, as its decimal logarithm."""
    fall: float
    """Detail of one to two pixels over that of two to four: small where structures are smooth."""

    def differences(self, other: Likeness) -> dict[str, float]:
        """Return how far another section is in each respect, in `STEPS`; what is not known is left out."""
        away = {
            "pixel size": abs(np.log(self.pixel_size_um / other.pixel_size_um)),
            "noise": abs(self.signal - other.signal),
            "texture": abs(self.texture - other.texture),
            "fineness": abs(self.fall - other.fall),
        }
        steps = {name: float(value / STEPS[name]) for name, value in away.items()}
        return {name: value for name, value in steps.items() if np.isfinite(value)}

    def distance(self, other: Likeness) -> float:
        """Return the root mean square of the `differences`."""
        return float(np.sqrt(np.mean(np.square(list(self.differences(other).values())))))


def likeness(low: MSImage, factor: int) -> Likeness:
    """Return what a coarse image looks like to whoever makes it `factor` times finer."""
    octaves, variance = finest_octaves(low), counting_variance(low)
    detail = expected_detail(octaves, variance, factor)
    there = low.present()
    mean = np.array([float(np.nan_to_num(image).mean()) for image in low.values])[there]
    first, second = signal_in(octaves, detail.variance)[:, there]
    with np.errstate(divide="ignore", invalid="ignore"):
        texture = np.log10(np.sqrt(octaves[1][there]) / mean)
        fall = first / second
    return Likeness(
        pixel_size_um=low.pixel_size_um,
        signal=_median(detail.ceiling[there]),
        texture=_median(texture),
        fall=_median(fall),
    )


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")
