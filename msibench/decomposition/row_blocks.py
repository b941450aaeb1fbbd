"""A tall matrix as a sequence of row blocks: in memory, in HDF5, or made from spectra on the fly.

A *block* is a CSR matrix or a dense array with all columns of some consecutive rows. A source may be
read as often as needed and gives the same blocks each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from msibench.errors import ConfigurationError, DataError, MissingDataError

if TYPE_CHECKING:
    import h5py

Block: TypeAlias = Any
"""``scipy.sparse.csr_array`` / ``csr_matrix``, or an array ``(row, column)``."""

Matrix: TypeAlias = "Block | Iterable[Block] | Callable[[], Iterable[Block]]"
"""What `as_rows` takes."""

Real: TypeAlias = NDArray[np.floating]

BLOCK_ROWS = 65_536
"""Rows of one block where the caller does not say; a multiple of 8,192, see `hals_cpu`."""


_CHUNK_BYTES = 2**20
"""Of one chunk of a dataset: large, since blocks are read from one end to the other."""


class RowSource(Protocol):
    """Anything that can be read repeatedly, block by block."""

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks from the first row to the last."""
        ...


class MatrixRows:
    """A matrix in memory, as one block."""

    def __init__(self, matrix: Block) -> None:
        self.matrix = as_block(matrix)

    def __iter__(self) -> Iterator[Block]:
        yield self.matrix


class FactoryRows:
    """Blocks from a function that starts a new pass each time it is called."""

    def __init__(self, factory: Callable[[], Iterable[Block]]) -> None:
        self.factory = factory

    def __iter__(self) -> Iterator[Block]:
        return (as_block(block) for block in self.factory())


class HDF5Rows:
    """A matrix in an HDF5 file: a dense 2-D dataset, or a group with a CSR matrix.

    Parameters
    ----------
    path
        The file.
    name
        A dataset ``(row, column)``; or a group with ``data``, ``indices``, ``indptr`` and the attribute
        ``shape``, as `write_rows` and AnnData make it.
    block_rows
        Rows that are in memory at a time (two blocks are, while one is read ahead).

    Raises
    ------
    MissingDataError
        If there is no such file.
    DataError
        If it does not hold `name`, or that is neither of the two layouts.
    """

    def __init__(self, path: str | Path, name: str = "X", *, block_rows: int = BLOCK_ROWS) -> None:
        import h5py

        self.path, self.name, self.block_rows = Path(path), name, block_rows
        if block_rows < 1:
            raise ConfigurationError(f"block_rows must be at least 1, got {block_rows}")
        if not self.path.is_file():
            raise MissingDataError(f"file not found: {self.path}")
        with h5py.File(self.path) as file:
            if name not in file:
                raise DataError(f"{self.path.name} holds no {name!r}; it holds {sorted(file)}")
            node = file[name]
            self.is_sparse = isinstance(node, h5py.Group)
            if self.is_sparse and not {"data", "indices", "indptr"} <= set(node):
                raise DataError(
                    f"group {name!r} of {self.path.name} is not a CSR matrix: expected data, indices, "
                    f"indptr, it holds {sorted(node)}"
                )
            shape = node.attrs.get("shape") if self.is_sparse else node.shape
            if shape is None or len(shape) != 2:
                raise DataError(
                    f"{name!r} of {self.path.name} must have two axes (row, column), got {shape}"
                )
            self.shape = (int(shape[0]), int(shape[1]))

    def __iter__(self) -> Iterator[Block]:
        import h5py

        with h5py.File(self.path) as file:
            node = file[self.name]
            starts = range(0, self.shape[0], self.block_rows)
            if not self.is_sparse:
                for start in starts:
                    yield as_block(node[start : start + self.block_rows])
                return
            indptr = node["indptr"][:]
            for start in starts:
                stop = min(start + self.block_rows, self.shape[0])
                part = slice(int(indptr[start]), int(indptr[stop]))
                yield as_block(
                    sparse.csr_array(
                        (
                            node["data"][part],
                            node["indices"][part],
                            indptr[start : stop + 1] - indptr[start],
                        ),
                        shape=(stop - start, self.shape[1]),
                    )
                )


class Spectra(Protocol):
    """What an imzML reader offers: `msibench.io.open_imzml` and its like."""

    def __len__(self) -> int: ...
    def spectrum(self, index: int, /) -> tuple[NDArray[np.number], NDArray[np.number]]:
        """Return m/z (Da) and intensity of one pixel."""
        ...


