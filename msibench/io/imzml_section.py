"""A section measured by imaging mass spectrometry, read from an imzML pair."""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.errors import ConfigurationError, DataError
from msibench.image import MSImage
from msibench.io.data_warning import warn_about_data
from msibench.io.imzml_file import MappedFile
from msibench.io.imzml_grid import PixelGrid
from msibench.io.imzml_header import ArrayEncoding, Header, polarity_of, spectrum_mode_of
from msibench.io.imzml_layout import ArrayColumn, Layout
from msibench.io.mz_windows import MzWindows, mz_windows

BLOCK = 64 << 20
"""Bytes of the .ibd file that one step of a pass reads, so that memory stays bounded."""
ALONE = 4 << 20
"""Passes over fewer bytes than this run in the calling thread."""


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """Spectra that share their number types, in an order in which pixels do not come back."""

    mz: ArrayEncoding
    intensity: ArrayEncoding
    rows: NDArray[np.intp] | None
    pixel: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Arrays of consecutive spectra of a `_Work`, where the kernels can read them."""

    rows: slice
    mz_data: NDArray[np.uint8]
    mz_offset: NDArray[np.int64]
    intensity_data: NDArray[np.uint8]
    intensity_offset: NDArray[np.int64]
    length: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Survey:
    ascending: NDArray[np.bool_]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]


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
        duplicates: Literal["sum", "first", "last"],
        notes: tuple[str, ...] = (),
        remember: Callable[[_Survey], None] | None = None,
        survey: _Survey | None = None,
        threads: int | None = None,
    ) -> None:
        self.path, self.ibd = path, ibd.path
        self.header = header
        self.notes = notes
        self.shape = grid.shape
        self.origin = grid.origin
        self.z = grid.z
        self._layout, self._grid, self._duplicates = layout, grid, duplicates
        self._file: MappedFile | None = ibd
        self._size, self._modified = ibd.size, ibd.modified
        self._terms = terms
        self._known = survey
        self._remember = remember
        self._threads = threads
        self._lock = threading.Lock()
        self._shared = layout.shared_axis()

    def __len__(self) -> int:
        return int(self._layout.length.size)

    def __repr__(self) -> str:
        rows, columns = self.shape
        return (
            f"<ImzMLSection {self.path.name}: {len(self)} spectra, {rows} x {columns} pixels, "
            f"{self.mode}>"
        )

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_file", "_lock", "_remember"):
            state.pop(name)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._file, self._remember, self._lock = None, None, threading.Lock()

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
        return self._size, self._modified

    def layout_digest(self) -> str:
        """Return a digest of which bytes go to which pixel, and how repeated pixels are treated."""
        digest = hashlib.sha256(f"{self.shape} {self._duplicates} {self.pixel_size_um}".encode())
        layout = self._layout
        for array in (self._grid.pixel, layout.length, layout.mz.offset, layout.intensity.offset):
            digest.update(np.ascontiguousarray(array))
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
        data = self._mapped().data
        mz = self._array(data, "mz", row)
        return mz, self._array(data, "intensity", row)

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
        from msibench.io.imzml_kernels import sum_all

        image = np.zeros(self.shape[0] * self.shape[1], dtype=np.float64)

        def run(work: _Work, block: _Block, begin: int, end: int) -> int:
            kind = np.empty(0, work.intensity.dtype)
            pixel = work.pixel[block.rows]
            return sum_all(
                block.intensity_data, kind, block.intensity_offset, block.length, pixel, begin, end, image
            )  # fmt: skip

        self._warn_left_out(self._pass(run, needs_mz=False))
        return image.reshape(self.shape)

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

    # --- passes over the file -------------------------------------------------------------------

    def _pass_over_windows(self, windows: MzWindows, images: NDArray[np.float32]) -> int:
        from msibench.io.imzml_kernels import sum_windows

        ascending = self._survey().ascending

        def run(work: _Work, block: _Block, begin: int, end: int) -> int:
            mz, intensity = np.empty(0, work.mz.dtype), np.empty(0, work.intensity.dtype)
            rising = ascending if work.rows is None else ascending[work.rows]
            return sum_windows(
                block.mz_data, block.intensity_data, mz, intensity, block.mz_offset,
                block.intensity_offset, block.length, rising[block.rows], work.pixel[block.rows],
                begin, end, windows.low, windows.high, images,
            )  # fmt: skip

        return self._pass(run)

    def _pass_over_chosen(
        self, chosen: tuple[NDArray[np.int64], NDArray[np.int64]], images: NDArray[np.float32]
    ) -> int:
        from msibench.io.imzml_kernels import sum_chosen

        peaks, stops = chosen
        if peaks.size == 0:
            return 0

        def run(work: _Work, block: _Block, begin: int, end: int) -> int:
            kind = np.empty(0, work.intensity.dtype)
            return sum_chosen(
                block.intensity_data, kind, block.intensity_offset, block.length,
                work.pixel[block.rows], begin, end, peaks, stops, images,
            )  # fmt: skip

        return self._pass(run, needs_mz=False)

    def _chosen(self, windows: MzWindows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        axis = self._shared_axis()
        inside = [
            np.flatnonzero((axis >= low) & (axis <= high))
            for low, high in zip(windows.low, windows.high, strict=True)
        ]
        stops = np.cumsum([0, *map(len, inside)]).astype(np.int64)
        return np.concatenate(inside).astype(np.int64), stops

    def _shared_axis(self) -> NDArray[np.float64]:
        row = int(np.flatnonzero(self._layout.length)[0])
        return self._array(self._mapped().data, "mz", row).astype(np.float64)

    def _survey(self) -> _Survey:
        """Read all m/z once: do they ascend, and between which values do they lie?"""
        with self._lock:
            if self._known is None:
                self._known = self._look_at_mz()
                if self._remember is not None:
                    self._remember(self._known)
            return self._known

    def _look_at_mz(self) -> _Survey:
        count = len(self)
        survey = _Survey(np.ones(count, np.bool_), np.empty(count), np.empty(count))
        if self._shared:
            axis = self._shared_axis()
            finite = axis[np.isfinite(axis)]
            survey.ascending[:] = False
            survey.lowest[:] = finite.min(initial=np.inf)
            survey.highest[:] = finite.max(initial=-np.inf)
            return survey
        from msibench.io.imzml_kernels import survey as look

        for mz, intensity, rows in self._layout.groups():
            work = _Work(
                mz, intensity, rows, self._grid.pixel if rows is None else self._grid.pixel[rows]
            )
            size = count if rows is None else rows.size
            found = _Survey(np.ones(size, np.bool_), np.empty(size), np.empty(size))

            def run(
                work: _Work, block: _Block, begin: int, end: int, found: _Survey = found
            ) -> int:
                part = (
                    found.ascending[block.rows],
                    found.lowest[block.rows],
                    found.highest[block.rows],
                )
                kind = np.empty(0, work.mz.dtype)
                look(block.mz_data, kind, block.mz_offset, block.length, begin, end, *part)
                return 0

            self._run(work, run, needs_intensity=False)
            where = slice(None) if rows is None else rows
            survey.ascending[where] = found.ascending
            survey.lowest[where], survey.highest[where] = found.lowest, found.highest
        return survey

    def _pass(self, run: Callable[[_Work, _Block, int, int], int], *, needs_mz: bool = True) -> int:
        return sum(self._run(work, run, needs_mz=needs_mz) for work in self._works())

    def _works(self) -> Iterator[_Work]:
        """Yield all spectra that count, those of one pixel side by side."""
        pixel = self._grid.pixel
        keep: NDArray[np.intp] | None = None
        if self._grid.repeated:
            keep = np.argsort(pixel, kind="stable")
            if self._duplicates != "sum":
                ordered = pixel[keep]
                change = np.flatnonzero(np.diff(ordered)) + 1
                last = np.concatenate([change, [ordered.size]]) - 1
                first = np.concatenate([[0], change])
                keep = keep[first if self._duplicates == "first" else last]
        for mz, intensity, rows in self._layout.groups():
            if keep is not None:
                rows = keep if rows is None else keep[np.isin(keep, rows)]
            yield _Work(mz, intensity, rows, pixel if rows is None else pixel[rows])

    def _run(
        self,
        work: _Work,
        run: Callable[[_Work, _Block, int, int], int],
        *,
        needs_mz: bool = True,
        needs_intensity: bool = True,
    ) -> int:
        """Run a kernel over the blocks of a work, several threads a block."""
        file = self._mapped()
        file.check_unchanged()
        threads = self._threads or min(
            8,
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1,
        )
        total = 0
        with ThreadPoolExecutor(threads) as pool:
            for block in self._blocks(work, file.data, needs_mz, needs_intensity):
                size = block.length.size
                bytes_read = int(block.length.sum()) * 8
                if threads == 1 or bytes_read < ALONE:
                    total += run(work, block, 0, size)
                else:
                    cuts = _cuts(work.pixel[block.rows], threads)
                    parts = [
                        pool.submit(run, work, block, begin, end)
                        for begin, end in zip(cuts[:-1], cuts[1:], strict=True)
                    ]
                    total += sum(part.result() for part in parts)
                file.release()
        return total

    def _blocks(
        self, work: _Work, data: NDArray[np.uint8], needs_mz: bool, needs_intensity: bool
    ) -> Iterator[_Block]:
        layout = self._layout
        where = slice(None) if work.rows is None else work.rows
        length = layout.length[where]
        inflated = length * (
            np.dtype(work.mz.dtype).itemsize + np.dtype(work.intensity.dtype).itemsize
        )
        stops = np.cumsum(inflated)
        begin = 0
        while begin < length.size:
            before = int(stops[begin - 1]) if begin else 0
            end = max(begin + 1, int(np.searchsorted(stops, before + BLOCK, side="right")))
            while end < length.size and work.pixel[end] == work.pixel[end - 1]:
                end += 1
            rows = slice(begin, end)
            chosen = np.arange(begin, end) if work.rows is None else work.rows[rows]
            mz_data, mz_offset = self._place(data, layout.mz, work.mz, chosen, rows, work, needs_mz)
            intensity_data, intensity_offset = self._place(
                data, layout.intensity, work.intensity, chosen, rows, work, needs_intensity
            )
            yield _Block(rows, mz_data, mz_offset, intensity_data, intensity_offset, length[rows])
            begin = end

    def _place(
        self,
        data: NDArray[np.uint8],
        column: ArrayColumn,
        encoding: ArrayEncoding,
        chosen: NDArray[np.intp],
        rows: slice,
        work: _Work,
        needed: bool,
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return where the kernels find the arrays: in the file, or inflated in memory."""
        if encoding.compression == "none" or not needed:
            return data, column.offset[rows] if work.rows is None else column.offset[chosen]
        pieces = [self._inflate(data, column, encoding, int(row)) for row in chosen]
        offset = np.cumsum([0, *map(len, pieces)])[:-1].astype(np.int64)
        return np.frombuffer(b"".join(pieces), dtype=np.uint8), offset

    def _inflate(
        self, data: NDArray[np.uint8], column: ArrayColumn, encoding: ArrayEncoding, row: int
    ) -> bytes:
        wanted = int(self._layout.length[row]) * np.dtype(encoding.dtype).itemsize
        if wanted == 0:
            return b""
        start = int(column.offset[row])
        try:
            found = zlib.decompressobj().decompress(
                data[start : start + int(column.stored[row])].tobytes(), wanted + 1
            )
        except zlib.error as error:
            raise DataError(
                f"{self.ibd.name}, spectrum {self._file_row(row)}: the zlib-compressed {encoding.kind} array is "
                f"damaged ({error}); copy or export the file again."
            ) from error
        if len(found) != wanted:
            raise DataError(
                f"{self.ibd.name}, spectrum {self._file_row(row)}: the compressed {encoding.kind} array holds "
                f"{'more' if len(found) > wanted else len(found)} bytes where {wanted} are declared; "
                "export the file again."
            )
        return found

    def _file_row(self, row: int) -> int:
        return row if self._grid.kept is None else int(self._grid.kept[row])

    def _array(
        self, data: NDArray[np.uint8], kind: Literal["mz", "intensity"], row: int
    ) -> NDArray[Any]:
        column = self._layout.mz if kind == "mz" else self._layout.intensity
        encoding = column.encodings[int(column.encoding[row])]
        if encoding.compression == "zlib":
            raw = self._inflate(data, column, encoding, row)
        else:
            start = int(column.offset[row])
            raw = data[start : start + int(column.stored[row])].tobytes()
        return np.frombuffer(raw, dtype=encoding.dtype).copy()

    def _mapped(self) -> MappedFile:
        file = self._file
        if file is None:
            with self._lock:
                if self._file is None:
                    file = MappedFile.open(self.ibd)
                    if (file.size, file.modified) != (self._size, self._modified):
                        raise DataError(
                            f"{self.ibd.name} changed since this section was opened; open it again."
                        )
                    self._file = file
                file = self._file
        return file


def _cuts(pixel: NDArray[np.int64], parts: int) -> list[int]:
    """Split spectra into parts of about one size without parting those of one pixel."""
    cuts = [0]
    for part in range(1, parts):
        cut = max(cuts[-1], pixel.size * part // parts)
        while 0 < cut < pixel.size and pixel[cut] == pixel[cut - 1]:
            cut += 1
        cuts.append(cut)
    cuts.append(pixel.size)
    return cuts
