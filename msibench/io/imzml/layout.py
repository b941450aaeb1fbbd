"""Check a table of spectra against the .ibd file before a single array is read.

Nothing that the XML claims is trusted: every array must lie inside the .ibd file, m/z and
intensities must have one length, and lengths, encoded lengths and number types must agree. Only
then does the reader allocate, so that no claim can make it allocate more than the file holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msibench.errors import DataError
from msibench.io.imzml.header import DTYPE_OF_NAME, ArrayEncoding
from msibench.io.imzml.spectra import ABSENT, SpectrumTable

CHUNK = 1 << 16
"""Spectra that are checked together."""
ZLIB_RATIO = 1032
"""The most that a byte of zlib-compressed data can stand for (zlib technical details)."""
MOST_PEAKS = 1 << 26
"""Of one spectrum; a profile of the finest instruments has some ten million points."""
SHARED = 16
"""How many times over intensity arrays may share the bytes of their file."""


@dataclass(frozen=True, slots=True, eq=False)
class ArrayColumn:
    """Where the m/z arrays, or the intensity arrays, of all spectra lie."""

    offset: NDArray[np.int64]
    """First byte in the .ibd file, ``(spectrum,)``."""
    stored: NDArray[np.int64]
    """Bytes in the .ibd file, ``(spectrum,)``."""
    encoding: NDArray[np.int16]
    """Index into `encodings`, ``(spectrum,)``."""
    encodings: tuple[ArrayEncoding, ...]

    def take(self, rows: NDArray[np.int64]) -> ArrayColumn:
        """Return these spectra only."""
        return ArrayColumn(
            self.offset[rows], self.stored[rows], self.encoding[rows], self.encodings
        )


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Checked places of all arrays."""

    length: NDArray[np.int64]
    """Peaks of each spectrum, ``(spectrum,)``."""
    mz: ArrayColumn
    intensity: ArrayColumn
    warnings: tuple[str, ...]
    """What may make an image differ from what was measured."""
    notes: tuple[str, ...]
    """Oddities that were read correctly."""

    def take(self, rows: NDArray[np.int64]) -> Layout:
        """Return these spectra only."""
        return replace(
            self,
            length=self.length[rows],
            mz=self.mz.take(rows),
            intensity=self.intensity.take(rows),
        )

    def groups(self) -> Iterator[tuple[ArrayEncoding, ArrayEncoding, NDArray[np.intp] | None]]:
        """Yield the spectra that share their encodings; None stands for all spectra."""
        pairs = self.mz.encoding.astype(np.int32) * 4096 + self.intensity.encoding
        if pairs.size == 0:
            return
        found = pairs[:1] if (pairs == pairs[0]).all() else np.unique(pairs)
        for pair in found:
            rows = None if found.size == 1 else np.flatnonzero(pairs == pair)
            mz, intensity = divmod(int(pair), 4096)
            yield self.mz.encodings[mz], self.intensity.encodings[intensity], rows

    def shared_axis(self) -> bool:
        """Whether all spectra that have peaks share one stored m/z array."""
        filled = np.flatnonzero(self.length)
        if filled.size == 0:
            return False
        first = filled[0]
        return bool(
            np.all(self.mz.offset[filled] == self.mz.offset[first])
            and np.all(self.length[filled] == self.length[first])
            and np.all(self.mz.encoding[filled] == self.mz.encoding[first])
        )


def check_layout(path: Path, table: SpectrumTable, ibd: Path, ibd_size: int) -> Layout:
    """Verify where all arrays lie.

    Raises
    ------
    DataError
        A spectrum lacks something, contradicts itself or reaches beyond the .ibd file. The message
        names file, spectrum (counted from 0) and remedy.
    """
    return _Check(path, table, ibd, ibd_size).run()


