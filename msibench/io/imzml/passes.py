"""Passes over all arrays of a section: several threads, bounded memory, one result."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msibench.io.imzml.arrays import ArrayStore, Block, Work
from msibench.io.imzml.grid import PixelGrid

ALONE = 4 << 20
"""Blocks of fewer bytes than this are read in the calling thread."""

PARTS = 2
"""Parts of a block per thread, so that one slow thread does not delay the others."""

Kernel = Callable[[Work, Block, int, int], int]
"""Processes spectra ``begin`` to ``end`` of a block and returns how many peaks it left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What one pass over all m/z finds; one value per spectrum."""

    ascending: NDArray[np.bool_]
    """Whether the m/z ascend and are all finite."""
    lowest: NDArray[np.float64]
    """Smallest finite m/z, inf without one."""
    highest: NDArray[np.float64]
    """Largest finite m/z, -inf without one."""


def works(
    store: ArrayStore, grid: PixelGrid, duplicates: Literal["sum", "first", "last"]
) -> Iterator[Work]:
    """Yield the spectra that count, those of one pixel side by side."""
    pixel, keep = grid.pixel, None
    if grid.repeated:
        keep = np.argsort(pixel, kind="stable")
        if duplicates != "sum":
            change = np.flatnonzero(np.diff(pixel[keep])) + 1
            first = np.concatenate([[0], change])
            last = np.concatenate([change, [keep.size]]) - 1
            keep = keep[first if duplicates == "first" else last]
    for mz, intensity, members in store.layout.groups():
        rows = members
        if keep is not None:
            rows = keep if members is None else keep[np.isin(keep, members)]
        yield Work(mz, intensity, rows, pixel if rows is None else pixel[rows])


def run_pass(
    store: ArrayStore,
    pieces: Iterable[Work],
    kernel: Kernel,
    *,
    mz: bool = True,
    intensity: bool = True,
    threads: int | None = None,
) -> int:
    """Run a kernel over every block of every work and return the sum of what it returns.

    Each thread has pixels of its own, so that the result does not depend on their number. Pages of
    a large file are given back after every block.
    """
    count = threads or min(8, _processors())
    total = 0
    with ThreadPoolExecutor(count) as pool:
        for work in pieces:
            for block in store.blocks(work, mz=mz, intensity=intensity):
                size = block.spectra.length.size
                if count == 1 or int(block.spectra.length.sum()) * 8 < ALONE:
                    total += kernel(work, block, 0, size)
                else:
                    parts = [
                        pool.submit(kernel, work, block, begin, end)
                        for begin, end in itertools.pairwise(
                            _cuts(block.spectra.pixel, PARTS * count)
                        )
                    ]
                    total += sum(part.result() for part in parts)
                store.file().release()
    return total


def survey_mz(store: ArrayStore, spectra: int, threads: int | None) -> Survey:
    """Read all m/z arrays once."""
    from msibench.io.imzml.kernels import survey

    whole = Survey(np.ones(spectra, np.bool_), np.empty(spectra), np.empty(spectra))
    for mz, intensity, members in store.layout.groups():
        size = spectra if members is None else members.size
        part = Survey(np.ones(size, np.bool_), np.empty(size), np.empty(size))

        def look(_: Work, block: Block, begin: int, end: int, part: Survey = part) -> int:
            rows = block.rows
            survey(
                block.spectra,
                begin,
                end,
                part.ascending[rows],
                part.lowest[rows],
                part.highest[rows],
            )
            return 0

        pixel = np.arange(size, dtype=np.int64)
        run_pass(
            store, [Work(mz, intensity, members, pixel)], look, intensity=False, threads=threads
        )
        where = slice(None) if members is None else members
        whole.ascending[where] = part.ascending
        whole.lowest[where], whole.highest[where] = part.lowest, part.highest
    return whole


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cuts(pixel: NDArray[np.int64], parts: int) -> list[int]:
    """Split spectra into parts of about one size without separating those of one pixel."""
    cuts = [0]
    for part in range(1, parts):
        cut = max(cuts[-1], pixel.size * part // parts)
        while 0 < cut < pixel.size and pixel[cut] == pixel[cut - 1]:
            cut += 1
        cuts.append(cut)
    return [*cuts, pixel.size]
