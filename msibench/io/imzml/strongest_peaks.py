"""The most intense peaks of a section's mean spectrum, from one pass in bounded memory.

The spectra are summed on bins that are a fifth of the window's half-width wide (wider where the axis would need more than `MOST_BINS`). The strength of a place is the sum over
the closed window of ± ppm around it, which is the total of its ion image; a peak is a place that is

- a maximum of that strength, and
- stands out: on the way to anything stronger the strength falls to less than half of its own, so
  that the flanks and the noise on a profile peak, or a peak that jitters by more than the window,
  count once. What is further away than `REACH` windows is not looked at.

The m/z of a peak is the mean m/z of the signal in its window, weighted by intensity. Peaks are taken by
falling strength; one whose window overlaps that of a stronger one is left out.

Profile spectra may be sampled more coarsely than the window is wide. They are then searched with a
window of a little more than one sampling step to either side, and the m/z is that of the strongest sample in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_BINS = 1 << 22
"""The axis takes 32 MiB, and the search about four times as much."""
BINS_PER_WINDOW = 5
"""Bins in half a window."""
REACH = 50
"""Windows on either side within which a peak has to stand out."""
STANDS_OUT = 0.5
"""Share of its own strength that a peak has to rise above its surroundings."""
REGULAR = 0.1
"""Neighbouring steps of a profile differ by less than this share."""
FEWEST_SAMPLES = 32
"""Spectra of fewer values are taken for peaks."""
SAMPLING_GROUPS = 16
"""Parts of the m/z axis in each of which one median stands for the distance of samples."""
SEARCH_STEPS = 1.2
"""Sampling steps in half a window, at least: no window is without a sample."""
NODES = 1025
"""Points at which the place of an m/z among the bins is worked out; between them it is interpolated."""


@dataclass(frozen=True, slots=True, eq=False)
class Sampling:
    """How far neighbouring samples of profile spectra lie apart, over the m/z axis."""

    log_mz: NDArray[np.float64]
    """Ascending."""
    step: NDArray[np.float64]
    """Distance of samples there, in ``log(mz)``."""


@dataclass(frozen=True, slots=True, eq=False)
class StrongestPeaks:
    """Peaks of a mean spectrum, the strongest first."""

    mz: NDArray[np.float64]
    """In Da."""
    intensity: NDArray[np.float64]
    """Mean over all spectra of the sum in the window, in the unit of the file."""
    offered: int
    """How many peaks there are, taken or not."""


class Bins:
    """A spectrum on bins that are a fifth of a window's half-width wide, whatever the m/z.

    Parameters
    ----------
    low, high
        Smallest and largest m/z, in Da, both positive.
    ppm
        Half-width of the windows that will be asked for; positive.
    sampling
        How far neighbouring samples of profile spectra lie apart; None for peaks.

    Attributes
    ----------
    places
        Where `NODES` equally spaced values of ``log(mz)`` lie among the bins, ascending; between them
        lies a straight line.
    amount, moment
        Intensity in each bin, and intensity times the distance from the middle of the bin.
    """

    def __init__(self, low: float, high: float, ppm: float, sampling: Sampling | None) -> None:
        self.first, last = math.log(low), math.log(high) + 1e-9
        self.nodes = np.linspace(self.first, last, NODES)
        self.half_width = math.log1p(ppm * 1e-6)
        search = np.full(NODES, self.half_width)
        if sampling is not None:
            steps = np.interp(self.nodes, sampling.log_mz, sampling.step)
            search = np.maximum(search, SEARCH_STEPS * steps)
        windows = np.concatenate([[0.0], np.cumsum(np.diff(self.nodes) / search[1:])])
        self.per_window = min(float(BINS_PER_WINDOW), (MOST_BINS - 2) / max(windows[-1], 1e-9))
        self.places = windows * self.per_window + 0.5
        self.search = max(1, round(self.per_window))
        self.amount = np.zeros(int(self.places[-1]) + 2)
        self.moment = np.zeros(self.amount.size)

    def strongest(self, count: int, spectra: int) -> StrongestPeaks:
        """Return up to `count` peaks, by falling strength; equal ones by rising m/z."""
        from scipy.signal import find_peaks, peak_prominences

        search = self.search
        strength = _in_window(self.amount, search)
        padded = np.concatenate([[0.0], strength, [0.0]])
        places, _ = find_peaks(padded)
        reach = 2 * REACH * (2 * search + 1) + 1
        prominence = peak_prominences(padded, places, wlen=reach)[0]
        places = places[prominence >= STANDS_OUT * padded[places]] - 1
        order = places[np.lexsort((places, -strength[places]))]
        chosen = order[_apart(order, 2 * search + 1, strength.size)]
        taken = chosen[:count]
        return StrongestPeaks(
            self._centres(taken), strength[taken] / max(1, spectra), int(chosen.size)
        )

    def _centres(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the m/z of peaks: the mean of the signal in their windows.

        Where the search had to look further than the window, the window lies around the strongest bin.
        """
        steps = np.arange(-self.search, self.search + 1)
        near = np.interp(places + 0.5, self.places, self.nodes)
        width = np.interp(near + self.half_width, self.nodes, self.places) - (places + 0.5)
        half = np.clip(np.round(width), 0, self.search)
        narrow = half < self.search
        strongest = steps[np.argmax(_around(self.amount, places, steps), axis=1)]
        places = np.where(narrow, places + strongest, places)
        inside = np.abs(steps) <= half[:, None]
        amount = _around(self.amount, places, steps) * inside
        moment = _around(self.moment, places, steps) * inside
        offset = (moment + amount * steps).sum(1) / amount.sum(1)
        centre: NDArray[np.float64] = np.exp(
            np.interp(places + 0.5 + offset, self.places, self.nodes)
        )
        return centre


