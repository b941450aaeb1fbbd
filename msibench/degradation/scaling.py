"""How the intensities of a section come onto the scale of 0 to 1 on which they are scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msibench.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """A declared range where the data set has one, else a quantile of each ion image."""

    quantile: float = 0.999
    """Share of the tissue pixels at or below the intensity that becomes 1; what lies above is
    clipped. Linear interpolation between order statistics, as ``numpy.quantile``."""

    def __post_init__(self) -> None:
        if not 0 < self.quantile <= 1:
            raise ConfigurationError(
                f"quantile must lie in (0, 1], got {self.quantile}; 1 scales by the maximum"
            )

    def definition(self) -> dict[str, object]:
        """Return the rule and its parameters, ready for JSON."""
        return {
            "scaling": "declared-range-else-tissue-quantile",
            "quantile": self.quantile,
            "zero_quantile": "maximum",
            "all_zero": 1.0,
            "clip": [0.0, 1.0],
        }

    def scale(
        self,
        values: NDArray[np.floating],
        mask: NDArray[np.bool_] | None = None,
        declared_range: float | None = None,
    ) -> NDArray[np.float64]:
        """Intensity that becomes 1, for each channel.

        Parameters
        ----------
        values
            ``(channel, row, column)``, finite.
        mask
            Tissue, ``(row, column)``; None or all False: every pixel counts.
        declared_range
            Largest value that the data can hold (255 for 8-bit images); None: take the quantile.

        Returns
        -------
        ``(channel,)``. A channel whose quantile is not above zero (a sparse ion) uses its maximum;
        one without any intensity uses 1.

        Raises
        ------
        ConfigurationError
            If `declared_range` is not a positive number.
        """
        if declared_range is not None:
            if not 0 < declared_range < np.inf:
                raise ConfigurationError(
                    f"declared_range must be a positive intensity, got {declared_range}"
                )
            return np.full(values.shape[0], float(declared_range))
        inside = mask if mask is not None and mask.any() else ...
        return np.array([self._of(image[inside].ravel()) for image in values], dtype=np.float64)

    def _of(self, pixels: NDArray[np.floating]) -> float:
        wide = np.asarray(pixels, dtype=np.float64)
        scale = float(np.quantile(wide, self.quantile))
        scale = scale if scale > 0 else float(wide.max())
        return scale if scale > 0 else 1.0
