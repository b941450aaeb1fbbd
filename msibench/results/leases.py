"""Leases: two runs on one shared folder never do the same cell twice.

A lease is a small file made with ``O_EXCL``, which NFS keeps atomic too; its modification time is the
holder's heartbeat. No file locks are used. A lease whose holder is dead (same host) or silent for
`STALE_S` (other hosts) is taken over: renamed aside first, so that only one of many can win.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from msibench.results.files import explained

STALE_S = 180.0
BEAT_S = 20.0


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run one cell."""

    path: Path
    token: str

    def beat(self) -> None:
        """Say that the holder is alive."""
        try:
            os.utime(self.path)
        except OSError:
            return

    def held(self) -> bool:
        """Whether the file is still this holder's (it may have been taken over)."""
        return _read(self.path).get("token") == self.token

    def release(self) -> None:
        """Give the cell back."""
        if self.held():
            self.path.unlink(missing_ok=True)


def acquire(path: Path) -> Lease | None:
    """Take the lease at `path`, or return None while another run holds it."""
    token = uuid.uuid4().hex
    facts = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": _process_start(os.getpid()),
        "token": token,
    }
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                if not _take_aside(path):
                    return None
                continue
            with os.fdopen(descriptor, "w") as stream:
                json.dump(facts, stream)
            return Lease(path, token)
    return None


def holder(path: Path) -> str:
    """Return ``"host, process 123"`` of whoever holds a lease, for a message."""
    facts = _read(path)
    return f"{facts.get('host', 'unknown host')}, process {facts.get('pid', '?')}"


def is_stale(path: Path) -> bool:
    """Whether the holder of a lease is gone."""
    try:
        silent = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return True
    facts = _read(path)
    process = facts.get("pid")
    if facts.get("host") == socket.gethostname() and isinstance(process, int):
        return _process_start(process) != facts.get("started")
    # a clock that jumped backwards makes `silent` negative: then only waiting helps
    return silent > STALE_S


def _take_aside(path: Path) -> bool:
    """Remove a stale lease; False when it is alive or another run was faster."""
    if not is_stale(path):
        return False
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.stale")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return True
    if not is_stale(aside):  # it came to life between the look and the rename: give it back
        with contextlib.suppress(OSError):
            os.link(aside, path)
        aside.unlink(missing_ok=True)
        return False
    aside.unlink(missing_ok=True)
    return True


def _read(path: Path) -> dict[str, object]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _process_start(pid: int) -> float | None:
    """Return when a process of this host began, so that a reused number is not mistaken for it."""
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None
