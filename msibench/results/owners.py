"""Who made a temporary file: a process of a host, and whether it is gone.

Names of work folders and of files that are being written hold ``<host>-<process>``, so that a later run
can tell what a dead one left behind from what a living one is still writing.
"""

from __future__ import annotations

import os
import re
import socket
import uuid
from functools import lru_cache
from pathlib import Path

_PART = re.compile(r"-(?P<host>[A-Za-z0-9._]+)-(?P<process>\d+)-[0-9a-f]{8}(\.|$)")


def owned_name(stem: str) -> str:
    """Return ``<stem>-<host>-<process>-<eight random letters>``."""
    return f"{stem}-{host_name()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def is_orphaned(name: str) -> bool:
    """Whether a name that `owned_name` gave belongs to a process that no longer runs here.

    What another host made is never called orphaned: nobody here can tell.
    """
    found = _PART.search(name)
    return found is not None and found["host"] == host_name() and is_gone(int(found["process"]))


def host_name() -> str:
    """Return this machine's name as one word."""
    return re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname()) or "host"


@lru_cache(maxsize=1)
def place() -> str:
    """Return what process numbers are unique in: this boot of this kernel, this process namespace.

    Two containers may share a host name and a results folder; their process numbers mean nothing to
    each other.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()} {boot} {namespace}"


def process_start(pid: int) -> float | None:
    """Return when a process of this place began; None when that cannot be told.

    In clock ticks since the machine started, where the system tells: a clock that is set, or a second
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
