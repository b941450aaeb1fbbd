"""A section measured by imaging mass spectrometry, read from an imzML pair."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.errors import ConfigurationError
from msibench.image import MSImage
from msibench.io.data_warning import warn_about_data
from msibench.io.imzml.arrays import ArrayStore, Block, Work
from msibench.io.imzml.file import MappedFile
from msibench.io.imzml.grid import PixelGrid
from msibench.io.imzml.header import Header, polarity_of, spectrum_mode_of
from msibench.io.imzml.layout import Layout
from msibench.io.imzml.passes import Kernel, Survey, run_pass, survey_mz, works
from msibench.io.imzml.strongest_peaks import (
    Bins,
    Sampling,
    StrongestPeaks,
    sampling_of,
    strongest_of_axis,
)
from msibench.io.mz_windows import MzWindows, mz_windows


class ImzMLSection:
    """Spectra of one section and the ion images made of them.

    Made by `open_imzml`. Reading is thread-safe, and the object can be pickled (the other process
    maps the files again). Spectra are counted from 0 in the order of the file; with a slice ``z``
    chosen, only those of the slice are counted.

    Attributes
    ----------
    path, ibd
        The two halves.
    shape
        ``(row, column)`` of the images: the smallest rectangle around all coordinates.
    origin
        Coordinates ``(y, x)`` of pixel (0, 0), as the file counts.
    pixel_size_um
        Edge length of a pixel in µm; NaN when the file does not say, or pixels are not square
        (then `pixel_size_xy_um` has both).
    uuid
        Lower case with dashes; None when the file has none.
    notes
        Oddities of the file that were read right, in words.
    """

    def __init__(
        self,
        path: Path,
        ibd: MappedFile,
        header: Header,
        layout: Layout,
        grid: PixelGrid,
        *,
        terms: set[str],
        duplicates: Literal["sum", "first", "last"] = "sum",
        remember: Callable[[Survey], None] | None = None,
        survey: Survey | None = None,
        threads: int | None = None,
    ) -> None:
        self.path, self.ibd = path, ibd.path
        self.header = header
        self.notes: tuple[str, ...] = ()
        self.shape, self.origin, self.z = grid.shape, grid.origin, grid.z
        self._store = ArrayStore(ibd, layout, grid.kept)
        self._layout, self._grid, self._duplicates = layout, grid, duplicates
        self._terms = terms
        self._known, self._remember = survey, remember
        self._threads = threads
        self._lock = threading.Lock()
        self._shared = layout.shared_axis()

    def __len__(self) -> int:
        return int(self._layout.length.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the .ibd file; it is mapped again when it is needed again."""
        self._store.close()

    def __repr__(self) -> str:
        rows, columns = self.shape
        return (
            f"<ImzMLSection {self.path.name}: {len(self)} spectra, {rows} x {columns} pixels, "
            f"{self.mode}>"
        )

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_lock"], state["_remember"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._remember, self._lock = None, threading.Lock()

    @property
    def mode(self) -> Literal["continuous", "processed"]:
        """Whether all spectra share one m/z array, as stored; not what the header calls it."""
        if np.count_nonzero(self._layout.length) > 1:
            return "continuous" if self._shared else "processed"
        return self.header.declared_mode or ("continuous" if self._shared else "processed")

    @property
    def polarity(self) -> Literal["positive", "negative", "mixed"] | None:
        """Polarity of the measurement; None when the file does not say."""
        return polarity_of(self._terms)

    @property
    def spectrum_mode(self) -> Literal["centroid", "profile"] | None:
        """``"centroid"`` or ``"profile"``; None when the file says neither, or both."""
        return spectrum_mode_of(self._terms)

    @property
    def pixel_size_xy_um(self) -> tuple[float, float]:
        """Edge lengths of a pixel ``(x, y)`` in µm; NaN where the file does not say."""
        return self.header.pixel_size_um()

    @property
    def pixel_size_um(self) -> float:
        """Edge length of a square pixel in µm, or NaN."""
        x, y = self.pixel_size_xy_um
        if np.isnan(x) or np.isnan(y):
            return y if np.isnan(x) else x
        return x if abs(x - y) <= 1e-6 * max(x, y) else float("nan")

    @property
    def uuid(self) -> str | None:
        """Universally unique identifier, ``"554a27fa-79d2-4766-9a2c-862e6d78b1f3"``."""
        return None if self.header.uuid is None else str(self.header.uuid)

    @property
    def axis_length(self) -> int:
        """How many values the m/z axis has that all spectra share; 0 when they share none."""
        return int(self._layout.length.max(initial=0)) if self._shared else 0

    @property
    def file_identity(self) -> tuple[int, int]:
        """Size in bytes and time of change (ns) of the .ibd file as it was opened."""
        return self._store.size, self._store.modified

    def layout_digest(self) -> str:
        """Return a digest of which bytes go to which pixel, and how repeated pixels are treated."""
        digest = hashlib.sha256(f"{self.shape} {self._duplicates} {self.pixel_size_um}".encode())
        layout = self._layout
        for array in (self._grid.pixel, layout.length, layout.mz.offset, layout.intensity.offset):
            digest.update(array.tobytes())
        digest.update(repr((layout.mz.encodings, layout.intensity.encodings)).encode())
        return digest.hexdigest()

    @property
    def coordinates(self) -> NDArray[np.int64]:
        """Position of each spectrum as the file counts, ``(spectrum, 2)``: x, y."""
        row, column = np.divmod(self._grid.pixel, self.shape[1])
        return np.stack([column + self.origin[1], row + self.origin[0]], axis=1)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """``(row, column)`` of each spectrum in the images, ``(spectrum, 2)``."""
        return np.stack(np.divmod(self._grid.pixel, self.shape[1]), axis=1)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which pixels have a spectrum, ``(row, column)``."""
        mask = np.zeros(self.shape, dtype=np.bool_)
        mask.reshape(-1)[self._grid.pixel] = True
        return mask

    @property
    def mz_range(self) -> tuple[float, float]:
        """Smallest and largest finite m/z in the file, in Da; NaN when there are no peaks.

        The first use reads all m/z arrays once.
        """
        survey = self._survey()
        low, high = float(survey.lowest.min()), float(survey.highest.max())
        return (low, high) if low <= high else (float("nan"), float("nan"))

    def spectrum(self, i: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return m/z and intensities of spectrum `i`, in the types in which they are stored.

        Raises
        ------
        IndexError
            There is no such spectrum.
        DataError
            Its compressed data are damaged.
        """
        count = len(self)
        if not -count <= i < count:
            raise IndexError(f"{self.path.name} has {count} spectra, 0 to {count - 1}; got {i}")
        row = i % count
        return self._store.array("mz", row), self._store.array("intensity", row)

    def ion_images(self, mz: ArrayLike, ppm: float = 5.0) -> MSImage:
        """Return one image per m/z, made in one pass over the file.

        Parameters
        ----------
        mz
            Centres in Da; one or several, in any order, windows may overlap.
        ppm
            Half-width of the closed window: peaks with ``|m - mz| <= ppm * 1e-6 * mz`` in float64.

        Returns
        -------
        Sums of the peaks in each window, ``(channel, row, column)``: added in float64, rounded to
        float32 once, in the order in which the m/z were given. 0 where a pixel has no peak in the
        window; `mask` tells which pixels have a spectrum. Peaks that are not finite are left out,
        with a DataWarning.
        """
        windows = mz_windows(mz, ppm)
        rows, columns = self.shape
        images = np.zeros((windows.mz.size, rows * columns), dtype=np.float32)
        left_out = (
            self._pass_over_chosen(self._chosen(windows), images)
            if self._shared
            else self._pass_over_windows(windows, images)
        )
        ordered = np.empty_like(images)
        ordered[windows.order] = images
        return self._image(ordered, windows.mz, windows.ppm, left_out)

    def channel_images(self) -> MSImage:
        """Return one image per value of the m/z axis that all spectra share, unsummed.

        Raises
        ------
        ConfigurationError
            The spectra do not share one axis.
        """
        if not self._shared:
            raise ConfigurationError(
                f"{self.path.name}: its spectra have m/z axes of their own, so that there is no "
                "image per stored m/z; choose m/z values with ion_images(mz, ppm=...), on the "
                "command line --mz 798.54,741.53 --ppm 5."
            )
        axis = self._shared_axis()
        images = np.zeros((axis.size, self.shape[0] * self.shape[1]), dtype=np.float32)
        stops = np.arange(axis.size + 1, dtype=np.int64)
        left_out = self._pass_over_chosen((stops[:-1], stops), images)
        return self._image(images, axis, None, left_out)

    def tic(self) -> NDArray[np.float64]:
        """Return the sum of all intensities of each pixel, ``(row, column)``; 0 without a spectrum."""
        from msibench.io.imzml.kernels import sum_all

        image = np.zeros(self.shape[0] * self.shape[1], dtype=np.float64)

        def add(_: Work, block: Block, begin: int, end: int) -> int:
            return sum_all(
                block.intensity_data,
                block.intensity_kind,
                block.intensity_offset,
                block.length,
                block.pixel,
                begin,
                end,
                image,
            )

        self._warn_left_out(self._pass(add, mz=False))
        return image.reshape(self.shape)

    def nearest_peaks(self, mz: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the peaks of the whole file that lie nearest to each m/z.

        Returns
        -------
        Per m/z, in the order asked for: the nearest stored m/z, and the nearest whose intensity is
        above 0; NaN where the file has none.
        """
        from msibench.io.imzml.kernels import note_nearest

        wanted = mz_windows(mz, 0.0)
        middle = wanted.mz[wanted.order]
        found = np.full((2, middle.size), np.nan)

        def note(_: Work, block: Block, begin: int, end: int) -> int:
            own = np.full((2, middle.size), np.nan)
            note_nearest(
                block.mz_data,
                block.intensity_data,
                block.mz_kind,
                block.intensity_kind,
                block.mz_offset,
                block.intensity_offset,
                block.length,
                begin,
                end,
                middle,
                *own,
            )
            with self._lock:
                gap, known = np.abs(own - middle), np.abs(found - middle)
                # of two at one distance the lower, whichever thread was first
                tie = (gap == known) & (own < found)
                np.copyto(found, own, where=np.isnan(found) | (gap < known) | tie)
            return 0

        self._pass(note)
        ordered = np.empty_like(found)
        ordered[:, wanted.order] = found
        return ordered[0], ordered[1]

    def strongest_peaks(self, count: int, ppm: float = 5.0) -> StrongestPeaks:
        """Return the `count` most intense peaks of the mean spectrum, from one pass over the file.

        How peaks are told from flanks and noise: `msibench.io.imzml.strongest_peaks`.

        Parameters
        ----------
        count
            How many; fewer come where the spectrum has no more.
        ppm
            Half-width of the windows of the ion images that they are for; positive.

        Raises
        ------
        ConfigurationError
            `count` is below 1 or `ppm` not positive.
        """
        if count < 1 or not 0 < ppm < 1e5:
            raise ConfigurationError(
                f"expected at least one peak and 0 < ppm < 100,000, got {count} peaks, ppm {ppm:g}"
            )
        step = self._sampling()
        if self._shared:
            axis, total = self._summed_axis()
            return strongest_of_axis(axis, total, count, len(self), ppm, step)
        low, high = self.mz_range
        if not 0 < high < np.inf:
            return StrongestPeaks(np.empty(0), np.empty(0), 0)
        bins = Bins(low if low > 0 else min(1.0, high), high, ppm, step)
        self._pass_over_bins(bins)
        return bins.strongest(count, len(self))

    def _sampling(self) -> Sampling | None:
        """Return how densely the spectra are sampled where they are profiles; from a few of them."""
        rows = np.flatnonzero(self._layout.length)
        some = rows[np.linspace(0, rows.size - 1, 9).astype(np.int64)] if rows.size else rows
        said = {"profile": True, "centroid": False}.get(self.spectrum_mode or "")
        axes = [self._store.array("mz", int(row)).astype(np.float64) for row in some]
        return sampling_of([axis[np.isfinite(axis)] for axis in axes], profile=said)

    def _summed_axis(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the shared m/z axis, and the sum of all spectra on it."""
        from msibench.io.imzml.kernels import add_to_axis

        axis = self._shared_axis()
        total = np.zeros(axis.size)

        def add(_: Work, block: Block, begin: int, end: int) -> int:
            return add_to_axis(
                block.intensity_data,
                block.intensity_kind,
                block.intensity_offset,
                block.length,
                begin,
                end,
                total,
            )

        self._warn_left_out(self._pass(add, mz=False, threads=1))
        return axis, total

    def _pass_over_bins(self, bins: Bins) -> None:
        """Sum all spectra into bins; on one thread, for the sums of several would depend on them."""
        from msibench.io.imzml.kernels import add_to_bins

        def add(_: Work, block: Block, begin: int, end: int) -> int:
            return add_to_bins(
                block.mz_data,
                block.intensity_data,
                block.mz_kind,
                block.intensity_kind,
                block.mz_offset,
                block.intensity_offset,
                block.length,
                begin,
                end,
                bins.first,
                bins.nodes[-1],
                bins.places,
                bins.amount,
                bins.moment,
            )

        self._warn_left_out(self._pass(add, threads=1))

    def _image(
        self, images: NDArray[np.float32], mz: NDArray[np.float64], ppm: float | None, left_out: int
    ) -> MSImage:
        self._warn_left_out(left_out)
        if not np.isfinite(images.max(initial=0.0)):
            warn_about_data(
                f"{self.path.name}: some sums exceed the largest float32 number and became infinite"
            )
        return MSImage(
            images.reshape(mz.size, *self.shape),
            mz,
            pixel_size_um=self.pixel_size_um,
            mask=self.mask,
            ppm=ppm,
        )

    def _warn_left_out(self, count: int) -> None:
        if count:
            warn_about_data(
                f"{self.path.name}: {count} peaks whose intensity is NaN or infinite were left out"
            )

    def _pass(self, kernel: Kernel, *, mz: bool = True, threads: int | None = None) -> int:
        pieces = works(self._store, self._grid, self._duplicates)
        return run_pass(self._store, pieces, kernel, mz=mz, threads=threads or self._threads)

    def _pass_over_windows(self, windows: MzWindows, images: NDArray[np.float32]) -> int:
        from msibench.io.imzml.kernels import sum_windows

        ascending = self._survey().ascending

        def add(work: Work, block: Block, begin: int, end: int) -> int:
            rising = ascending if work.rows is None else ascending[work.rows]
            return sum_windows(
                block.mz_data,
                block.intensity_data,
                block.mz_kind,
                block.intensity_kind,
                block.mz_offset,
                block.intensity_offset,
                block.length,
                rising[block.rows],
                block.pixel,
                begin,
                end,
                windows.low,
                windows.high,
                images,
            )

        return self._pass(add)

    def _pass_over_chosen(
        self, chosen: tuple[NDArray[np.int64], NDArray[np.int64]], images: NDArray[np.float32]
    ) -> int:
        from msibench.io.imzml.kernels import sum_chosen

        peaks, stops = chosen
        if peaks.size == 0:
            return 0

        def add(_: Work, block: Block, begin: int, end: int) -> int:
            return sum_chosen(
                block.intensity_data,
                block.intensity_kind,
                block.intensity_offset,
                block.length,
                block.pixel,
                begin,
                end,
                peaks,
                stops,
                images,
            )

        return self._pass(add, mz=False)

    def _chosen(self, windows: MzWindows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which values of the shared axis lie in each window, and where each window ends."""
        axis = self._shared_axis()
        inside = [
            np.flatnonzero((axis >= low) & (axis <= high))
            for low, high in zip(windows.low, windows.high, strict=True)
        ]
        stops = np.cumsum([0, *map(len, inside)]).astype(np.int64)
        return np.concatenate(inside).astype(np.int64), stops

    def _shared_axis(self) -> NDArray[np.float64]:
        row = int(np.flatnonzero(self._layout.length)[0])
        with np.errstate(invalid="ignore"):  # damaged numbers may be signalling NaNs
            return self._store.array("mz", row).astype(np.float64)

    def _survey(self) -> Survey:
        """Read all m/z once: whether they ascend, and between which values they lie."""
        with self._lock:
            if self._known is None and self._shared:
                axis = self._shared_axis()
                axis = axis[np.isfinite(axis)]
                low, high = axis.min(initial=np.inf), axis.max(initial=-np.inf)
                self._known = Survey(np.zeros(1, np.bool_), np.array([low]), np.array([high]))
            elif self._known is None:
                self._known = survey_mz(self._store, len(self), self._threads)
                if self._remember is not None:
                    self._remember(self._known)
            return self._known
