"""Sums of a few peaks a spectrum in NumPy, all spectra of a block at once.

The first image of a process need not wait for the compiler behind `msibench.io.imzml.kernels`, and for one
window this is no slower than a loop over spectra. Every number is what the kernels give, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from msibench.io.imzml.arrays import Spectra

WINDOWS = 3
"""Of more windows the sums are left to the kernels, which take half the time once the compiler is loaded."""
PEAKS = 64
"""Where a window holds more of one spectrum, its sums are left to the kernels."""

Longs = NDArray[np.int64]


def sum_few_windows(
    spectra: Spectra,
    begin: int,
    end: int,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    images: NDArray[np.float32],
) -> int | None:
    """Do what the kernel `sum_windows` does for spectra of different pixels whose m/z ascend.

    Returns None, and adds nothing, where a window holds more than `PEAKS` peaks of a spectrum.
    """
    filled = np.flatnonzero(spectra.length[begin:end])
    offset, length = spectra.mz_offset[begin:end][filled], spectra.length[begin:end][filled]
    mz, item = _anywhere(spectra.mz_data, spectra.mz_kind), spectra.mz_kind.itemsize

    def first_from(wanted: np.float64) -> Longs:
        """Return for each filled spectrum the first peak that is not below `wanted`, by halving."""
        first, stop = np.zeros_like(length), length
        for _ in range(int(length.max(initial=0)).bit_length()):
            middle = (first + stop) >> 1
            # where the search has ended, at the end of a spectrum, there is no peak to look at
            below = (mz[offset + np.minimum(middle, length - 1) * item] < wanted) & (middle < stop)
            first, stop = np.where(below, middle + 1, first), np.where(below, stop, middle)
        return first

    def peaks_of(window: int) -> Iterator[tuple[NDArray[np.intp], Longs]]:
        peak = first_from(low[window])
        rows = np.flatnonzero(peak < length)
        while (rows := rows[mz[offset[rows] + peak[rows] * item] <= high[window]]).size:
            yield filled[rows], peak[rows]
            peak[rows] += 1
            rows = rows[peak[rows] < length[rows]]

    return _sum(spectra, begin, end, [peaks_of(window) for window in range(low.size)], images)


def sum_few_chosen(
    spectra: Spectra,
    begin: int,
    end: int,
    peaks: Longs,
    stops: Longs,
    images: NDArray[np.float32],
) -> int | None:
    """Do what the kernel `sum_chosen` does for spectra of different pixels."""
    rows = np.flatnonzero(spectra.length[begin:end] > 0)
    chosen = np.split(peaks, stops[1:-1])
    steps = [((rows, np.full(rows.size, peak)) for peak in own) for own in chosen]
    return _sum(spectra, begin, end, steps, images)


def _sum(
    spectra: Spectra,
    begin: int,
    end: int,
    windows: Sequence[Iterator[tuple[NDArray[np.intp], Longs]]],
    images: NDArray[np.float32],
) -> int | None:
    """Add up windows whose peaks come step by step, at most one of a spectrum in each."""
    offset, item = spectra.intensity_offset[begin:end], spectra.intensity_kind.itemsize
    intensity = _anywhere(spectra.intensity_data, spectra.intensity_kind)
    total = np.zeros((len(windows), end - begin))
    left_out = 0
    # damaged numbers may be signalling NaNs; `ImzMLSection` warns of sums beyond float32
    with np.errstate(invalid="ignore", over="ignore"):
        for steps, sums in zip(windows, total, strict=True):
            for count, (rows, peak) in enumerate(steps):
                if count == PEAKS:
                    return None
                value = intensity[offset[rows] + peak * item].astype(np.float64)
                finite = np.isfinite(value)
                sums[rows[finite]] += value[finite]
                left_out += int(rows.size - np.count_nonzero(finite))
        images[:, spectra.pixel[begin:end]] += total.astype(np.float32)
    return left_out


def _anywhere(data: NDArray[np.uint8], kind: NDArray[np.generic]) -> NDArray[np.generic]:
    """View bytes as the numbers that begin at each of them, aligned or not."""
    numbers = max(0, data.size - kind.itemsize + 1)
    return np.ndarray(numbers, kind.dtype, data, strides=(1,)) if numbers else kind
