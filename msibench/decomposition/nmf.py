"""Non-negative matrix factorisation by hierarchical alternating least squares (HALS).

References
----------
.. [1] Cichocki and Phan, IEICE Trans. Fundamentals E92-A (2009) 708-721: the update.
.. [2] Gillis and Glineur, Neural Computation 24 (2012) 1085-1105: its cost, and why one product with X
       per iteration and side is what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray
from threadpoolctl import threadpool_limits

from msibench.decomposition.row_blocks import (
    Block,
    Matrix,
    MatrixRows,
    Real,
    RowSource,
    as_rows,
    is_sparse,
    read_ahead,
)
from msibench.errors import ConfigurationError, DataError


@dataclass(frozen=True, slots=True, eq=False)
class NMFResult:
    """``X ≈ W @ H`` with both factors non-negative."""

    W: Real
    """``(row, rank)``: how much of each component is in each row (pixel)."""
    H: Real
    """``(rank, column)``: the spectrum of each component."""
    relative_error: float
    """‖X − WH‖ / ‖X‖ (Frobenius); 0 for an all-zero X."""
    error_curve: NDArray[np.float64]
    """The relative error after each iteration, ``(iteration,)``."""
    converged: bool
    """The relative decrease fell below `tol` before the iterations were used up."""
    seed: int
    """The requested seed."""
    restart: int
    """Which of the restarts this is, from 0."""

    @property
    def iterations(self) -> int:
        """How many iterations were run."""
        return len(self.error_curve)


class Engine(Protocol):
    """Where the passes run: `hals_cpu.CpuEngine`, `hals_torch.TorchEngine`."""

    def update_rows(
        self, blocks: Iterable[Block], W: Real, H: Real
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Update `W` in place; return ``Xᵀ W`` and ``Wᵀ W``."""
        ...

    def update_columns(
        self, H: Real, cross: NDArray[np.float64], gram: NDArray[np.float64]
    ) -> None:
        """Update `H` in place."""
        ...


LOOK_BACK = 10
"""Iterations over which a fall of the error is judged."""


