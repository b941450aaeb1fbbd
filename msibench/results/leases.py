"""Leases: two runs on one shared folder never do the same cell twice.

A lease is a small file that is written beside and linked into place, which NFS keeps atomic too; its
modification time is the holder's heartbeat. No file locks are used. A lease whose holder is dead (same
machine) or silent for `STALE_S` (others) is taken over: renamed aside first, so that only one of many
can win.

No process's clock is asked. Silence is the file system's "now" less the heartbeat, both by one clock. A
heartbeat that lies far ahead is older than a clock that was set back: its silence counts anew from the
first look.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from msibench.owners import is_gone, owned_name, place, process_start
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
        """Give the cell back; a folder that cannot be written any more keeps it until it is stale."""
        if self.held():
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


def acquire(path: Path) -> Lease | None:
    """Take the lease at `path`, or return None while another run holds it.

    Raises
    ------
    StoreError
        If the folder cannot be written.
    """
    token = uuid.uuid4().hex
    holder = {
        "host": socket.gethostname(),
        "place": place(),
        "pid": os.getpid(),
        "started": process_start(os.getpid()),
        "token": token,
    }
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            if _put(path, json.dumps(holder)):
                return Lease(path, token)
            if not _take_aside(path):
                return None
    return None


@contextmanager
def waited_for(path: Path, patience_s: float = 10.0) -> Iterator[None]:
    """Hold a lease for a moment, waiting for it; go on without when it does not come.

    For a file that is read, changed and written again by several runs.
    """
    end = time.monotonic() + patience_s
    while (lease := acquire(path)) is None and time.monotonic() < end:
        time.sleep(0.02)
    try:
        yield
    finally:
        if lease is not None:
            lease.release()


def holder(path: Path) -> str:
    """Return ``"host, process 123"`` of whoever holds a lease, for a message."""
    holder = _read(path)
    return f"{holder.get('host', 'unknown host')}, process {holder.get('pid', '?')}"


def is_stale(path: Path) -> bool:
    """Whether the holder of a lease is gone."""
    holder = _read(path)
    process, started = holder.get("pid"), holder.get("started")
    if holder.get("place") == place() and isinstance(process, int):
        return is_gone(process, started if isinstance(started, float) else None)
    silent = _silence(path)
    return silent is None or silent > STALE_S


def drop_orphaned(path: Path) -> None:
    """Remove the lease of a process of this machine that has ended; leave every other."""
    holder = _read(path)
    process, started = holder.get("pid"), holder.get("started")
    if holder.get("place") != place() or not isinstance(process, int):
        return
    if is_gone(process, started if isinstance(started, float) else None):
        _take_aside(path)


def _silence(path: Path) -> float | None:
    """Return the seconds since the last heartbeat, by the file system's clock; None without a lease."""
    try:
        beat = path.stat().st_mtime
    except FileNotFoundError:
        return None
    probe = path.with_name(f".{owned_name('clock')}.part")
    try:
        probe.touch()
        now = probe.stat().st_mtime
    except OSError:
        now = time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return now - beat


def _put(path: Path, text: str) -> bool:
    """Write a whole file that was not there; False when it was."""
    beside = path.with_name(f".{owned_name(path.name)}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        try:
            os.link(beside, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}:
                return _put_without_links(path, text)
            if beside.stat().st_nlink != 2:  # NFS may lose the answer of a link that was made
                raise
        return True
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _put_without_links(path: Path, text: str) -> bool:
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        return False
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True


def _take_aside(path: Path) -> bool:
    """Remove a stale lease; False when it is alive or another run was faster."""
    if not is_stale(path):
        silent = _silence(path)
        if silent is not None and silent < -STALE_S:
            with contextlib.suppress(OSError):
                os.utime(path)
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
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) else {}
