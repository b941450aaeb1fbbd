"""Inner loops over the .ibd file: one pass over all peaks, without the interpreter lock.

Arrays in an .ibd file start at any byte. They are viewed in place; the processors that numba
compiles for read unaligned numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench.io.compiled import compiled, inlined
from msibench.io.imzml.arrays import Spectra

FEW = 64
"""Windows up to which peaks are sought by halving."""
PIECES = 32
"""Of the m/z for each window, where there are more: twice as many halve the peaks that are looked at for nothing."""
ROUND = 1024
"""Peaks whose pieces are worked out at a time."""

Longs = NDArray[np.int64]
Marks = tuple[NDArray[np.int64], NDArray[np.bool_]]
"""Windows that hold something, in the order in which they were found, and for each whether it is one."""
Doubles = NDArray[np.float64]
Places = tuple[NDArray[np.int32], float]
"""For each piece of the m/z the first window that may hold a peak of it, -1 where none may; pieces in a unit of m/z."""


@inlined
def _mz(spectra: Spectra, spectrum: int) -> NDArray[np.generic]:
    start, kind = spectra.mz_offset[spectrum], spectra.mz_kind
    return spectra.mz_data[start : start + spectra.length[spectrum] * kind.itemsize].view(
        kind.dtype
    )


@inlined
def _intensity(spectra: Spectra, spectrum: int) -> NDArray[np.generic]:
    start, kind = spectra.intensity_offset[spectrum], spectra.intensity_kind
    stop = start + spectra.length[spectrum] * kind.itemsize
    return spectra.intensity_data[start:stop].view(kind.dtype)


@compiled
def survey(
    spectra: Spectra,
    begin: int,
    end: int,
    ascending: NDArray[np.bool_],
    lowest: Doubles,
    highest: Doubles,
) -> None:
    """Note for spectra `begin` to `end` whether m/z ascend, and the finite extremes.

    Without a finite m/z the extremes are inf, -inf.
    """
    for spectrum in range(begin, end):
        mz = _mz(spectra, spectrum)
        count = mz.size
        ordered = True
        for peak in range(1, count):
            ordered &= mz[peak] >= mz[peak - 1]
        low, high = np.inf, -np.inf
        if count > 0:
            ordered &= mz[0] == mz[0]  # false for NaN
            low, high = np.float64(mz[0]), np.float64(mz[count - 1])
            ordered &= np.isfinite(low) and np.isfinite(high)
            if not ordered:
                low, high = np.inf, -np.inf
                for peak in range(count):
                    value = np.float64(mz[peak])
                    if np.isfinite(value):
                        low, high = min(low, value), max(high, value)
        ascending[spectrum] = ordered
        lowest[spectrum] = low
        highest[spectrum] = high


@compiled
def _first_from(mz: NDArray[np.generic], first: int, wanted: float) -> int:
    """Return the first peak from `first` on whose m/z is not below `wanted`; m/z ascend.

    It gallops, then halves: few steps where windows are dense.
    """
    count = mz.size
    step, top = 1, first
    while top < count and mz[top] < wanted:
        first = top + 1
        top += step
        step += step
    top = min(top, count)
    while first < top:
        middle = (first + top) >> 1
        if mz[middle] < wanted:
            first = middle + 1
        else:
            top = middle
    return first


@inlined
def _note(window: int, marks: Marks, hits: int) -> int:
    """Put a window on the list of those that hold something; return how long the list is."""
    listed, is_listed = marks
    if not is_listed[window]:
        is_listed[window] = True
        listed[hits] = window
        hits += 1
    return hits


@compiled
def _add_ascending(
    mz: NDArray[np.generic],
    intensity: NDArray[np.generic],
    low: Doubles,
    high: Doubles,
    total: Doubles,
    marks: Marks,
    hits: int,
) -> tuple[int, int]:
    """Add the peaks of one spectrum, whose m/z ascend, to `total`, window by window.

    Peaks between windows are passed over, and so are windows between peaks. Returns how many
    windows hold something now, and how many peaks were left out because they are not finite.
    """
    first, window, left_out = 0, 0, 0
    while window < low.size:
        first = _first_from(mz, first, low[window])
        if first == mz.size:
            break
        if mz[first] > high[window]:
            window = _first_from(high, window + 1, np.float64(mz[first]))
            continue
        peak = first
        while peak < mz.size and mz[peak] <= high[window]:
            value = np.float64(intensity[peak])
            if np.isfinite(value):
                total[window] += value
                hits = _note(window, marks, hits)
            else:
                left_out += 1
            peak += 1
        window += 1
    return hits, left_out


@compiled
def places(low: Doubles, high: Doubles) -> Places:
    """Cut the m/z from the first window to the last into equal pieces, `PIECES` a window; none for `FEW` windows.

    What lies before the first piece belongs to it, what lies behind the last to that.
    """
    if low.size <= FEW:
        return np.empty(0, dtype=np.int32), 0.0
    pieces = PIECES * low.size
    span = high[-1] - low[0]
    scale = pieces / span if span > 0 and np.isfinite(span) else 0.0
    first = np.zeros(pieces, dtype=np.int32)
    if scale > 0:
        for piece in range(2, pieces - 1):  # a rounded quotient may be off by one piece
            window = np.searchsorted(high, low[0] + (piece - 1) / scale)
            free = low[window] > low[0] + (piece + 2) / scale
            first[piece] = -1 if free else window
    return first, scale


@compiled
def _add_by_place(
    mz: NDArray[np.generic],
    intensity: NDArray[np.generic],
    low: Doubles,
    high: Doubles,
    total: Doubles,
    marks: Marks,
    hits: int,
    table: Places,
) -> tuple[int, int]:
    """As `_add_ascending`, each peak looked up in a table: for many windows."""
    left_out = 0
    first, scale = table
    last = np.float64(first.size - 1)
    pieces, chosen = np.empty(ROUND, dtype=np.int32), np.empty(ROUND, dtype=np.int32)
    stop = mz.size
    while stop > 0 and mz[stop - 1] > high[-1]:
        stop -= 1
    for start in range(_first_from(mz, 0, low[0]), stop, ROUND):
        count = min(ROUND, stop - start)
        for peak in range(count):  # a loop for the processor's vectors, and one without a branch
            pieces[peak] = min((np.float64(mz[start + peak]) - low[0]) * scale, last)
        found = 0
        for peak in range(count):
            chosen[found] = peak
            found += first[pieces[peak]] >= 0
        for index in range(found):
            peak = start + chosen[index]
            value = np.float64(mz[peak])
            window = first[pieces[chosen[index]]]
            while high[window] < value:
                window += 1
            while window < low.size and low[window] <= value:
                amount = np.float64(intensity[peak])
                if np.isfinite(amount):
                    total[window] += amount
                    hits = _note(window, marks, hits)
                else:
                    left_out += 1
                window += 1
    return hits, left_out


@compiled
def _add_in_any_order(
    mz: NDArray[np.generic],
    intensity: NDArray[np.generic],
    low: Doubles,
    high: Doubles,
    total: Doubles,
    marks: Marks,
    hits: int,
) -> tuple[int, int]:
    """As `_add_ascending`, peak by peak."""
    left_out = 0
    for peak in range(mz.size):
        value = np.float64(mz[peak])
        window = int(np.searchsorted(high, value))  # first that does not end below; NaN: none
        while window < low.size and low[window] <= value:
            amount = np.float64(intensity[peak])
            if np.isfinite(amount):
                total[window] += amount
                hits = _note(window, marks, hits)
            else:
                left_out += 1
            window += 1
    return hits, left_out


@compiled
def sum_windows(
    spectra: Spectra,
    ascending: NDArray[np.bool_],
    begin: int,
    end: int,
    low: Doubles,
    high: Doubles,
    table: Places,
    images: NDArray[np.float32],
) -> int:
    """Add the peaks of spectra `begin` to `end` that lie in ``[low, high]`` to their pixels.

    `low` and `high` both ascend, `table` is that of `places`. Neighbouring spectra of one pixel are summed in float64 before
    they are rounded. Images of which a pixel holds no peak are not touched: with many windows that
    would be most of the time. Returns how many peaks were left out because they are not finite.
    """
    total = np.zeros(low.size, dtype=np.float64)
    marks = (np.empty(low.size, dtype=np.int64), np.zeros(low.size, dtype=np.bool_))
    # numba would compile each step twice: for a literal 0, and for any other number
    hits, left_out = int(np.int64(0)), 0
    for spectrum in range(begin, end):
        mz = _mz(spectra, spectrum)
        intensity = _intensity(spectra, spectrum)
        if ascending[spectrum] and table[0].size > 2 * mz.size:
            hits, skipped = _add_by_place(mz, intensity, low, high, total, marks, hits, table)
        elif ascending[spectrum]:
            hits, skipped = _add_ascending(mz, intensity, low, high, total, marks, hits)
        else:
            hits, skipped = _add_in_any_order(mz, intensity, low, high, total, marks, hits)
        left_out += skipped
        if spectrum + 1 == end or spectra.pixel[spectrum + 1] != spectra.pixel[spectrum]:
            at = spectra.pixel[spectrum]
            for place in range(hits):
                window = marks[0][place]
                images[window, at] += np.float32(total[window])
                total[window] = 0.0
                marks[1][window] = False
            hits = 0
    return left_out


@compiled
def sum_chosen(
    spectra: Spectra,
    begin: int,
    end: int,
    peaks: Longs,
    stops: Longs,
    images: NDArray[np.float32],
) -> int:
    """Like `sum_windows` where all spectra share one m/z axis.

    Window ``w`` is made of the values at ``peaks[stops[w]:stops[w + 1]]``.
    """
    windows = stops.size - 1
    total = np.zeros(windows, dtype=np.float64)
    left_out = 0
    for spectrum in range(begin, end):
        if spectra.length[spectrum] > 0:
            intensity = _intensity(spectra, spectrum)
            for window in range(windows):
                for index in range(stops[window], stops[window + 1]):
                    value = np.float64(intensity[peaks[index]])
                    if np.isfinite(value):
                        total[window] += value
                    else:
                        left_out += 1
        if spectrum + 1 == end or spectra.pixel[spectrum + 1] != spectra.pixel[spectrum]:
            at = spectra.pixel[spectrum]
            for window in range(windows):
                images[window, at] += np.float32(total[window])
                total[window] = 0.0
    return left_out


@compiled
def sum_all(
    spectra: Spectra,
    begin: int,
    end: int,
    image: Doubles,
) -> int:
    """Add every finite intensity of spectra `begin` to `end` to its pixel; return how many are not finite."""
    left_out = 0
    for spectrum in range(begin, end):
        intensity = _intensity(spectra, spectrum)
        total = 0.0
        for peak in range(intensity.size):
            value = np.float64(intensity[peak])
            if np.isfinite(value):
                total += value
            else:
                left_out += 1
        image[spectra.pixel[spectrum]] += total
    return left_out


@compiled
def note_nearest(
    spectra: Spectra,
    begin: int,
    end: int,
    wanted: Doubles,
    nearest: Doubles,
    present: Doubles,
) -> None:
    """Keep, for each of the ascending m/z `wanted`, the nearest peak of spectra `begin` to `end`.

    `nearest` takes any stored m/z, `present` those whose intensity is above 0; NaN before the first.
    """
    last = wanted.size - 1
    for spectrum in range(begin, end):
        mz = _mz(spectra, spectrum)
        intensity = _intensity(spectra, spectrum)
        for peak in range(mz.size):
            value = np.float64(mz[peak])
            if not np.isfinite(value):
                continue
            there = intensity[peak] > 0
            # every peak is offered to every m/z that it could be nearest to: those on either side,
            # and further ones for as long as it is nearer than what they have
            at = np.searchsorted(wanted, value)
            for step in (-1, 1):
                index = at - 1 if step < 0 else at
                while 0 <= index <= last:
                    gap = np.abs(value - wanted[index])
                    known = np.abs(nearest[index] - wanted[index])
                    # of two at one distance the lower; NaN gives way to anything
                    better = not known <= gap or (known == gap and value < nearest[index])
                    if better:
                        nearest[index] = value
                    known = np.abs(present[index] - wanted[index])
                    if there and (not known <= gap or (known == gap and value < present[index])):
                        present[index] = value
                        better = True
                    if not better:
                        break
                    index += step


@compiled
def add_to_bins(
    spectra: Spectra,
    begin: int,
    end: int,
    first: float,
    last: float,
    places: Doubles,
    amount: Doubles,
    moment: Doubles,
) -> int:
    """Add the peaks of spectra `begin` to `end` to bins (`msibench.io.imzml.strongest_peaks.Bins`).

    `places` are those of equally spaced values of ``log(mz)`` from `first` to `last`. Returns how many
    peaks were left out because they are not finite; those outside, and those that are not above 0,
    are ignored.
    """
    steps = places.size - 1
    scale = steps / (last - first)
    left_out = 0
    for spectrum in range(begin, end):
        mz = _mz(spectra, spectrum)
        intensity = _intensity(spectra, spectrum)
        for peak in range(mz.size):
            value, height = np.float64(mz[peak]), np.float64(intensity[peak])
            if not (np.isfinite(value) and np.isfinite(height)):
                left_out += 1
            elif value > 0 and height > 0:
                node = (np.log(value) - first) * scale
                if 0 <= node <= steps:
                    before = min(int(node), steps - 1)
                    place = places[before]
                    place += (node - before) * (places[before + 1] - place)
                    at = int(place)
                    amount[at] += height
                    moment[at] += height * (place - at - 0.5)
    return left_out


@compiled
def add_to_axis(
    spectra: Spectra,
    begin: int,
    end: int,
    total: Doubles,
) -> int:
    """Add spectra `begin` to `end`, which share one m/z axis, value by value; return what was left out."""
    left_out = 0
    for spectrum in range(begin, end):
        intensity = _intensity(spectra, spectrum)
        for peak in range(intensity.size):
            value = np.float64(intensity[peak])
            if np.isfinite(value):
                total[peak] += value
            else:
                left_out += 1
    return left_out
