"""The processes below one process, read cheaply: a cell is looked at twenty times a second."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import psutil


def below(root: int, known: dict[int, psutil.Process]) -> list[psutil.Process]:
    """Return the processes below `root`, parents first.

    Parameters
    ----------
    root
        Number of a process of ours; it is not among them.
    known
        What was found before, by number; new ones are added.

    Notes
    -----
    Linux lists the children of every thread in ``/proc/PID/task/TID/children``: reading a tree costs
    its own size, where a list of all processes costs the machine's (4 ms for 100 processes, hundreds on a
    login node). The kernel may leave one out that is born or ends just then: the next look finds it.
    """
    children = _from_threads if has_children_files() else _from_all
    found: list[psutil.Process] = []
    for pid in children(root):
        if pid not in known:
            with suppress(psutil.Error):
                known[pid] = psutil.Process(pid)
        if pid in known:
            found.append(known[pid])
    return found


@lru_cache(maxsize=1)
def has_children_files() -> bool:
    """Whether this kernel lists the children of a thread."""
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def _from_threads(root: int) -> list[int]:
    found: list[int] = []
    waiting = [root]
    while waiting:
        pid = waiting.pop(0)
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - twenty times a second
                with suppress(OSError):
                    names = Path(f"/proc/{pid}/task/{thread}/children").read_bytes().split()
                    found += map(int, names)
                    waiting += map(int, names)
    return found


def _from_all(root: int) -> list[int]:
    with suppress(psutil.Error):
        return [process.pid for process in psutil.Process(root).children(recursive=True)]
    return []


TMPFS = ("tmp", "dev/shm")
"""Places of a sandbox that are memory."""


def unmapped_bytes(pids: Iterable[int]) -> int:
    """Return the memory of some processes that no resident set shows, in bytes.

    That is what they keep in files of memory (``memfd_create``) and, inside a sandbox, in its own
    ``/tmp`` and ``/dev/shm``, less what of it is mapped, which their resident sets hold already. Outside
    of a sandbox ``/dev/shm`` is everybody's: only what they hold open there counts.
    """
    held: dict[tuple[int, int], int] = {}
    mounts: dict[int, int] = {}
    mapped = 0
    with suppress(OSError):
        common = {os.stat(f"/{place}").st_dev for place in TMPFS}  # noqa: PTH116
        common_shm = os.stat("/dev/shm").st_dev  # noqa: PTH116
    for pid in pids:
        mapped += _mapped_shared(pid)
        for place in TMPFS:
            with suppress(OSError, NameError):
                path = f"/proc/{pid}/root/{place}"
                if (device := os.stat(path).st_dev) not in common and device not in mounts:  # noqa: PTH116
                    space = os.statvfs(path)
                    small = space.f_blocks * space.f_frsize < 1 << 50 and space.f_blocks
                    used = (space.f_blocks - space.f_bfree) * space.f_frsize
                    mounts[device] = used if small else 0
        with suppress(OSError, NameError):
            for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - the names alone
                with suppress(OSError):
                    link = f"/proc/{pid}/fd/{name}"
                    status = os.stat(link)  # noqa: PTH116
                    in_memory = os.readlink(link).startswith("/memfd:")  # noqa: PTH115
                    if in_memory or status.st_dev == common_shm:
                        held[status.st_dev, status.st_ino] = status.st_blocks * 512
    return max(0, sum(held.values()) + sum(mounts.values()) - mapped)


def _mapped_shared(pid: int) -> int:
    """Return the bytes of shared memory in a process's resident set."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
            if line.startswith(b"RssShmem:"):
                return int(line.split()[1]) * 1024
    return 0
