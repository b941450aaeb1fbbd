"""A process between a supervisor and one cell, which outlives neither. ``python guard.py PARENT LAYOUT COMMAND…``.

A process that a method starts may leave its session, its process group and its environment behind. Its
guard finds it all the same: it is the "subreaper" of the cell, to which the kernel hands every
descendant whose parent ends. When the cell ends, or its supervisor dies, by ``kill -9`` too, or asks for
the end, the guard kills all descendants that are left, and passes the cell's exit status on.

Runs as a bare script (``-I -S``), without the package: it starts in about 20 ms; or as a fork of
`msibench.runner.child.fork_server`, whose cells begin by forking, too. On systems without `prctl` it is a
plain parent. Where a LAYOUT is given, the guard's fork is process 1 of a sandbox of namespaces, which forks
the cell: no second interpreter has to start.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
END_NOW = signal.SIGHUP
"""What a supervisor sends when the grace period is over."""
WATCHED = frozenset({signal.SIGCHLD, signal.SIGCONT, signal.SIGTERM, signal.SIGINT, END_NOW})
OUTSIDE = 0
"""The number of a parent that is in none of a process's namespaces."""
PATIENCE_S = 20.0
"""How long to keep killing a cell that goes on starting processes."""


def guarded(command: list[str], inside: str = "") -> list[str]:
    """Return the command line of a guard of this process's that runs `command`.

    Parameters
    ----------
    inside
        What `msibench.runner.child.sandbox.namespaces` makes a sandbox of (JSON); empty for none.
    """
    script = os.path.realpath(__file__)
    return [sys.executable, "-I", "-S", script, str(os.getpid()), inside, *command]


def main(
    parent: int, work: Callable[[], int], lifeline: int = -1, fork: Callable[[], int] = os.fork
) -> int:
    """Have a fork do `work`, to its end, and return how it ended, as `os.waitstatus_to_exitcode` does.

    Parameters
    ----------
    parent
        The process whose child this is; when it is gone the work ends.
    lifeline
        A descriptor whose other end the supervisor holds, where `parent` is another process.
    fork
        Forks this process, the child perhaps into namespaces of its own.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # a guard that its cell has stopped is woken by it, and sees that its supervisor is gone
    _prctl(PR_SET_PDEATHSIG, signal.SIGCONT)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != parent:
        return -signal.SIGKILL
    cell = _start(work, fork)
    code: int | None = None
    while code is None:
        heard = signal.sigtimedwait(WATCHED, 1.0)
        code = _reap(cell)
        told = heard is not None and heard.si_signo == END_NOW
        if told or os.getppid() != parent or is_loose(lifeline):
            break
    if not end_descendants():
        return -signal.SIGKILL  # its supervisor looks for them
    return _reap(cell) or -signal.SIGKILL if code is None else code


def is_loose(lifeline: int) -> bool:
    """Whether the other end of a descriptor is closed."""
    if lifeline < 0:
        return False
    held = select.poll()
    held.register(lifeline, 0)
    return bool(held.poll(0))


def end_descendants() -> bool:
    """Kill and reap descendants until none is left; False where some are, after a long time."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True  # orphans come to this process: without a child it has no descendant
        for pid in descendants(os.getpid()):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    return False


def descendants(root: int) -> list[int]:
    """Return the numbers of all processes below `root`, parents first."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(0), [])
        found += below
        waiting += below
    return found


def _start(work: Callable[[], int], fork: Callable[[], int]) -> int:
    guard = os.getpid()
    pid = fork()
    if pid:
        return pid
    end_with_parent()  # kept over exec
    if os.getppid() not in {guard, OUTSIDE}:
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
    code = 127
    try:
        code = work()
    finally:
        os._exit(code)


def become(command: list[str]) -> int:
    """Replace this process by a program; return only where that is not possible."""
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    return 127


def in_namespaces(
    layout: str, work: Callable[[], int]
) -> tuple[Callable[[], int], Callable[[], int]]:
    """Return the work, and the fork that does it, for a sandbox of namespaces around it."""
    if __package__:
        from msibench.runner.child.sandbox import namespaces
    else:  # the script beside this one, which is not part of a package here
        sys.path[:0] = [f"{os.path.dirname(os.path.realpath(__file__))}/sandbox"]
        import namespaces  # type: ignore[import-not-found, no-redef]
    user = os.getuid(), os.getgid()

    def fork() -> int:
        try:
            return int(namespaces.fork_inside())
        except OSError as error:
            os._exit(namespaces.refused(error))

    return lambda: int(namespaces.enter(layout, work, user)), fork


def _reap(cell: int) -> int | None:
    """Reap whatever ended; return how the cell ended, or None while it runs."""
    code = _reaped.get(cell)
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            if ended[0] == cell:
                code = _reaped[cell] = os.waitstatus_to_exitcode(ended[1])
    return code


_reaped: dict[int, int] = {}


def end_with_parent() -> None:
    """Ask the kernel to end this process when the one that forked it is gone."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def end_like(code: int) -> None:
    """End this process the way its cell ended."""
    if code < 0:
        with suppress(OSError, ValueError):
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.kill(os.getpid(), -code)
    os._exit(code & 0xFF)


if __name__ == "__main__":
    work, fork = lambda: become(sys.argv[3:]), os.fork
    if inside := sys.argv[2]:
        work, fork = in_namespaces(inside, work)
    end_like(main(int(sys.argv[1]), work, fork=fork))
