"""Who made a temporary file: a process of a place, and whether that process has ended.

Names of work folders and of files that are being written hold the place (a digest of this boot of this
kernel and this process namespace), the process and its start, so that a later run can tell what a dead
one left behind from what a living one is still writing. Two containers with one host name, or two nodes
of one name on a shared disk, are two places: their process numbers mean nothing to each other.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import uuid
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

FORGOTTEN_S = 86_400.0
"""Time without changes after which files of another place count as abandoned."""
_OWNED = re.compile(r"-(?P<place>at[0-9a-f]{12})-(?P<process>\d+)-(?P<start>\d+)-[0-9a-f]{8}(\.|$)")


def owned_name(stem: str) -> str:
    """Return ``<stem>-<place>-<process>-<its start>-<eight random letters>``."""
    start = int(process_start(os.getpid()) or 0)
    return f"{stem}-{_place_tag()}-{os.getpid()}-{start}-{uuid.uuid4().hex[:8]}"


def is_orphaned(name: str) -> bool:
    """Whether a name that `owned_name` gave belongs to a process of this place that has ended.

    Never true for another place, whose processes cannot be seen. See `is_forgotten`.
    """
    found = _OWNED.search(name)
    if found is None or found["place"] != _place_tag():
        return False
    return is_gone(int(found["process"]), float(found["start"]) or None)


def is_forgotten(path: Path) -> bool:
    """Whether something of another place, or of an older msibench, was left alone for a day.

    Its own files and those directly inside count, and the clock is the file system's: nothing that is
    worked on is silent for so long, for a cell's log, scratch and heartbeat are written there.
    """
    found = _OWNED.search(path.name)
    if found is not None and found["place"] == _place_tag():
        return False
    try:
        newest = max(
            (entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(path)),
            default=0.0,
        )
        newest = max(newest, path.stat().st_mtime)
    except NotADirectoryError:
        newest = path.stat().st_mtime
    except OSError:
        return False
    probe = path.parent / f".{owned_name('clock')}.part"
    try:
        probe.touch()
        now = probe.stat().st_mtime
    except OSError:
        return False
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return now - newest > FORGOTTEN_S


@lru_cache(maxsize=1)
def _place_tag() -> str:
    return f"at{hashlib.sha256(place().encode()).hexdigest()[:12]}"


@lru_cache(maxsize=1)
def place() -> str:
    """Return what process numbers are unique in: this boot of this kernel, this process namespace.

    Two containers may share a host name and a results folder; their process numbers mean nothing to
    each other.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()} {boot} {namespace}"


def process_start(pid: int) -> float | None:
    """Return when a process of this place began; None when that is unknown.

    In clock ticks since the machine started, where the system reports it: a clock that is set, or a second
    that is stepped, leaves it alone, and a number that is used again has another start.
    """
    seen = _state_and_start(pid)
    return None if seen is None else seen[1]


def is_gone(pid: int, start: float | None = None) -> bool:
    """Whether a process of this place has ended; `start` tells it from a later one of its number."""
    import psutil

    if not psutil.pid_exists(pid):
        return True
    seen = _state_and_start(pid)
    if seen is None:  # another user's, on a system that hides those
        return False
    return seen[0] in {"Z", "X"} or (start is not None and seen[1] != start)


def _state_and_start(pid: int) -> tuple[str, float] | None:
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = line.rpartition(")")[2].split()  # the name may hold spaces and brackets
    return fields[0], float(fields[19])