class SpectrumRows:
    """Spectra of an imzML file, binned on the fly: one row a pixel, one column an m/z bin.

    Parameters
    ----------
    spectra
        ``len(spectra)`` pixels; ``spectra.spectrum(i)`` gives m/z (Da) and intensities.
    assign
        Maps m/z (Da) to the column, −1 for m/z outside all columns; intensities of one column add up.
    columns
        How many columns there are.
    block_rows
        Pixels that are in memory at a time.
    """

    def __init__(
        self,
        spectra: Spectra,
        assign: Callable[[NDArray[np.float64]], NDArray[np.int64]],
        columns: int,
        *,
        block_rows: int = 8_192,
    ) -> None:
        self.spectra, self.assign, self.block_rows = spectra, assign, block_rows
        self.shape = (len(spectra), columns)

    def __iter__(self) -> Iterator[Block]:
        for start in range(0, self.shape[0], self.block_rows):
            stop = min(start + self.block_rows, self.shape[0])
            columns, values, counts = [], [], np.zeros(stop - start + 1, dtype=np.int64)
            for row, index in enumerate(range(start, stop)):
                mz, intensity = self.spectra.spectrum(index)
                column = self.assign(np.asarray(mz, dtype=np.float64))
                inside = (column >= 0) & (np.asarray(intensity) != 0)
                columns.append(column[inside])
                values.append(np.asarray(intensity, dtype=np.float32)[inside])
                counts[row + 1] = np.count_nonzero(inside)
            block = sparse.csr_array(
                (np.concatenate(values), np.concatenate(columns), np.cumsum(counts)),
                shape=(stop - start, self.shape[1]),
            )
            yield as_block(block)


def as_rows(X: Matrix) -> RowSource:
    """Return any accepted input as a source of row blocks.

    Parameters
    ----------
    X
        A scipy sparse matrix, a dense array ``(row, column)``, a list or tuple of blocks, a function
        that returns an iterable of blocks, or a source (`HDF5Rows`, `SpectrumRows`, …).

    Raises
    ------
    ConfigurationError
        For an iterator, which can be read only once.
    """
    if sparse.issparse(X) or hasattr(X, "__array__"):
        return MatrixRows(X)
    if isinstance(X, MatrixRows | FactoryRows | HDF5Rows | SpectrumRows):
        return X
    if isinstance(X, list | tuple) and X and (sparse.issparse(X[0]) or np.ndim(X[0]) == 2):
        return FactoryRows(lambda: X)
    if isinstance(X, list | tuple):
        return MatrixRows(np.asarray(X))
    if callable(X):
        return FactoryRows(X)
    if isinstance(X, Iterable) and not isinstance(X, Iterator):
        return FactoryRows(lambda: X)
    raise ConfigurationError(
        "X must be a matrix, a list of row blocks, a function that returns them, or a row source; "
        f"got {type(X).__name__}"
        + (", which can be read only once" if isinstance(X, Iterator) else "")
    )


def as_block(block: Block) -> Block:
    """Return a canonical CSR matrix or a two-axis array of float32 or float64."""
    if is_sparse(block):
        csr = block.tocsr()
        if not csr.has_canonical_format:
            csr = csr.copy()
            csr.sum_duplicates()
        return csr if csr.dtype in (np.float32, np.float64) else csr.astype(np.float32)
    array = np.asarray(block)
    if array.ndim != 2:
        raise DataError(f"a matrix must have two axes (row, column), got shape {array.shape}")
    if array.dtype not in (np.float32, np.float64):
        if array.dtype.kind not in "iufb":
            raise DataError(f"a matrix must hold real numbers, got dtype {array.dtype}")
        array = array.astype(np.float32)
    return array


def is_sparse(block: Block) -> bool:
    """Say whether a block is sparse rather than an array."""
    return bool(sparse.issparse(block))


def read_ahead(source: Iterable[Block]) -> Iterator[Block]:
    """Yield the blocks, with the next one being read while the caller works on this one."""
    blocks = iter(source)
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reader.submit(next, blocks, None)
            yield block


def write_rows(path: str | Path, X: Matrix, name: str = "X") -> HDF5Rows:
    """Write a matrix, or a source of row blocks, to an HDF5 file that `HDF5Rows` streams.

    Parameters
    ----------
    path
        The file; made, or added to.
    X
        As for `as_rows`; sparse blocks become a CSR group, dense ones a dataset.
    name
        Where in the file.
    """
    import h5py

    with h5py.File(path, "a") as file:
        total, columns = 0, 0
        for block in as_rows(X):
            columns = block.shape[1]
            if sparse.issparse(block):
                _append_sparse(file, name, block)
            else:
                _append(file, name, block)
            total += block.shape[0]
        if isinstance(file[name], h5py.Group):
            file[name].attrs["shape"] = (total, columns)
    return HDF5Rows(path, name)


def _append_sparse(file: h5py.File, name: str, block: Block) -> None:
    end = int(file[f"{name}/indptr"][-1]) if name in file else 0
    _append(file, f"{name}/data", block.data)
    _append(file, f"{name}/indices", block.indices.astype(np.int32))
    indptr = block.indptr.astype(np.int64) + end
    _append(file, f"{name}/indptr", indptr if end == 0 and indptr[0] == 0 else indptr[1:])


def _append(file: h5py.File, name: str, values: NDArray[np.generic]) -> None:
    if name not in file:
        rows = max(1, _CHUNK_BYTES // max(1, values[:1].nbytes))
        file.create_dataset(
            name,
            data=values,
            maxshape=(None, *values.shape[1:]),
            chunks=(rows, *values.shape[1:]),
        )
        return
    dataset = file[name]
    before = dataset.shape[0]
    dataset.resize(before + len(values), axis=0)
    dataset[before:] = values
