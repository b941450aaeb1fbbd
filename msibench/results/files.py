"""Write files so that any moment of a crash leaves the old one or the new one, never a half."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msibench.errors import StoreError


def write_atomically(path: Path, data: bytes | str) -> None:
    """Replace a file's content in one step, flushed to the disk.

    Raises
    ------
    StoreError
        If the disk is full or the folder cannot be written; the old content stands.
    """
    raw = data.encode() if isinstance(data, str) else data
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    with explained(path):
        try:
            with beside.open("wb") as stream:
                stream.write(raw)
                stream.flush()
                os.fsync(stream.fileno())
            beside.replace(path)
            sync_folder(path.parent)
        finally:
            beside.unlink(missing_ok=True)


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
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the system's word for a full or read-only disk into a message that says what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            advice = "the disk is full: free some space and run again; finished cells are kept"
        elif error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
            advice = "it cannot be written: choose another folder with --results DIR"
        else:
            advice = "finished cells are kept; run again when it can be written"
        raise StoreError(f"{path}: {error.strerror or error}; {advice}") from error
