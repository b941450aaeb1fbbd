"""Files of a results folder: replaced whole, and an error that says what to do."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msibench.errors import MSIBenchError, StoreError
from msibench.io.hdf5_writing import hdf5_errno
from msibench.io.whole_files import write_whole

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
NO_FOLDER = frozenset({errno.ENOTDIR, errno.EEXIST})
GONE = frozenset({errno.ENOENT, errno.ESTALE})
WHOLE_BYTES = 1 << 20
"""Up to which a file is hashed from one read: a buffer to read it in parts costs more than the hash."""


def write_atomically(path: Path, data: bytes | str, *, flushed: bool = True) -> None:
    """Replace a file's content in one step, flushed to the disk.

    Parameters
    ----------
    flushed
        False in a folder that is of no use after a crash, or that is flushed as a whole later.

    Raises
    ------
    StoreError
        If the disk is full or the folder cannot be written; the old content is kept.
    """
    write_together({path: data}, flushed=flushed)


def write_together(contents: Mapping[Path, bytes | str], *, flushed: bool = True) -> None:
    """Replace the content of several files: all are written out before the first is replaced.

    A disk that is full, or cannot be written, leaves every old file as it was.

    Raises
    ------
    StoreError
        Naming the file and what to do.
    """
    texts = {p: data.encode() if isinstance(data, str) else data for p, data in contents.items()}
    write_whole(texts, explained, flushed=flushed)


def sha256_of(path: Path | str) -> str:
    """Return the sha256 of a file."""
    with io.FileIO(path) as stream:
        if os.fstat(stream.fileno()).st_size <= WHOLE_BYTES:
            return hashlib.sha256(stream.readall()).hexdigest()
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the system's error for a full, read-only or lost folder into one that says what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error, MSIBenchError):
            raise
        raise StoreError(f"{path}: {error.strerror or error}; {advice(error)}") from error


def advice(error: OSError) -> str:
    """Return what to do about a file that could not be written."""
    number = error.errno or hdf5_errno(str(error))
    if number in FULL:
        return "the disk is full: free some space and run again; finished cells are kept"
    if number in READ_ONLY:
        return "it cannot be written: choose another folder with --results DIR"
    if number in NO_FOLDER:
        return "a file lies where a folder is needed: choose another folder with --results DIR"
    if number in GONE:
        return (
            "the folder is gone: put the results folder back, or name where it lies now with "
            "--results DIR, and run again; finished cells are kept"
        )
    return "finished cells are kept; run again when it can be written"
