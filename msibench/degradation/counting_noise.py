"""Ion-counting noise: what a shorter or weaker measurement of the same tissue would show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msibench.degradation.step import NoiseSource
from msibench.errors import ConfigurationError


def count_ions(
    values: NDArray[np.floating], dose: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Replace expected intensities by counted ones, in the same unit.

    Parameters
    ----------
    values
        Expected intensities, any shape; below zero counts as zero.
    dose
        Expected ions at an intensity of 1.
    rng
        Random numbers.

    Returns
    -------
    ``k / dose`` with ``k`` Poisson distributed around ``values * dose``: mean `values`, variance
    ``values / dose``.

    Raises
    ------
    ConfigurationError
        If `dose` is not a positive number.
    """
    if not 0 < dose < np.inf:
        raise ConfigurationError(f"dose must be a positive number of ions, got {dose}")
    expected = np.maximum(np.asarray(values, dtype=np.float64), 0.0) * dose
    return rng.poisson(expected) / dose


@dataclass(frozen=True, slots=True)
class CountingNoise:
    """The step of a chain that counts ions."""

    dose: float
    """Expected ions in one pixel of the grid that the step sees, at a scaled intensity of 1."""

    @property
    def linear(self) -> bool:
        """Never: it is random."""
        return False

    def definition(self) -> dict[str, object]:
        """Return name and parameters, ready for JSON."""
        return {"step": "counting-noise", "dose_ions_at_one": self.dose}

    def apply(self, values: NDArray[np.float64], noise: NoiseSource) -> NDArray[np.float64]:
        """Return counted intensities; each channel draws from a stream of its own."""
        return np.stack(
            [
                count_ions(values[channel], self.dose, noise.channel("counting-noise", channel))
                for channel in range(values.shape[0])
            ]
        )
