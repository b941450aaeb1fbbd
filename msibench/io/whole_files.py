"""Replace files so that a crash at any moment leaves the old one or the new one, never a half."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from msibench.owners import is_forgotten, is_orphaned, owned_name


def write_whole(
    contents: Mapping[Path, bytes],
    explained: Callable[[Path], AbstractContextManager[object]] = nullcontext,
    *,
    flushed: bool = True,
) -> None:
    """Replace the content of files, flushed to the disk: all are written before the first is replaced.

    A disk that is full, or cannot be written, leaves every old file as it was, and nothing beside it.

    Parameters
    ----------
    contents
        In folders that exist.
    explained
        Put around each step on a file, to turn the system's error into one that says what to do.
    flushed
        False for files of a folder that is of no use after a crash, or that is flushed as a whole later.
    """
    beside: dict[Path, Path] = {}
    try:
        for path, data in contents.items():
            with explained(path):
                part = path.with_name(f".{owned_name(path.name)}.part")
                beside[path] = part
                with part.open("wb") as stream:
                    stream.write(data)
                    if flushed:
                        stream.flush()
                        os.fsync(stream.fileno())
        for path, part in beside.items():
            with explained(path):
                part.replace(path)
        for folder in dict.fromkeys(path.parent for path in contents if flushed):
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
