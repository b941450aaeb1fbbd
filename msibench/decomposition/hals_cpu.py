"""The inner loops of HALS on a CPU, and one pass over all rows with them.

Rows are worked on in chunks of `CHUNK_ROWS`; chunk *q* of a group adds to partial sum *q* mod
`PARTIAL_SUMS`, so the order of every addition follows from the shape alone and the result has the same
bytes on any number of threads. A source whose blocks are whole groups (`GROUP_ROWS`) gives the same
bytes as the matrix in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from numpy.typing import DTypeLike, NDArray

from msibench.decomposition.row_blocks import BLOCK_ROWS, Block, is_sparse

CHUNK_ROWS = 1_024
GROUP_ROWS = BLOCK_ROWS
"""Rows after which the partial sums go into the float64 total."""
PARTIAL_SUMS = 8
_PARTIAL_BYTES = 2**30

Real = NDArray[np.floating]

# Sums may be reordered so that they use vector registers; NaN and infinity keep their meaning.
_RELAXED = {"reassoc", "contract", "nsz"}
_IN_ORDER = {"contract", "nsz"}


@numba.njit(nogil=True, fastmath=_RELAXED, cache=True)
def sparse_times(indptr: Real, indices: Real, data: Real, H: Real, out: Real) -> None:
    """Set ``out = X @ H`` for CSR rows `X`; eight entries at a time, as two sums of four, keep `out` in registers."""
    rank = H.shape[1]
    for i in range(out.shape[0]):
        row = out[i]
        row[:] = 0
        entry, end = indptr[i], indptr[i + 1]
        while entry + 4 <= end:
            v0, v1, v2, v3 = data[entry], data[entry + 1], data[entry + 2], data[entry + 3]
            h0 = H[numba.uintp(indices[entry])]
            h1 = H[numba.uintp(indices[entry + 1])]
            h2 = H[numba.uintp(indices[entry + 2])]
            h3 = H[numba.uintp(indices[entry + 3])]
            entry += 4
            if entry + 4 > end:
                for c in range(rank):
                    row[c] += v0 * h0[c] + v1 * h1[c] + v2 * h2[c] + v3 * h3[c]
                continue
            v4, v5, v6, v7 = data[entry], data[entry + 1], data[entry + 2], data[entry + 3]
            h4 = H[numba.uintp(indices[entry])]
            h5 = H[numba.uintp(indices[entry + 1])]
            h6 = H[numba.uintp(indices[entry + 2])]
            h7 = H[numba.uintp(indices[entry + 3])]
            entry += 4
            for c in range(rank):
                first = v0 * h0[c] + v1 * h1[c] + v2 * h2[c] + v3 * h3[c]
                row[c] = (row[c] + first) + (v4 * h4[c] + v5 * h5[c] + v6 * h6[c] + v7 * h7[c])
        while entry < end:
            value, h = data[entry], H[numba.uintp(indices[entry])]
            for c in range(rank):
                row[c] += value * h[c]
            entry += 1


@numba.njit(nogil=True, fastmath=_RELAXED, cache=True)
def add_transposed_times(indptr: Real, indices: Real, data: Real, W: Real, total: Real) -> None:
    """Add ``X.T @ W`` to `total` for CSR rows `X` without duplicates; two entries, hence two rows of `total`, at a time."""
    rank = W.shape[1]
    for i in range(W.shape[0]):
        w = W[i]
        entry, end = indptr[i], indptr[i + 1]
        while entry + 2 <= end:
            v0, row0 = data[entry], total[numba.uintp(indices[entry])]
            v1, row1 = data[entry + 1], total[numba.uintp(indices[entry + 1])]
            for c in range(rank):
                row0[c] += v0 * w[c]
                row1[c] += v1 * w[c]
            entry += 2
        if entry < end:
            value, row = data[entry], total[numba.uintp(indices[entry])]
            for c in range(rank):
                row[c] += value * w[c]


@numba.njit(nogil=True, fastmath=_IN_ORDER, cache=True)
def hals_sweep(W: Real, numerator: Real, gram: Real) -> None:
    """Minimise ‖X − W Hᵀ‖² over each column of ``W ≥ 0`` in turn, in place.

    `numerator` is ``X @ H``, `gram` is ``Hᵀ H``. Rows are independent: 64 at a time, turned so that the
    inner loop runs along them; four columns are taken off at a time, one after the other.
    """
    rows, rank = W.shape
    width = 64
    w = np.empty((rank, width), W.dtype)
    step = np.empty(width, W.dtype)
    for start in range(0, rows, width):
        count = min(width, rows - start)
        for r in range(count):
            for c in range(rank):
                w[c, r] = W[start + r, c]
        for c in range(rank):
            curvature = gram[c, c]
            if curvature <= 0:  # a component that has died stays where it is
                continue
            for r in range(count):
                step[r] = numerator[start + r, c]
            fours = rank // 4 * 4
            for d in range(0, fours, 4):
                g0, g1, g2, g3 = gram[c, d], gram[c, d + 1], gram[c, d + 2], gram[c, d + 3]
                w0, w1, w2, w3 = w[d], w[d + 1], w[d + 2], w[d + 3]
                for r in range(count):
                    step[r] = step[r] - g0 * w0[r] - g1 * w1[r] - g2 * w2[r] - g3 * w3[r]
            for d in range(fours, rank):
                g = gram[c, d]
                for r in range(count):
                    step[r] -= g * w[d, r]
            for r in range(count):
                value = w[c, r] + step[r] / curvature
                w[c, r] = value if value > 0 else 0
        for r in range(count):
            for c in range(rank):
                W[start + r, c] = w[c, r]


class CpuEngine:
    """One pass over all rows per iteration, spread over threads.

    Parameters
    ----------
    threads
        How many; None: what this process may use (``OMP_NUM_THREADS`` is respected).
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or usable_threads()

    def update_rows(
        self, blocks: Iterable[Block], W: Real, H: Real
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Update `W` in place for fixed `H`; return ``Xᵀ W`` and ``Wᵀ W`` of the new `W`.

        Parameters
        ----------
        blocks
            The rows of X, ``(row, column)``.
        W, H
            ``(row, rank)`` and ``(column, rank)``, C-contiguous, of one dtype.
        """
        columns, rank = H.shape
        lanes = max(1, min(PARTIAL_SUMS, _PARTIAL_BYTES // max(1, H.nbytes)))
        cross = np.zeros((columns, rank))
        gram = np.zeros((rank, rank))
        H_gram = H.T @ H
        partial = [np.empty_like(H) for _ in range(lanes)]
        grams = np.empty((lanes, rank, rank))

        def work(lane: int, chunks: list[tuple[int, Block, int, int]]) -> int:
            partial[lane][:], grams[lane] = 0, 0
            for first, block, start, stop in chunks[lane::lanes]:
                rows = W[first : first + stop - start]
                _update_chunk(block, start, stop, rows, H, H_gram, partial[lane])
                grams[lane] += rows.T @ rows
            return lane

        with ThreadPoolExecutor(self.threads) as pool:
            for chunks in _groups(blocks, W.dtype):
                # In their order, each as soon as it is there and still in the cache.
                for lane in pool.map(work, range(lanes), [chunks] * lanes):
                    cross += partial[lane]
                    gram += grams[lane]
        return cross, gram

    def update_columns(
        self, H: Real, cross: NDArray[np.float64], gram: NDArray[np.float64]
    ) -> None:
        """Update `H` in place from ``cross = Xᵀ W`` and ``gram = Wᵀ W``."""
        hals_sweep(H, cross.astype(H.dtype), gram.astype(H.dtype))


def _update_chunk(
    block: Block, start: int, stop: int, W: Real, H: Real, H_gram: Real, total: Real
) -> None:
    if not is_sparse(block):
        X = block[start:stop]
        hals_sweep(W, np.ascontiguousarray(X @ H), H_gram)
        total += X.T @ W
        return
    indptr = block.indptr[start : stop + 1]
    numerator = np.empty_like(W)
    sparse_times(indptr, block.indices, block.data, H, numerator)
    hals_sweep(W, numerator, H_gram)
    add_transposed_times(indptr, block.indices, block.data, W, total)


def _groups(
    blocks: Iterable[Block], dtype: DTypeLike
) -> Iterator[list[tuple[int, Block, int, int]]]:
    """Cut each block into groups of chunks ``(first row of all, block, start, stop)``."""
    first = 0
    for block in blocks:
        same = block if block.dtype == dtype else block.astype(dtype)
        rows = same.shape[0]
        for group in range(0, rows, GROUP_ROWS):
            end = min(group + GROUP_ROWS, rows)
            yield [
                (first + start, same, start, min(start + CHUNK_ROWS, end))
                for start in range(group, end, CHUNK_ROWS)
            ]
        first += rows


def usable_threads() -> int:
    """Return how many threads this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    named = os.environ.get("OMP_NUM_THREADS", "")
    return min(cpus, int(named)) if named.isdigit() and int(named) > 0 else cpus
