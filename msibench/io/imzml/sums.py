"""Sums over all spectra of an imzML section, each made in one pass over its .ibd file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msibench.io.imzml.arrays import ArrayStore, Block, Work
from msibench.io.imzml.few_windows import PEAKS, WINDOWS, sum_few_chosen, sum_few_windows
from msibench.io.imzml.file import MappedFile
from msibench.io.imzml.grid import PixelGrid
from msibench.io.imzml.layout import Layout
from msibench.io.imzml.passes import Kernel, Survey, run_pass, survey_mz, works
from msibench.io.imzml.strongest_peaks import Bins
from msibench.io.mz_windows import MzWindows


class SpectrumSums:
    """What passes over the spectra of a section add up.

    Thread-safe; can be pickled (the other process maps the file again). Every method that returns a
    number of peaks returns how many were left out because they are not finite.

    Parameters
    ----------
    ibd, layout, grid
        The binary half, where its arrays lie, and the pixel of each spectrum.
    duplicates
        What holds where several spectra have one pixel.
    survey, remember
        What is known of all m/z from before, and what keeps it once it is.
    """

    def __init__(
        self,
        ibd: MappedFile,
        layout: Layout,
        grid: PixelGrid,
        *,
        duplicates: Literal["sum", "first", "last"] = "sum",
        survey: Survey | None = None,
        remember: Callable[[Survey], None] | None = None,
    ) -> None:
        self.store = ArrayStore(ibd, layout, grid.kept)
        self.layout, self.grid, self.duplicates = layout, grid, duplicates
        self.shared = layout.shared_axis()
        """Whether all spectra share one m/z axis."""
        self._known, self._remember = survey, remember
        self.threads: int | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self.layout.length.size)

    def __getstate__(self) -> dict[str, object]:
        state = self.__dict__.copy()
        del state["_lock"], state["_remember"]
        return state

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._remember, self._lock = None, threading.Lock()

    def axis(self) -> NDArray[np.float64]:
        """Return the m/z axis that all spectra share."""
        row = int(np.flatnonzero(self.layout.length)[0])
        with np.errstate(invalid="ignore"):  # damaged numbers may be signalling NaNs
            return self.store.array("mz", row).astype(np.float64)

    def survey(self) -> Survey:
        """Read all m/z once: whether they ascend, and between which values they lie."""
        with self._lock:
            if self._known is None and self.shared:
                axis = self.axis()
                axis = axis[np.isfinite(axis)]
                low, high = axis.min(initial=np.inf), axis.max(initial=-np.inf)
                self._known = Survey(np.zeros(1, np.bool_), np.array([low]), np.array([high]))
            elif self._known is None:
                self._known = survey_mz(self.store, len(self), self.threads)
                if self._remember is not None:
                    self._remember(self._known)
            return self._known

    def add_windows(self, windows: MzWindows, images: NDArray[np.float32]) -> int:
        """Add the peaks in each window to its image, ``(window, pixel)``."""
        return (
            self._on_axis(windows, images) if self.shared else self._per_spectrum(windows, images)
        )

    def add_values(
        self, peaks: NDArray[np.int64], stops: NDArray[np.int64], images: NDArray[np.float32]
    ) -> int:
        """Add, to image `i`, the values ``peaks[stops[i]:stops[i + 1]]`` of the shared axis."""
        if peaks.size == 0:
            return 0
        few = self._apart and stops.size - 1 <= WINDOWS and peaks.size <= PEAKS

        def add(_: Work, block: Block, begin: int, end: int) -> int:
            given = block.spectra, begin, end, peaks, stops, images
            left_out = sum_few_chosen(*given) if few else None
            if left_out is None:
                from msibench.io.imzml.kernels import sum_chosen

                left_out = sum_chosen(*given)
            return left_out

        return self._run(add, mz=False, threads=1 if few else None)  # NumPy has no use for more

    def add_all(self, image: NDArray[np.float64]) -> int:
        """Add all intensities to their pixel, ``(pixel,)``."""
        from msibench.io.imzml.kernels import sum_all

        def add(_: Work, block: Block, begin: int, end: int) -> int:
            return sum_all(block.spectra, begin, end, image)

        return self._run(add, mz=False)

    def add_to_axis(self, total: NDArray[np.float64]) -> int:
        """Add all spectra, value by value of the shared axis; on one thread, as `add_to_bins`."""
        from msibench.io.imzml.kernels import add_to_axis

        def add(_: Work, block: Block, begin: int, end: int) -> int:
            return add_to_axis(block.spectra, begin, end, total)

        return self._run(add, mz=False, threads=1)

    def add_to_bins(self, bins: Bins) -> int:
        """Add all spectra to bins; on one thread, because sums depend on their order."""
        from msibench.io.imzml.kernels import add_to_bins

        def add(_: Work, block: Block, begin: int, end: int) -> int:
            return add_to_bins(
                block.spectra,
                begin,
                end,
                bins.first,
                bins.nodes[-1],
                bins.places,
                bins.amount,
                bins.moment,
            )

        return self._run(add, threads=1)

    def nearest(self, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the peaks nearest to ascending m/z, ``(2, m/z)``: of all, and of those above 0."""
        from msibench.io.imzml.kernels import note_nearest

        found = np.full((2, wanted.size), np.nan)

        def note(_: Work, block: Block, begin: int, end: int) -> int:
            own = np.full((2, wanted.size), np.nan)
            note_nearest(block.spectra, begin, end, wanted, *own)
            with self._lock:
                gap, known = np.abs(own - wanted), np.abs(found - wanted)
                # of two at one distance the lower, whichever thread was first
                tie = (gap == known) & (own < found)
                np.copyto(found, own, where=np.isnan(found) | (gap < known) | tie)
            return 0

        self._run(note)
        return found

    @property
    def _apart(self) -> bool:
        """Whether each spectrum that counts has a pixel of its own."""
        return not self.grid.repeated or self.duplicates != "sum"

    def _run(self, kernel: Kernel, *, mz: bool = True, threads: int | None = None) -> int:
        pieces = works(self.store, self.grid, self.duplicates)
        return run_pass(self.store, pieces, kernel, mz=mz, threads=threads or self.threads)

    def _per_spectrum(self, windows: MzWindows, images: NDArray[np.float32]) -> int:
        low, high = windows.low, windows.high
        ascending = self.survey().ascending
        few = self._apart and low.size <= WINDOWS and bool(ascending.all())
        table = None if few else _table(low, high)

        def add(work: Work, block: Block, begin: int, end: int) -> int:
            if few:
                left_out = sum_few_windows(block.spectra, begin, end, low, high, images)
                if left_out is not None:
                    return left_out
            from msibench.io.imzml.kernels import sum_windows

            places = table or _table(low, high)
            rising = (ascending if work.rows is None else ascending[work.rows])[block.rows]
            return sum_windows(block.spectra, rising, begin, end, low, high, places, images)

        return self._run(add, threads=1 if few else None)  # NumPy has no use for more

    def _on_axis(self, windows: MzWindows, images: NDArray[np.float32]) -> int:
        axis = self.axis()
        inside = [
            np.flatnonzero((axis >= low) & (axis <= high))
            for low, high in zip(windows.low, windows.high, strict=True)
        ]
        stops = np.cumsum([0, *map(len, inside)]).astype(np.int64)
        return self.add_values(np.concatenate(inside).astype(np.int64), stops, images)


def _table(low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[NDArray[np.int32], float]:
    from msibench.io.imzml.kernels import places

    return places(low, high)
