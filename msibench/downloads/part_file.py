"""The bytes of a file that have come so far: ``<name>.part``, and notes of what it is a part of."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msibench.downloads.public_addresses import DownloadError


def notes_path(part: Path) -> Path:
    """Return where the address, the validator and the size of a part are noted."""
    return part.with_name(part.name + ".json")


def read_notes(part: Path) -> dict[str, Any]:
    """Return what is noted of a part; empty where nothing is, or nothing that can be read."""
    try:
        notes = json.loads(notes_path(part).read_text())
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def discard(part: Path) -> None:
    """Delete a part and its notes."""
    part.unlink(missing_ok=True)
    notes_path(part).unlink(missing_ok=True)


@contextlib.contextmanager
def sole_writer(part: Path) -> Iterator[None]:
    """Keep a second process from writing into the same part; without fcntl there is no such guard."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    lock_path = part.with_name(part.name + ".lock")
    with lock_path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DownloadError(
                f"{part.name} is being downloaded by another process; wait for it"
            ) from error
        try:
            yield
        finally:
            lock_path.unlink(missing_ok=True)
