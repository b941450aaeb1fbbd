"""Stacks of ion images that stay in their HDF5 file, for sections that memory should not hold.

A section of 16 million pixels and 45 ions takes 2.9 GB, and whatever computes on it a multiple of
that. Above a limit the harness therefore reads, predicts, writes and scores a few ion images at a
time; below it nothing changes. ``MSIBENCH_LARGE_MIB`` moves the limit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from msibench.errors import ConfigurationError, IntegrityError

LARGE_MIB = 128.0
"""A stack of float32 ion images is large from here on."""


def large_bytes() -> int:
    """Return the bytes from which a stack of ion images is not held at once.

    Raises
    ------
    ConfigurationError
        If ``MSIBENCH_LARGE_MIB`` is not a positive number.
    """
    text = os.environ.get("MSIBENCH_LARGE_MIB", "")
    try:
        limit = float(text) if text else LARGE_MIB
    except ValueError:
        limit = math.nan
    if not 0 < limit < math.inf:
        raise ConfigurationError(
            f"MSIBENCH_LARGE_MIB must be a positive number of MiB, got {text!r}; unset it for "
            f"{LARGE_MIB:g}"
        )
    return int(limit * 2**20)


def is_large(shape: Sequence[int]) -> bool:
    """Whether float32 images ``(channel, row, column)`` are to be worked on a few at a time."""
    return 4 * math.prod(int(side) for side in shape) > large_bytes()


def groups(shape: Sequence[int]) -> list[slice]:
    """Cut ``(channel, row, column)`` into groups of ion images that may be held at once.

    A stack that is not large is one group; a group of a large one takes about a quarter of the limit. It never holds one image alone, unless the stack
    does: numpy sums the pixels of a mask in another order where there is one image only, and a value
    must not depend on the group that it was computed in.
    """
    channels, rows, columns = (int(side) for side in shape)
    if not is_large(shape):
        return [slice(0, channels)]
    fits = large_bytes() // 16 // max(1, rows * columns)
    size = max(2, fits // 16 * 16 if fits > 16 else fits)
    starts = list(range(0, channels, size))
    if len(starts) > 1 and channels - starts[-1] == 1:
        del starts[-1]
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], channels], strict=True)]


def bands(shape: Sequence[int]) -> list[slice]:
    """Cut ``(channel, row, column)`` into bands of rows that may be held at once, all ions of them."""
    channels, rows, columns = (int(side) for side in shape)
    height = max(1, large_bytes() // 16 // max(1, channels * columns))
    return [slice(top, min(rows, top + height)) for top in range(0, rows, height)]


class StoredStack:
    """A data set ``(channel, row, column)`` of an HDF5 file that is read where it is indexed.

    It has the attributes of an array, gives numpy arrays when indexed
    (``stack[3]``, ``stack[2:5]``, ``stack[:, 100:200]``) and becomes one as a whole under
    ``numpy.asarray``. The file is opened for each read, so that none stays open.

    Parameters
    ----------
    path, name
        The file, and the data set in it. Whoever makes a stack has checked that the values lie in
        the file itself (`msibench.results.arrays`, `msibench.io.hdf5`).
    shape, dtype
        Of the data set.
    """

    stays_in_file = True
    ndim = 3

    def __init__(
        self, path: Path, name: str, shape: tuple[int, int, int], dtype: np.dtype[np.generic]
    ) -> None:
        self.path, self.name, self.shape, self.dtype = path, name, shape, dtype

    @property
    def size(self) -> int:
        """How many values there are."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that it would take in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[np.generic]]:
        for channel in range(len(self)):
            yield self[channel]

    def __getitem__(self, key: Any) -> NDArray[np.generic]:
        import h5py

        plain = all(_is_plain(part) for part in (key if isinstance(key, tuple) else (key,)))
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                if plain:
                    return np.asarray(file[self.name][key])
        except (OSError, RuntimeError, KeyError) as error:
            raise IntegrityError(f"{self.path} cannot be read as HDF5: {error}") from error
        if isinstance(key, list | np.ndarray) and np.asarray(key).ndim == 1:
            chosen = np.arange(len(self))[np.asarray(key)]
            return np.stack([self[int(channel)] for channel in chosen])
        whole: NDArray[np.generic] = self[...][key]
        return whole

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[np.generic]:
        return np.asarray(self[...], dtype=dtype)

    def __repr__(self) -> str:
        return f"StoredStack({self.path.name}:{self.name}, {self.shape}, {self.dtype})"


def _is_plain(part: object) -> bool:
    """Whether HDF5 itself can read this part of an index."""
    if isinstance(part, slice):
        return part.step is None or part.step > 0
    return part is Ellipsis or (isinstance(part, int | np.integer) and not isinstance(part, bool))
