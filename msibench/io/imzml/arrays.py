"""The arrays of an .ibd file: one by one, or in blocks that the compiled kernels can read."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msibench.errors import DataError
from msibench.io.imzml.file import MappedFile
from msibench.io.imzml.header import ArrayEncoding
from msibench.io.imzml.layout import ArrayColumn, Layout
from msibench.io.imzml.read_ahead import ReadAhead, spans

BLOCK = 12 << 20
"""Bytes of arrays that one step of a pass reads, so that memory stays bounded."""


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Spectra that share their number types, ordered so that each pixel is visited once."""

    mz: ArrayEncoding
    intensity: ArrayEncoding
    rows: NDArray[np.intp] | None
    """Which spectra; None: all of them."""
    pixel: NDArray[np.int64]


class Spectra(NamedTuple):
    """Consecutive spectra where the compiled kernels find them; numba takes named tuples."""

    pixel: NDArray[np.int64]
    length: NDArray[np.int64]
    mz_data: NDArray[np.uint8]
    """The mapped file, or arrays inflated in memory."""
    mz_offset: NDArray[np.int64]
    mz_kind: NDArray[np.generic]
    """Empty array of the number type."""
    intensity_data: NDArray[np.uint8]
    intensity_offset: NDArray[np.int64]
    intensity_kind: NDArray[np.generic]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Part of a `Work` that is read in one step."""

    rows: slice
    """Which spectra of the work."""
    spectra: Spectra


class ArrayStore:
    """All arrays of one pair; maps the .ibd file when it is first needed, and after unpickling."""

    def __init__(self, file: MappedFile, layout: Layout, kept: NDArray[np.int64] | None) -> None:
        self.ibd, self.size, self.modified = file.path, file.size, file.modified
        self.layout = layout
        self._kept = kept
        self._file: MappedFile | None = file
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, object]:
        state = self.__dict__.copy()
        del state["_file"], state["_lock"]
        return state

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._file, self._lock = None, threading.Lock()

    def close(self) -> None:
        """Close the mapped file."""
        with self._lock:
            self._file = None

    def file(self) -> MappedFile:
        """Return the mapped .ibd file.

        Raises
        ------
        DataError
            It has changed since it was opened.
        """
        with self._lock:
            if self._file is None:
                file = MappedFile.open(self.ibd)
                if (file.size, file.modified) != (self.size, self.modified):
                    raise DataError(
                        f"{self.ibd.name} changed since this section was opened; open it again."
                    )
                self._file = file
            self._file.check_unchanged()
            return self._file

    def array(self, kind: Literal["mz", "intensity"], row: int) -> NDArray[np.number]:
        """Return a copy of one array, in the type in which it is stored."""
        column = self.layout.mz if kind == "mz" else self.layout.intensity
        encoding = column.encodings[int(column.encoding[row])]
        raw = self._raw(self.file().data, column, encoding, row)
        return np.frombuffer(raw, dtype=encoding.dtype).copy()

    def blocks(self, work: Work, *, mz: bool = True, intensity: bool = True) -> Iterator[Block]:
        """Yield a work in blocks of bounded size; arrays that are not needed are not inflated.

        Spectra of one pixel stay together.
        """
        layout, data = self.layout, self.file().data
        length = layout.length if work.rows is None else layout.length[work.rows]
        parts = self._cut(work, length)
        chosen = [rows if work.rows is None else work.rows[rows] for rows in parts]
        needed = [column for column, use in ((layout.mz, mz), (layout.intensity, intensity)) if use]
        with ReadAhead(self.ibd) as disk:
            for number, rows in enumerate(parts):
                if number == 0:
                    disk.begin(spans(needed, chosen[0]))
                disk.wait()
                if number + 1 < len(parts):
                    disk.begin(spans(needed, chosen[number + 1]))
                here = chosen[number]
                spectra = Spectra(
                    work.pixel[rows],
                    length[rows],
                    *self._place(data, layout.mz, work.mz, here, mz),
                    *self._place(data, layout.intensity, work.intensity, here, intensity),
                )
                yield Block(rows, spectra)

    def _cut(self, work: Work, length: NDArray[np.int64]) -> list[slice]:
        """Return the rows of a work in blocks, of which each but the last is as large as may be."""
        item = sum(np.dtype(encoding.dtype).itemsize for encoding in (work.mz, work.intensity))
        stops = np.cumsum(length * item)
        parts, begin = [], 0
        while begin < length.size:
            before = int(stops[begin - 1]) if begin else 0
            end = max(begin + 1, int(np.searchsorted(stops, before + BLOCK, side="right")))
            while end < length.size and work.pixel[end] == work.pixel[end - 1]:
                end += 1
            parts.append(slice(begin, end))
            begin = end
        return parts

    def _place(
        self,
        data: NDArray[np.uint8],
        column: ArrayColumn,
        encoding: ArrayEncoding,
        chosen: slice | NDArray[np.intp],
        needed: bool,
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.generic]]:
        """Return where the kernels find arrays: in the file, or inflated in memory.

        Whole numbers are turned into float64 on the way, so that the kernels know two types only.
        """
        if not needed:
            return data, column.offset[chosen], np.empty(0, "<f8")
        if encoding.compression == "none" and encoding.dtype in ("<f4", "<f8"):
            return data, column.offset[chosen], np.empty(0, encoding.dtype)
        rows = range(*chosen.indices(column.offset.size)) if isinstance(chosen, slice) else chosen
        pieces = [self._raw(data, column, encoding, int(row)) for row in rows]
        kind = encoding.dtype
        if kind not in ("<f4", "<f8"):
            pieces = [np.frombuffer(raw, kind).astype("<f8").tobytes() for raw in pieces]
            kind = "<f8"
        offset = np.cumsum([0, *map(len, pieces)])[:-1].astype(np.int64)
        return np.frombuffer(b"".join(pieces), dtype=np.uint8), offset, np.empty(0, kind)

    def _raw(
        self, data: NDArray[np.uint8], column: ArrayColumn, encoding: ArrayEncoding, row: int
    ) -> bytes:
        start, stored = int(column.offset[row]), int(column.stored[row])
        raw = data[start : start + stored].tobytes()
        wanted = int(self.layout.length[row]) * np.dtype(encoding.dtype).itemsize
        if encoding.compression == "none" or wanted == 0:
            return raw[:wanted]
        number = row if self._kept is None else int(self._kept[row])
        where = f"{self.ibd.name}, spectrum {number}: the zlib-compressed {encoding.kind} array"
        try:
            found = zlib.decompressobj().decompress(raw, wanted + 1)
        except zlib.error as error:
            raise DataError(
                f"{where} is damaged ({error}); copy or export the file again."
            ) from error
        if len(found) != wanted:
            held = "more" if len(found) > wanted else str(len(found))
            raise DataError(
                f"{where} holds {held} bytes where {wanted} are declared; export the file again."
            )
        return found