@dataclass(slots=True)
class _Check:
    path: Path
    table: SpectrumTable
    ibd: Path
    ibd_size: int
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def run(self) -> Layout:
        for kind in ("mz", "intensity"):
            self.require(
                self.table.column(f"{kind}_encoding") != ABSENT,
                lambda row, kind=kind: f"has no {kind} array",  # type: ignore[misc]
                "every spectrum needs an m/z array (MS:1000514) and an intensity array (MS:1000515)"
                " in the .ibd file; an mzML file with arrays inside the XML must be converted",
            )
        encodings = self.resolve_encodings()
        lengths = [self.lengths(kind, encodings) for kind in ("mz", "intensity")]
        self.require(
            lengths[0] == lengths[1],
            lambda row: f"has {lengths[0][row]} m/z values but {lengths[1][row]} intensities",
            "export the file again",
        )
        length = lengths[0]
        self.require(
            length <= MOST_PEAKS,
            lambda row: f"claims {length[row]} peaks; a spectrum has at most {MOST_PEAKS}",
            "the file is damaged; export it again",
        )
        columns = [self.column(kind, length, encodings) for kind in ("mz", "intensity")]
        self.total(columns[1], length, encodings)
        if self.table.scientific:
            self.warnings.append(
                "offsets or lengths are written like 1.156e+09; they were taken as exact"
            )
        self.overlaps(columns[0], columns[1], length)
        return Layout(length, columns[0], columns[1], tuple(self.warnings), tuple(self.notes))

    def require(self, good: NDArray[np.bool_], problem: Callable[[int], str], remedy: str) -> None:
        """Reject the file unless `good` holds for every spectrum, naming the first."""
        if good.all():
            return
        row = int(np.argmin(good))
        count = int(good.size - np.count_nonzero(good))
        more = f" (and {count - 1} more spectra)" if count > 1 else ""
        raise DataError(f"{self.path.name}, spectrum {row}: {problem(row)}{more}; {remedy}.")

    def resolve_encodings(self) -> tuple[ArrayEncoding, ...]:
        """Settle number types; where accession and name differ, by the encoded lengths."""
        resolved = []
        for number, encoding in enumerate(self.table.encodings):
            used = np.zeros(len(self.table), dtype=np.bool_)
            if encoding.kind != "other":
                used = self.table.column(f"{encoding.kind}_encoding") == number
            if not used.any():
                resolved.append(encoding)
                continue
            row = int(np.argmax(used))
            if encoding.compression not in ("none", "zlib"):
                raise DataError(
                    f"{self.path.name}, spectrum {row}: {encoding.kind} arrays are stored with "
                    f"{encoding.compression!r}; expected no compression or zlib. Export the file "
                    "without numpress or other lossy compression."
                )
            if not encoding.dtype:
                raise DataError(
                    f"{self.path.name}, spectrum {row}: the number type of the {encoding.kind} "
                    f"array is not given; expected one of {', '.join(DTYPE_OF_NAME)}. Add the term "
                    "to its parameter group or export the file again."
                )
            resolved.append(self.settle(encoding, used) if encoding.contradicted else encoding)
        return tuple(resolved)

    def settle(self, encoding: ArrayEncoding, used: NDArray[np.bool_]) -> ArrayEncoding:
        length = self.table.column(f"{encoding.kind}_length")[used]
        stored = self.table.column(f"{encoding.kind}_encoded")[used]
        known = (length > 0) & (stored > 0)
        chosen = encoding.dtype
        if encoding.compression == "none" and known.any():
            fits = {
                dtype: bool(np.all(stored[known] // np.dtype(dtype).itemsize == length[known]))
                for dtype in (encoding.dtype, encoding.contradicted)
            }
            if fits[encoding.contradicted] and not fits[encoding.dtype]:
                chosen = encoding.contradicted
        self.warnings.append(
            f"the {encoding.kind} arrays' number type is contradictory: the term's name says "
            f"{encoding.dtype[1:]}, its accession {encoding.contradicted[1:]}; read as {chosen[1:]}"
        )
        return encoding._replace(dtype=chosen, contradicted="")

    def lengths(self, kind: str, encodings: tuple[ArrayEncoding, ...]) -> NDArray[np.int64]:
        length = self.table.column(f"{kind}_length").copy()
        stored = self.table.column(f"{kind}_encoded")
        absent = length == ABSENT
        sizes, zipped = self.sizes_of_values(kind, encodings)
        known = absent & (stored >= 0) & ~zipped & (stored % sizes == 0)
        length[known] = stored[known] // sizes[known]
        self.require(
            length >= 0,
            lambda row: (
                f"the {kind} array's length is "
                + ("missing" if length[row] == ABSENT else f"negative ({length[row]})")
            ),
            "the term IMS:1000103 must hold the number of values; export the file again",
        )
        self.require(
            length <= self.ibd_size * np.where(zipped, ZLIB_RATIO, 1) // sizes,
            lambda row: (
                f"claims {length[row]} {kind} values, more than the {self.ibd_size} bytes of "
                f"{self.ibd.name} can hold"
            ),
            "the .ibd file is incomplete or belongs to another file; copy it again",
        )
        return length

    def sizes_of_values(
        self, kind: str, encodings: tuple[ArrayEncoding, ...]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return bytes a value, and whether compressed, of each spectrum's array."""
        which = self.table.column(f"{kind}_encoding")
        sizes = np.array([np.dtype(e.dtype or "u1").itemsize for e in encodings], dtype=np.int64)
        zipped = np.array([e.compression == "zlib" for e in encodings])
        return sizes[which], zipped[which]

    def column(
        self, kind: str, length: NDArray[np.int64], encodings: tuple[ArrayEncoding, ...]
    ) -> ArrayColumn:
        which = self.table.column(f"{kind}_encoding")
        item, zipped = self.sizes_of_values(kind, encodings)
        filled = length > 0
        encoded = self.table.column(f"{kind}_encoded")
        known = filled & (encoded != ABSENT) & (encoded != 0)
        if bool(np.all(encoded[known] == length[known])) and np.any(known & ~zipped & (item > 1)):
            self.notes.append(f"encoded lengths of the {kind} arrays count values, not bytes")
            encoded = np.where(zipped, encoded, length * item)
        self.require(
            zipped | ~known | (encoded == length * item),
            lambda row: (
                f"the {kind} array has {length[row]} values of {item[row]} bytes but an encoded "
                f"length of {encoded[row]} bytes instead of {length[row] * item[row]}"
            ),
            "number type, array length and encoded length contradict each other; correct the "
            "header, export the file again, or let pyimzML read it (reader='pyimzml'), which "
            "ignores the encoded length",
        )
        self.require(
            ~(zipped & filled) | (encoded > 0),
            lambda row: f"the zlib-compressed {kind} array has no encoded length (IMS:1000104)",
            "without it the compressed bytes cannot be found; export the file again",
        )
        stored = np.where(filled, np.where(zipped, encoded, length * item), 0)
        self.require(
            ~zipped | (length * item <= stored * ZLIB_RATIO),
            lambda row: (
                f"claims {length[row]} {kind} values in {stored[row]} compressed bytes, more than "
                "zlib can pack"
            ),
            "the file is damaged; export it again",
        )
        offset = self.offsets(kind, filled, stored)
        return ArrayColumn(offset, stored, which.astype(np.int16), encodings)

    def offsets(
        self, kind: str, filled: NDArray[np.bool_], stored: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        offset = self.table.column(f"{kind}_offset")
        self.require(
            ~filled | (offset != ABSENT),
            lambda row: f"the {kind} array has no offset (IMS:1000102)",
            "the place of the array in the .ibd file is unknown; export the file again",
        )
        offset = np.where(filled, offset, 0)
        if (offset < 0).any():
            offset = unwrap_32_bit(offset, self.ibd_size)
            self.notes.append(f"negative {kind} offsets were unwrapped from signed 32-bit numbers")
        self.require(
            (offset >= 0) & (offset <= self.ibd_size - stored),
            lambda row: (
                f"the {kind} array should lie in bytes {offset[row]} to {offset[row] + stored[row]}"
                f", but {self.ibd.name} has {self.ibd_size} bytes"
            ),
            "the .ibd file is incomplete or belongs to another file; copy it again",
        )
        return offset

    def total(
        self,
        intensity: ArrayColumn,
        length: NDArray[np.int64],
        encodings: tuple[ArrayEncoding, ...],
    ) -> None:
        """Reject intensity arrays that share their bytes so often that reading them would not end."""
        stored = int(intensity.stored.sum(dtype=np.int64))
        item, _ = self.sizes_of_values("intensity", encodings)
        values = int((length * item).sum(dtype=np.int64))
        if stored > SHARED * max(self.ibd_size, CHUNK) or values > SHARED * ZLIB_RATIO * max(
            self.ibd_size, CHUNK
        ):
            raise DataError(
                f"{self.path.name}: its intensity arrays take {stored} bytes ({values} once they are "
                f"inflated) of the {self.ibd_size} bytes of {self.ibd.name}: they share the same bytes "
                "over and over. The offsets are wrong; export the file again."
            )

    def overlaps(self, mz: ArrayColumn, intensity: ArrayColumn, length: NDArray[np.int64]) -> None:
        """Warn where two different arrays share bytes: one of their offsets is wrong."""
        if in_order(mz, intensity, length):
            return
        filled = np.flatnonzero(length)
        start = np.stack([mz.offset[filled], intensity.offset[filled]], axis=1)
        stop = start + np.stack([mz.stored[filled], intensity.stored[filled]], axis=1)
        row = np.repeat(filled, 2)
        if (
            filled.size > 1
            and (start[:, 0] == start[0, 0]).all()
            and (stop[:, 0] == stop[0, 0]).all()
        ):
            first = np.zeros((filled.size, 2), dtype=np.bool_)
            first[:, 1] = True
            first[0, 0] = True
            keep = first.ravel()
        else:
            keep = np.ones(row.size, dtype=np.bool_)
        begin, end, row = start.ravel()[keep], stop.ravel()[keep], row[keep]
        is_mz = np.tile([True, False], filled.size)[keep]
        if (np.diff(begin) < 0).any():
            order = np.lexsort((end, begin))
            begin, end, row, is_mz = begin[order], end[order], row[order], is_mz[order]
        furthest = np.maximum.accumulate(end)[:-1]
        shared = begin[1:] < furthest
        same = (begin[1:] == begin[:-1]) & (end[1:] == end[:-1]) & is_mz[1:] & is_mz[:-1]
        wrong = np.flatnonzero(shared & ~same)
        if wrong.size:
            at = int(wrong[0])
            self.warnings.append(
                f"arrays of spectra {min(row[at], row[at + 1])} and {max(row[at], row[at + 1])} "
                f"share bytes of the .ibd file ({wrong.size} such places): an offset is wrong, and "
                "so are the pixels that use it"
            )
        early = np.flatnonzero(begin < 16)
        if early.size:
            self.warnings.append(
                f"an array of spectrum {int(row[early[0]])} begins inside the 16 bytes of the UUID"
            )


def in_order(mz: ArrayColumn, intensity: ArrayColumn, length: NDArray[np.int64]) -> bool:
    """Whether all arrays follow one another, as most software writes them, without sharing bytes.

    Looks at a few thousand spectra at a time, so that millions need no memory; m/z arrays that are
    the same for all spectra count once.
    """
    filled = length > 0
    if not filled.any():
        return True
    first = int(np.argmax(filled))
    shared = bool((mz.offset[filled] == mz.offset[first]).all())
    furthest = 16
    if shared:
        furthest = int(mz.offset[first] + mz.stored[filled].max())
        if mz.offset[first] < 16:
            return False
    for begin in range(0, length.size, CHUNK):
        rows = slice(begin, begin + CHUNK)
        columns = (intensity,) if shared else (mz, intensity)
        use = np.repeat(filled[rows], len(columns))
        start = np.stack([column.offset[rows] for column in columns], axis=1).ravel()[use]
        stored = np.stack([column.stored[rows] for column in columns], axis=1).ravel()[use]
        if start.size == 0:
            continue
        stop = start + stored
        if start[0] < furthest or (start[1:] < stop[:-1]).any():
            return False
        furthest = int(stop[-1])
    return True


def unwrap_32_bit(offset: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Undo the wrap-around of offsets that were written as signed 32-bit numbers.

    In a file of up to 4 GiB each offset is its remainder modulo 2^32. In a larger one the offsets
    are followed in the order of the file, as pyimzML does, adding 2^32 at every new wrap.
    """
    if size <= 2**32:
        return np.where(offset < 0, offset + 2**32, offset)
    wraps = (offset[1:] < 0) & (offset[:-1] >= 0)
    turns = np.concatenate([[int(offset[0] < 0)], np.cumsum(wraps) + int(offset[0] < 0)])
    return np.asarray(offset + turns * 2**32, dtype=np.int64)
