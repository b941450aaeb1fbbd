"""Arrays in HDF5 files: written reproducibly, and checked when read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.errors import IntegrityError
from msibench.io.hdf5_guard import has, why_unsafe
from msibench.io.hdf5_writing import let_go, new_hdf5
from msibench.io.stored_stack import StoredStack, bands, is_large

CHUNK_PIXELS = 1 << 20


def write_arrays(
    path: Path, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any] | None = None
) -> None:
    """Write named arrays and attributes; the same content gives the same bytes."""
    with array_file(path, attributes) as file:
        for name, values in sorted(arrays.items()):
            file.write(name, np.asarray(values))


@contextmanager
def array_file(path: Path, attributes: Mapping[str, Any] | None = None) -> Iterator[ArrayFile]:
    """Open a file for arrays that are written one after the other, or one a part at a time.

    The same calls with the same content give the same bytes.
    """
    with new_hdf5(path, libver="v110", track_order=False) as file:
        for key, value in sorted((attributes or {}).items()):
            file.attrs[key] = value
        yield ArrayFile(file, int(file.id.get_vfd_handle()))


class ArrayFile:
    """An HDF5 file while it is written; see `array_file`."""

    def __init__(self, file: Any, descriptor: int) -> None:
        self._file, self._descriptor = file, descriptor

    def write(self, name: str, values: NDArray[Any]) -> None:
        """Write a whole array."""
        self._create(name, values.shape, data=values)

    def stack(self, name: str, shape: tuple[int, ...]) -> Any:
        """Make a float32 array; what is assigned to parts of the result is written at once."""
        return self._create(name, shape, dtype=np.float32)

    def note(self, key: str, value: Any) -> None:
        """Write an attribute of the file."""
        self._file.attrs[key] = value

    def _create(self, name: str, shape: tuple[int, ...], **content: Any) -> Any:
        options: dict[str, Any] = {}
        if len(shape) >= 2 and all(shape):
            options = {
                "chunks": _chunks(shape),
                "compression": "gzip",
                "compression_opts": 1,
                "shuffle": True,
            }
        try:
            created = self._file.create_dataset(
                name, shape=shape, track_times=False, **content, **options
            )
            created.flush()  # a full disk is to be heard of here, not while the array is let go
        except (OSError, RuntimeError):
            let_go(self._descriptor)
            raise
        return created


def read_arrays(
    path: Path,
    names: tuple[str, ...] | None = None,
    *,
    max_bytes: int = 64 << 30,
    lazily: tuple[str, ...] = (),
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read arrays from an untrusted file.

    Only plain data sets inside the file are read: soft and external links, external storage and
    virtual data sets are refused, and so are arrays larger than `max_bytes` before any is allocated.
    Of the names in `lazily`, a large stack of float32 images stays in the file
    (`msibench.io.stored_stack`).

    Raises
    ------
    IntegrityError
        If the file is not an HDF5 file, is damaged, or holds what is not read.
    """
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            arrays = {}
            for name in names if names is not None else sorted(file):
                if names is not None and not has(file, name):
                    raise IntegrityError(f"{path} holds no array {name!r}")
                if names is None and _is_group(file, name):
                    continue
                item = plain_array(file, name, path, max_bytes)
                arrays[name] = _stored(item, path) if name in lazily else item[()]
            attributes = {key: _attribute(value) for key, value in file.attrs.items()}
    except MemoryError as error:
        raise IntegrityError(f"{path} does not fit into free memory") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, IntegrityError):
            raise
        raise IntegrityError(f"{path} cannot be read as HDF5: {error}") from error
    return arrays, attributes


def shape_of(path: Path, name: str) -> tuple[int, ...]:
    """Return the shape that a file states for an array; nothing of the array is read.

    Raises
    ------
    IntegrityError
        If it is not an HDF5 file, or holds no such plain array.
    """
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            if not has(file, name) or _is_group(file, name):
                raise IntegrityError(f"{path} holds no array {name!r}")
            return tuple(int(size) for size in file[name].shape)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, IntegrityError):
            raise
        raise IntegrityError(f"{path} cannot be read as HDF5: {error}") from error


def _stored(item: Any, path: Path) -> Any:
    if item.ndim == 3 and item.dtype == np.float32 and is_large(item.shape):
        return StoredStack(path, item.name, item.shape, item.dtype)
    return item[()]


def plain_array(file: Any, name: str, path: Path, max_bytes: int) -> Any:
    """Return a data set whose values lie in its own file and fit into `max_bytes`; raise for any other."""
    if reason := why_unsafe(file, name):
        raise IntegrityError(f"{path}: {reason}; refused")
    item = file[name]
    wanted = math.prod(item.shape) * item.dtype.itemsize
    if wanted > max_bytes:
        raise IntegrityError(
            f"{path}: {item.name!r} of shape {item.shape} would take {wanted / 2**30:.1f} GiB; "
            f"at most {max_bytes / 2**30:.1f} GiB is read"
        )
    return item


def _is_group(file: Any, name: str) -> bool:
    import h5py

    link = file.get(name, getlink=True)
    return isinstance(link, h5py.HardLink) and file.get(name, getclass=True) is h5py.Group


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """One image a chunk, or bands of rows of a very large one.

    A large stack is also read by bands of rows, all ions of them: four chunks make up such a band.
    """
    rows, columns = shape[-2:]
    band = max(1, min(rows, CHUNK_PIXELS // max(1, columns)))
    if len(shape) == 3 and is_large(shape):
        band = min(band, max(1, bands(shape)[0].stop // 4))
    return (1,) * (len(shape) - 2) + (band, columns)


def _attribute(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.item() if isinstance(value, np.generic) else value
