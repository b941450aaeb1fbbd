"""Have the disk read the next part of a file while the part before it is worked on.

The kernels read a mapped file, page by page, each of several threads at a place of its own: a fast disk then waits for
them. Here a thread reads what comes next into the operating system's memory, in order and in large pieces; the process keeps
no byte of it. A part that is in that memory already is left alone, and so is every part where the system cannot tell (not
Linux, some network file systems).
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from msibench.io.imzml.layout import ArrayColumn

Span = tuple[int, int]
"""First byte of a part of a file, and the one after its last."""

PIECE = 1 << 20
"""Bytes that are read at a time."""
LOOKS = 16
"""Places at which a part is looked at to see whether it is in memory."""
SCATTERED = 8
"""A part of which an eighth is not needed is not read as a whole: its arrays lie anywhere."""


def spans(columns: list[ArrayColumn], rows: slice | NDArray[np.intp]) -> list[Span]:
    """Return the parts of a file in which arrays of some spectra lie; none where they lie scattered."""
    found: list[tuple[int, int, int]] = []
    for column in columns:
        stored, offset = column.stored[rows], column.offset[rows]
        filled = stored > 0
        if filled.any():
            start, stop = offset[filled].min(), (offset + stored)[filled].max()
            found.append((int(start), int(stop), int(stored.sum())))
    if len(found) == 2 and max(found)[0] < min(found)[1]:  # arrays by turns
        found = [(min(found)[0], max(stop for _, stop, _ in found), sum(n for *_, n in found))]
    return [(start, stop) for start, stop, needed in found if stop - start <= SCATTERED * needed]


class ReadAhead:
    """Reads parts of one file into the operating system's memory, one at a time, in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._thread = ThreadPoolExecutor(1)
        self._current: Future[None] | None = None

    def __enter__(self) -> Self:
        if hasattr(os, "RWF_NOWAIT"):
            try:
                self._file = os.open(self._path, os.O_RDONLY)
            except OSError:  # gone since it was mapped: the mapping holds it
                self._file = None
        return self

    def __exit__(self, *_: object) -> None:
        file, self._file = self._file, None  # ends a part that is being read
        self._thread.shutdown()
        if file is not None:
            os.close(file)

    def begin(self, parts: list[Span]) -> None:
        """Begin to read parts, unless they are in memory."""
        file = self._file
        if file is not None and (absent := [span for span in parts if not _in_memory(file, span)]):
            self._current = self._thread.submit(self._read, absent)

    def wait(self) -> None:
        """Wait for the parts that were begun last."""
        if self._current is not None:
            self._current.result()
            self._current = None

    def _read(self, parts: list[Span]) -> None:
        buffer = bytearray(PIECE)
        for start in chain.from_iterable(range(*span, PIECE) for span in parts):
            file = self._file
            if file is None:
                return
            try:
                os.preadv(file, [buffer], start)
            except OSError:  # whoever needs these bytes meets the error
                return


def _in_memory(file: int, span: Span) -> bool:
    """Whether a part seems to be in memory, or nobody can tell."""
    start, stop = span
    byte = bytearray(1)
    for look in range(LOOKS):
        place = start + (stop - 1 - start) * look // (LOOKS - 1)
        try:
            os.preadv(file, [byte], place, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
    return True
