"""The bytes of a file received so far: ``<name>.part``, and notes of what it is a part of."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msibench.downloads.public_addresses import DownloadError

SILENCE_S = 60.0
"""How long another process may receive nothing before waiting for it ends."""


def notes_path(part: Path) -> Path:
    """Return where the address, the validator and the size of a part are noted."""
    return part.with_name(part.name + ".json")


def read_notes(part: Path) -> dict[str, Any]:
    """Return the notes on a part; empty where there are none, or none that can be read."""
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
def sole_writer(part: Path, silence_s: float = SILENCE_S) -> Iterator[bool]:
    """Keep a second process from writing into the same part; without fcntl there is no such guard.

    It waits while the other one's part grows.

    Yields
    ------
    Whether it had to wait: the file may be there by now.

    Raises
    ------
    DownloadError
        If the other one has written nothing for `silence_s` seconds.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    lock_path = part.with_name(part.name + ".lock")
    waited, last, seen = False, time.monotonic(), -1
    while True:
        with lock_path.open("w") as lock:
            if _is_mine(lambda: fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)):
                if not _is_still_there(lock_path, lock.fileno()):
                    continue  # its holder removed it between the opening and the lock
                try:
                    yield waited
                finally:
                    lock_path.unlink(missing_ok=True)
                return
        waited, size = True, part.stat().st_size if part.exists() else 0
        if size != seen:
            last, seen = time.monotonic(), size
        if time.monotonic() - last > silence_s:
            raise DownloadError(
                f"{part.name} is being downloaded by another process, which has brought nothing for "
                f"{silence_s:g} s; end it, or wait for it"
            )
        time.sleep(0.1)


def _is_mine(lock: Callable[[], None]) -> bool:
    try:
        lock()
    except OSError:
        return False
    return True


def _is_still_there(path: Path, descriptor: int) -> bool:
    """Whether a name still refers to the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
