"""Lines that the instrument lost: a blocked laser, a stalled spray, a missed trigger."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msibench.degradation.step import NoiseSource
from msibench.errors import ConfigurationError


def drop_lines(
    values: NDArray[np.floating], fraction: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Set whole acquisition lines (rows) to zero, the same ones in every channel.

    Parameters
    ----------
    values
        ``(channel, row, column)``.
    fraction
        Chance of each row to be lost, in [0, 1).
    rng
        Random numbers.

    Raises
    ------
    ConfigurationError
        If `fraction` is not in [0, 1).
    """
    if not 0 <= fraction < 1:
        raise ConfigurationError(f"fraction must lie in [0, 1), got {fraction}")
    kept = (rng.random((values.shape[-2], 1)) >= fraction).astype(np.float64)
    return np.asarray(values, dtype=np.float64) * kept


@dataclass(frozen=True, slots=True)
class LineDropout:
    """The step of a chain that loses lines."""

    fraction: float
    """Chance of each row to be lost."""

    @property
    def linear(self) -> bool:
        """Never: it is random."""
        return False

    def definition(self) -> dict[str, object]:
        """Return name and parameters, ready for JSON."""
        return {"step": "line-dropout", "fraction": self.fraction}

    def apply(self, values: NDArray[np.float64], noise: NoiseSource) -> NDArray[np.float64]:
        """Return the stack with its lost lines at zero."""
        return drop_lines(values, self.fraction, noise.section("line-dropout"))
