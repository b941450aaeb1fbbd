"""Step 2: a section as maps of a few components, by sparse non-negative matrix factorisation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench import MSImage
from msibench.decomposition import nmf
from msibench_cca.config import CCAConfig

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """``intensity(pixel, m/z) ≈ maps(pixel) · spectra(m/z)``, both non-negative."""

    values: Floats
    """``(component, row, column)``; 0 where nothing was measured."""
    known: Bools
    """Measured pixels, ``(row, column)``."""
    spectra: Floats
    """``(component, m/z)``."""
    relative_error: float
    """Of the factorisation."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(row, column)``."""
        return self.values.shape[1], self.values.shape[2]

    def crop(self, rows: slice, columns: slice) -> Maps:
        """Return a rectangle of the maps."""
        return replace(self, values=self.values[:, rows, columns], known=self.known[rows, columns])


def factor(
    rows: Any,
    pixels: NDArray[np.int64],
    shape: tuple[int, int],
    width: int,
    config: CCAConfig,
    *,
    seed: int,
    device: str = "cpu",
) -> Maps:
    """Factor spectra in rows and put the components back where the pixels lie.

    Parameters
    ----------
    rows
        Whatever `msibench.decomposition.nmf` takes, ``(pixel, m/z)``.
    pixels
        ``(row, column)`` of each row, ``(pixel, 2)``.
    shape
        Of the pixel grid.
    width
        How many columns `rows` has.
    config
        Rank (lowered to what the data can hold), iterations, tolerance, restarts.
    seed, device
        Of the factorisation.
    """
    found = nmf(
        rows,
        min(config.rank, len(pixels), width),
        seed=seed,
        iterations=config.iterations,
        tol=config.tolerance,
        restarts=config.restarts,
        device=device,
    )
    values = np.zeros((found.W.shape[1], *shape))
    known = np.zeros(shape, dtype=bool)
    values[:, pixels[:, 0], pixels[:, 1]] = found.W.T
    known[pixels[:, 0], pixels[:, 1]] = True
    return Maps(values, known, found.H.astype(np.float64), found.relative_error)


def factor_image(
    image: MSImage, config: CCAConfig, *, seed: int, device: str = "cpu"
) -> tuple[Maps, NDArray[np.intp]] | None:
    """Factor the ion images of a section.

    A channel of which less than half is known is left out; of the rest, the pixels are used that lie on
    tissue and are known in every channel. Negative intensities count as 0.

    Returns
    -------
    The maps and the channels they stand for, or None where nothing is left.
    """
    tissue = np.ones(image.shape, dtype=bool) if image.mask is None else image.mask
    finite = np.isfinite(image.values)
    channels = np.flatnonzero((finite & tissue).sum((1, 2)) * 2 >= tissue.sum())
    pixels = np.argwhere(tissue & finite[channels].all(0))
    if not len(channels) or not len(pixels):
        return None
    rows = np.maximum(image.values[np.ix_(channels, *map(np.arange, image.shape))], 0)
    rows = rows[:, pixels[:, 0], pixels[:, 1]].T
    return (
        factor(rows, pixels, image.shape, len(channels), config, seed=seed, device=device),
        channels,
    )
