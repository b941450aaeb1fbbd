"""Write files so that any moment of a crash leaves the old one or the new one, never a half."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msibench.errors import MSIBenchError, StoreError
from msibench.io.hdf5_writing import hdf5_errno
from msibench.owners import is_forgotten, is_orphaned, owned_name

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})
WHOLE_BYTES = 1 << 20
"""Up to which a file is hashed from one read: a buffer to read it in parts costs more than the hash."""


def write_atomically(path: Path, data: bytes | str) -> None:
    """Replace a file's content in one step, flushed to the disk.

    Raises
    ------
    StoreError
        If the disk is full or the folder cannot be written; the old content stands.
    """
    write_together({path: data})


def write_together(contents: Mapping[Path, bytes | str]) -> None:
    """Replace the content of several files: all are written out before the first is replaced.

    A disk that is full, or cannot be written, leaves every old file as it was.

    Raises
    ------
    StoreError
        Naming the file and what to do.
    """
    beside: dict[Path, Path] = {}
    try:
        for path, data in contents.items():
            with explained(path):
                part = path.with_name(f".{owned_name(path.name)}.part")
                beside[path] = part
                with part.open("wb") as stream:
                    stream.write(data.encode() if isinstance(data, str) else data)
                    stream.flush()
                    os.fsync(stream.fileno())
        for path, part in beside.items():
            with explained(path):
                part.replace(path)
        for folder in dict.fromkeys(path.parent for path in contents):
            sync_folder(folder)
    finally:
        for part in beside.values():
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def sweep_parts(folder: Path) -> None:
    """Remove the unfinished files that dead processes left in a folder."""
    for part in folder.glob(".*.part"):
        if is_orphaned(part.name) or is_forgotten(part):
            with contextlib.suppress(OSError):
                part.unlink()


def sync_file(path: Path) -> None:
    """Flush one file to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path | str) -> str:
    """Return the sha256 of a file."""
    with io.FileIO(path) as stream:
        if os.fstat(stream.fileno()).st_size <= WHOLE_BYTES:
            return hashlib.sha256(stream.readall()).hexdigest()
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the system's word for a full, read-only or lost folder into one that says what to do."""
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
    if number in GONE:
        return (
            "the folder is gone: put the results folder back, or name where it lies now with "
            "--results DIR, and run again; finished cells are kept"
        )
    return "finished cells are kept; run again when it can be written"
