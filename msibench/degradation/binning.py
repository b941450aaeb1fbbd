"""Area mean: what a larger MSI pixel measures of the same tissue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msibench.degradation.step import NoiseSource
from msibench.errors import ConfigurationError


def check_divides(shape: tuple[int, int], factor: int) -> None:
    """Reject a grid that does not hold whole blocks of ``factor x factor`` pixels.

    Raises
    ------
    ConfigurationError
        If a side is not a multiple of `factor`, or smaller than it.
    """
    if factor < 1:
        raise ConfigurationError(f"factor must be a whole number of at least 1, got {factor}")
    if min(shape) < factor or shape[0] % factor or shape[1] % factor:
        raise ConfigurationError(
            f"the grid must hold whole blocks of {factor} x {factor} pixels: expected sides that "
            f"are multiples of {factor}, got (row, column) = {shape}; crop it first"
        )


def area_mean(values: NDArray[np.floating], factor: int) -> NDArray[np.float64]:
    """Mean of each block of ``factor x factor`` pixels.

    Parameters
    ----------
    values
        ``(..., row, column)``, both sides multiples of `factor`.
    factor
        Fine pixels along each edge of a coarse one.

    Returns
    -------
    ``(..., row / factor, column / factor)``, summed in float64; ``factor**2`` times its total is
    the total of `values`.

    Raises
    ------
    ConfigurationError
        If a side is not a multiple of `factor`.
    """
    rows, columns = values.shape[-2:]
    check_divides((rows, columns), factor)
    if factor == 1:
        return np.array(values, dtype=np.float64)
    wide = np.asarray(values, dtype=np.float64)
    blocks = wide.reshape(*wide.shape[:-2], rows // factor, factor, columns // factor, factor)
    # Rows first: the inner loop then runs over whole image lines. Each sum adds in a fixed order.
    across_rows = np.add.reduce(blocks, axis=-3)
    return np.asarray(np.add.reduce(across_rows, axis=-1) / (factor * factor))


def repeat_pixels(values: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """Repeat each pixel of ``(..., row, column)`` in a block of ``factor x factor``."""
    return np.repeat(np.repeat(values, factor, axis=-2), factor, axis=-1)


@dataclass(frozen=True, slots=True)
class AreaMean:
    """The step of a chain that bins pixels."""

    factor: int
    """Fine pixels along each edge of a coarse one."""

    @property
    def linear(self) -> bool:
        """Always."""
        return True

    def definition(self) -> dict[str, object]:
        """Return name and parameters, ready for JSON."""
        return {"step": "area-mean", "factor": self.factor}

    def apply(self, values: NDArray[np.float64], noise: NoiseSource) -> NDArray[np.float64]:
        """Return the block means."""
        return area_mean(values, self.factor)

    def seen(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each block's mean in all of its pixels."""
        return repeat_pixels(area_mean(values, self.factor), self.factor)

    def least_norm(self, low: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each mean in all pixels of its block."""
        return repeat_pixels(low, self.factor)
