"""The processes below one process, read cheaply: a cell is looked at twenty times a second."""

from __future__ import annotations

import os
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
