"""Step 1: spectra with m/z of their own on one sparse m/z grid.

The paper scales m/z by the inverse of the smallest gap, takes integers, and keeps the integers and the
pixels that occur. It numbers pixels as ``z = x + y * y_max``, which gives two pixels one number unless
``y_max`` is the extent in x; here a pixel's number is ``row * columns + column``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from msibench.decomposition import SpectrumRows
from msibench.errors import DataError


class SpectraOnGrid(Protocol):
    """What is needed of an imzML section, see `msibench.io.open_imzml`."""

    shape: tuple[int, int]

    def __len__(self) -> int: ...
    def spectrum(self, i: int, /) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return m/z (Da) and intensities of one pixel."""
        ...

    @property
    def pixels(self) -> NDArray[np.int64]:
        """``(row, column)`` of each spectrum."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class MzGrid:
    """Bins of equal width of which only those that occur are kept."""

    mz: NDArray[np.float64]
    """Centre of each bin in Da, rising."""
    scale: float
    """Bins per Da."""
    bins: NDArray[np.int64]
    """Integer of each bin, rising."""

    def assign(self, mz: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the bin of each m/z (Da); −1 where that bin does not occur."""
        wanted = np.rint(mz * self.scale).astype(np.int64)
        place = np.searchsorted(self.bins, wanted).clip(max=len(self.bins) - 1)
        return np.where(self.bins[place] == wanted, place, -1)

    def nearest(self, ppm: float, mz: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the nearest bin of each m/z (Da), −1 where none is within `ppm`."""
        right = np.searchsorted(self.mz, mz).clip(1, max(len(self.mz) - 1, 1))
        right = np.minimum(right, len(self.mz) - 1)
        left = np.maximum(right - 1, 0)
        closest = np.where(mz - self.mz[left] <= self.mz[right] - mz, left, right)
        return np.where(np.abs(self.mz[closest] - mz) <= mz * ppm * 1e-6, closest, -1)


def make_grid(spectra: SpectraOnGrid, gap: float | None = None) -> MzGrid:
    """Return the grid of all m/z that occur in `spectra`.

    Parameters
    ----------
    spectra
        Read once, one spectrum at a time.
    gap
        Width of a bin in Da; None: the smallest gap between two m/z of the file, as published.

    Raises
    ------
    DataError
        If there is no peak.
    """
    seen = np.zeros(0)
    waiting: list[NDArray[np.float64]] = []
    for index in range(len(spectra)):
        waiting.append(np.asarray(spectra.spectrum(index)[0], dtype=np.float64))
        if len(waiting) == 256 or index == len(spectra) - 1:
            seen = np.unique(np.concatenate([seen, *waiting]))
            waiting = []
    seen = seen[np.isfinite(seen)]
    if not len(seen):
        raise DataError("no spectrum of this file holds a peak: there is nothing to put on a grid")
    width = gap or (float(np.diff(seen).min()) if len(seen) > 1 else 1.0)
    bins = np.unique(np.rint(seen / width).astype(np.int64))
    centres = np.array([part.mean() for part in _split(seen, np.rint(seen / width))])
    return MzGrid(centres, 1 / width, bins)


def _split(values: NDArray[np.float64], labels: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    return np.split(values, np.flatnonzero(np.diff(labels)) + 1)


def binned(spectra: SpectraOnGrid, grid: MzGrid, match_ppm: float | None = None) -> SpectrumRows:
    """Return the spectra as rows of a sparse matrix, made while it is read.

    Parameters
    ----------
    spectra
        One row each.
    grid
        One column per bin.
    match_ppm
        None: by bin (the grid was made from these spectra). Otherwise an m/z belongs to the nearest bin
        within this tolerance: how a finer modality is put on the coarse one's m/z.
    """
    if match_ppm is None:
        return SpectrumRows(spectra, grid.assign, len(grid.mz))
    tolerance = match_ppm
    return SpectrumRows(spectra, lambda mz: grid.nearest(tolerance, mz), len(grid.mz))