def strongest_of_axis(
    mz: NDArray[np.float64],
    total: NDArray[np.float64],
    count: int,
    spectra: int,
    ppm: float,
    sampling: Sampling | None,
) -> StrongestPeaks:
    """Return the strongest peaks of a spectrum on an m/z axis that all spectra share.

    Parameters
    ----------
    mz, total
        The axis in Da, in any order, and the sum over all spectra; values that are not finite or not
        above 0 are ignored.
    """
    usable = np.isfinite(mz) & (mz > 0) & np.isfinite(total) & (total > 0)
    if not usable.any():
        return StrongestPeaks(np.empty(0), np.empty(0), 0)
    mz, total = mz[usable], total[usable]
    bins = Bins(float(mz.min()), float(mz.max()), ppm, sampling)
    place = np.interp(np.log(mz), bins.nodes, bins.places)
    at = place.astype(np.int64)
    np.add.at(bins.amount, at, total)
    np.add.at(bins.moment, at, total * (place - at - 0.5))
    return bins.strongest(count, spectra)


def _in_window(values: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    """Return the sum over ``2 * half + 1`` bins around each bin.

    Sums of neighbours rather than differences of running totals, whose rounding would leave traces of
    strong peaks where there is nothing.
    """
    out = values.copy()
    for step in range(1, half + 1):
        out[step:] += values[:-step]
        out[:-step] += values[step:]
    return out


def _around(
    values: NDArray[np.float64], places: NDArray[np.int64], steps: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the values at `steps` from each place, ``(place, step)``; 0 beyond the ends."""
    index = places[:, None] + steps
    inside = (index >= 0) & (index < values.size)
    return np.where(inside, values[np.clip(index, 0, values.size - 1)], 0.0)


def _apart(order: NDArray[np.int64], distance: int, size: int) -> NDArray[np.int64]:
    """Return which of the places, the best first, are at least `distance` from every one before."""
    free = np.ones(size, dtype=np.bool_)
    taken = []
    for index, place in enumerate(order.tolist()):
        if free[place]:
            taken.append(index)
            free[max(0, place - distance + 1) : place + distance] = False
    return np.array(taken, dtype=np.int64)


def sampling_of(axes: Sequence[NDArray[np.float64]], *, profile: bool | None) -> Sampling | None:
    """Return how far neighbouring samples of profile spectra lie apart, None for peaks.

    Parameters
    ----------
    axes
        m/z of some spectra, ascending.
    profile
        What the file says; None when it says nothing: then spectra are profiles if most neighbouring
        steps differ by less than `REGULAR`, which distances of peaks do not.
    """
    if profile is False:
        return None
    places, steps = [], []
    for axis in axes:
        places_here = np.log(axis[axis > 0])
        gaps = np.diff(places_here)
        places_here, gaps = places_here[1:][gaps > 0], gaps[gaps > 0]
        if gaps.size < FEWEST_SAMPLES:
            continue
        if profile or np.median(np.abs(np.diff(np.log(gaps)))) < REGULAR:
            places.append(places_here)
            steps.append(gaps)
    if not places:
        return None
    place, step = np.concatenate(places), np.concatenate(steps)
    order = np.argsort(place, kind="stable")
    groups = np.array_split(order, SAMPLING_GROUPS)
    return Sampling(
        np.array([np.median(place[group]) for group in groups]),
        np.array([np.median(step[group]) for group in groups]),
    )