def nmf(
    X: Matrix,
    rank: int,
    *,
    seed: int = 0,
    iterations: int = 200,
    tol: float = 1e-4,
    restarts: int = 1,
    init: tuple[Real, Real] | None = None,
    dtype: DTypeLike | None = None,
    device: str = "cpu",
    threads: int | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> NMFResult:
    """Factor a non-negative matrix, sparse or dense, in memory or streamed by row blocks.

    Each iteration is one pass over the rows: a block's rows of W are updated, and what the update of H
    needs (``Xᵀ W`` and ``Wᵀ W``) is summed on the way, so a block is dropped before the next is read.
    Memory: W, up to ten arrays of H's size, two blocks.

    Parameters
    ----------
    X
        ``(row, column)``, finite, never negative: scipy sparse, dense array, list of row blocks,
        function that returns an iterable of row blocks, `HDF5Rows`, `SpectrumRows`.
    rank
        Components, at most the shorter side of `X`.
    seed
        The same seed gives the same bytes, on any number of threads.
    iterations
        At most so many passes.
    tol
        Stop when the median relative error of the last ten iterations is lower than that of the ten before
        by less than this share of it; 0: never. A rise in one of them is not an end by itself.
    restarts
        Start so many times with other random factors and return the best.
    init
        W ``(row, rank)`` and H ``(rank, column)`` to start from; None: half-normal random numbers at
        the scale of X, as scikit-learn's ``init="random"``.
    dtype
        float32 or float64; None: that of `X`, float32 for integers. In float32 the relative error is
        not resolved below about 1e-3.
    device
        ``"cpu"``, or a torch device (``"cuda"``).
    threads
        Of the CPU; None: all that this process may use.
    progress
        Called after each iteration with its number, from 1, and the relative error.

    Raises
    ------
    ConfigurationError
        If an option is not valid.
    DataError
        If X is empty, holds NaN, infinite or negative values, or has fewer rows or columns than
        components.
    """
    for name, value in (("rank", rank), ("iterations", iterations), ("restarts", restarts)):
        if int(value) != value or value < 1:
            raise ConfigurationError(f"{name} must be a whole number of at least 1, got {value}")
    if tol < 0:
        raise ConfigurationError(f"tol must not be negative, got {tol}")
    if init is not None and restarts > 1:
        raise ConfigurationError("restarts start from random factors: leave init or restarts out")
    source = as_rows(X)
    survey = _survey(source)
    precision = np.dtype(survey.dtype if dtype is None else dtype)
    if precision not in (np.float32, np.float64):
        raise ConfigurationError(f"dtype must be float32 or float64, got {precision}")
    if rank > min(survey.rows, survey.columns):
        raise DataError(
            f"rank {rank} is more than a {survey.rows} x {survey.columns} matrix can hold; ask for at "
            f"most {min(survey.rows, survey.columns)} components"
        )
    if isinstance(source, MatrixRows) and source.matrix.dtype != precision:
        source = MatrixRows(source.matrix.astype(precision))
    engine, end = _engine(device, threads), _End(iterations, tol, progress)
    best: NMFResult | None = None
    # One BLAS thread per product: on more, BLAS may split a sum differently. `engine` has its own threads.
    with threadpool_limits(1, "blas"):
        for restart in range(restarts):
            W, H = _start(survey, rank, precision, (seed, restart), init)
            result = _descend(source, survey, W, H, engine, end, (seed, restart))
            if best is None or result.relative_error < best.relative_error:
                best = result
    assert best is not None
    return best


@dataclass(frozen=True, slots=True)
class _End:
    """When a descent ends, and what is called after each iteration."""

    iterations: int
    tol: float
    progress: Callable[[int, float], None] | None


@dataclass(frozen=True, slots=True)
class _Survey:
    rows: int
    columns: int
    total: float
    squares: float
    dtype: np.dtype[Any]


def _survey(source: RowSource) -> _Survey:
    """Go over X once: shape, sum, sum of squares, and whether it may be factored at all."""
    rows, columns, total, squares = 0, -1, 0.0, 0.0
    dtype: np.dtype[Any] | None = None
    for block in source:
        values: Real = block.data if is_sparse(block) else block
        if columns not in (-1, block.shape[1]):
            raise DataError(
                f"every row block must have the same columns: {columns}, then {block.shape[1]}"
            )
        if not np.isfinite(values).all():
            raise DataError(
                f"X holds {np.count_nonzero(~np.isfinite(values))} NaN or infinite values in rows "
                f"{rows} to {rows + block.shape[0] - 1}; leave those pixels out or set them to 0"
            )
        if values.size and values.min() < 0:
            raise DataError(
                f"X must not be negative, its smallest value is {values.min():g}; clip it at 0"
            )
        rows, columns = rows + block.shape[0], block.shape[1]
        total += float(values.sum(dtype=np.float64))
        flat = values.ravel()
        for start in range(0, flat.size, 2**20):  # no float64 copy of all of X
            part = flat[start : start + 2**20].astype(np.float64)
            squares += float(part @ part)
        dtype = block.dtype if dtype is None else np.promote_types(dtype, block.dtype)
    if rows == 0 or columns <= 0:
        raise DataError("X is empty: expected at least one row and one column")
    assert dtype is not None
    return _Survey(rows, columns, total, squares, dtype)


def _engine(device: str, threads: int | None) -> Engine:
    if device == "cpu":
        from msibench.decomposition.hals_cpu import CpuEngine

        return CpuEngine(threads)
    from msibench.decomposition.hals_torch import TorchEngine

    return TorchEngine(device)


def _start(
    survey: _Survey,
    rank: int,
    dtype: np.dtype[Any],
    seed: tuple[int, int],
    init: tuple[Real, Real] | None,
) -> tuple[Real, Real]:
    """Return W ``(row, rank)`` and H turned, ``(column, rank)``, both C-contiguous and our own."""
    if init is not None:
        W, H = np.array(init[0], dtype=dtype, order="C"), np.array(init[1].T, dtype, order="C")
        for name, given, shape in (
            ("W", W, (survey.rows, rank)),
            ("H", H.T, (rank, survey.columns)),
        ):
            if given.shape != shape or not np.isfinite(given).all() or given.min() < 0:
                raise ConfigurationError(
                    f"init {name} must be {shape}, finite and not negative, got {given.shape}"
                )
        return W, H
    rng = np.random.default_rng(seed)
    scale = np.sqrt(survey.total / survey.rows / survey.columns / rank)

    def draw(count: int) -> Real:
        # Drawn as float64, so that both precisions start at the same place; in slabs, for the memory.
        factor = np.empty((count, rank), dtype)
        for start in range(0, count, 65_536):
            slab = factor[start : start + 65_536]
            slab[:] = scale * np.abs(rng.standard_normal(slab.shape))
        return factor

    H = draw(survey.columns)
    return draw(survey.rows), H


def _descend(
    source: RowSource,
    survey: _Survey,
    W: Real,
    H: Real,
    engine: Engine,
    end: _End,
    seed: tuple[int, int],
) -> NMFResult:
    """Improve W and H in place until they are good enough; `seed` and number of the restart."""
    errors: list[float] = []
    converged = survey.squares == 0
    if converged:
        W[:], H[:], errors = 0, 0, [0.0]
    while not converged and len(errors) < end.iterations:
        blocks: Iterable[Block] = (
            source if isinstance(source, MatrixRows) else _again(source, survey)
        )
        cross, gram = engine.update_rows(blocks, W, H)
        engine.update_columns(H, cross, gram)
        errors.append(_relative_error(survey.squares, cross, gram, H))
        if end.progress is not None:
            end.progress(len(errors), errors[-1])
        converged = end.tol > 0 and _no_longer_falls(errors, end.tol)
    return NMFResult(
        W=W,
        H=np.ascontiguousarray(H.T),
        relative_error=errors[-1],
        error_curve=np.array(errors),
        converged=converged,
        seed=seed[0],
        restart=seed[1],
    )


def _no_longer_falls(errors: list[float], tol: float) -> bool:
    """Whether the median error of the last `LOOK_BACK` iterations is hardly below that of those before.

    Medians, because close to what the precision resolves single values fluctuate, down to 0.
    """
    if len(errors) < 2 * LOOK_BACK:
        return False
    before, now = (
        float(np.median(part))
        for part in (errors[-2 * LOOK_BACK : -LOOK_BACK], errors[-LOOK_BACK:])
    )
    return now <= 4 * float(np.sqrt(np.finfo(np.float64).eps)) or before - now < tol * before


def _again(source: RowSource, survey: _Survey) -> Iterator[Block]:
    """Go over a streamed source once more, reading ahead, and check that it gives the same as before."""
    rows = 0
    for block in read_ahead(source):
        rows += block.shape[0]
        if rows > survey.rows or block.shape[1] != survey.columns:
            break
        yield block
    if rows != survey.rows:
        raise DataError(
            f"the source of row blocks gave {survey.rows} rows at first and {rows} later; it must give "
            "the same blocks on every pass"
        )


def _relative_error(
    squares: float, cross: NDArray[np.float64], gram: NDArray[np.float64], H: Block
) -> float:
    """Return the relative error from sums that are at hand: ‖X‖² − 2⟨XᵀW, H⟩ + ⟨WᵀW, HᵀH⟩."""
    wide = H.astype(np.float64)
    residual = squares - 2 * float(np.vdot(cross, wide)) + float(np.vdot(gram, wide.T @ wide))
    return float(np.sqrt(max(residual, 0.0) / squares))
