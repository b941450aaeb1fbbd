"""Begin cells as forks of a process that holds the large libraries, see `fork_server`.

One server is kept for each set of libraries and each environment, for as long as it is used: of an environment
each is a fork of the one with fewer libraries. Where the system
does not fork safely (anything but Linux), where the cell's sandbox is a program of its own, or where no
server can be had, `warm_start` says so and the cell begins as a process of its own.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from msibench.runner.child.fork_server import (
    BEGIN,
    ENCLOSE,
    FIELDS,
    GROW,
    LENGTH,
    TAG,
    TAG_ROOM,
)

MOST_SERVERS = 8
"""Servers that are kept; more run at a time only while each has cells."""
SERVER = """\
import gc
gc.disable()  # until all that a server needs is imported
from sys import argv
from msibench.runner.child.fork_server import main
main(int(argv[1]), int(argv[2]))
"""
READY_S = 120.0
"""For how long a server may import before it is given up."""
TRIES = 2
LIMITS = tuple(sorted({getattr(resource, n) for n in dir(resource) if n.startswith("RLIMIT_")}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a fork has to know to be a cell's process."""

    folder: Path
    environment: Mapping[str, str]
    inside: str = ""
    """What `msibench.runner.child.sandbox.namespaces` makes a sandbox of; empty for none."""
    threads: int = 1
    libraries: tuple[str, ...] = ()
    """As `msibench.runner.child.libraries.libraries_of` gives them."""
    server_environment: Mapping[str, str] = field(default_factory=dict)
    """What all cells like this one have in their environment."""

    def request(self) -> bytes:
        """Return what its guard reads."""
        told = {
            "folder": str(self.folder),
            "environment": dict(self.environment),
            "inside": self.inside,
            "threads": self.threads,
        }
        return json.dumps(told).encode()


class WarmProcess:
    """A guard that a fork server began: what is needed of a `subprocess.Popen` here."""

    def __init__(
        self, pid: int, status: socket.socket, lifeline: int, stdout: IO[bytes], server: _Server
    ) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self.lost = False
        """Its server is gone, so how it ended is unknown."""
        self._status = status
        self._lifeline = lifeline
        self._server = server

    def poll(self) -> int | None:
        """Return how it ended; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises
        ------
        subprocess.TimeoutExpired
            If it has not ended by then.
        """
        if self.returncode is None:
            if not _readable(self._status, timeout):
                raise subprocess.TimeoutExpired(f"cell {self.pid}", timeout or 0.0)
            said = _receive(self._status)
            self.lost = said is None
            self.returncode = -signal.SIGKILL if said is None else said
        return self.returncode

    def close(self) -> None:
        """Release it; its number may then be another process's."""
        self._status.close()
        with suppress(OSError):
            os.close(self._lifeline)
        self._server.let_go()


class _Server:
    """A fork server, seen from the supervisor.

    Parameters
    ----------
    libraries
        How many of `msibench.runner.child.libraries.LIBRARIES` it imports.
    environment
        Its environment.
    smaller
        The server with one library less, which forks it; None: it is a program of its own, without any.
    """

    def __init__(
        self, libraries: int, environment: Mapping[str, str], smaller: _Server | None = None
    ) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.cells = 0
        """Cells that it began and that are still followed."""
        with theirs:
            if smaller is None:
                self._process = _program(theirs.fileno(), environment)
            elif smaller.ask(GROW, [theirs.fileno()]):
                self._control.sendall(FIELDS.pack(libraries))
            else:
                raise BrokenPipeError("the server that was to fork it is gone")

    def ask(self, what: bytes, descriptors: list[int]) -> bool:
        """Ask for a guard or a further server, which get these; False where the server is gone."""
        try:
            with self._lock:
                socket.send_fds(self._control, [what], descriptors)
        except OSError:
            return False
        return True

    def let_go(self) -> None:
        """Count a cell that is no longer followed."""
        with _choosing:
            self.cells -= 1

    def end(self) -> None:
        """End it, and with it what it began; one that another forked ends as it finds its channel closed."""
        self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def is_there(self) -> bool:
        """Whether it has not ended."""
        if self._process is not None:
            return self._process.poll() is None
        if self._control.fileno() < 0:
            return False
        held = select.poll()
        held.register(self._control, 0)
        return not held.poll(0)


def _program(control: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a server that imports what every cell needs."""
    return subprocess.Popen(
        [sys.executable, "-c", SERVER, str(os.getpid()), str(control)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**environment, "OPENBLAS_NUM_THREADS": "1", TAG: "-" * TAG_ROOM},
        start_new_session=True,
        pass_fds=(control,),
    )


Kind = tuple[object, ...]
"""The process that it serves, and what the environment of its cells is."""
_servers: dict[tuple[Kind, int], _Server] = {}
"""By kind and number of libraries."""
_choosing = threading.Lock()


@atexit.register
def end_servers() -> None:
    """End all servers of this process."""
    for (kind, _), server in list(_servers.items()):
        if kind[0] == os.getpid():
            server.end()
    _servers.clear()


def warm_start(what: Beginning, began: int, stop: threading.Event | None) -> WarmProcess | None:
    """Begin a cell as a fork.

    Parameters
    ----------
    what
        The cell.
    began
        The descriptor by which it says that it runs.
    stop
        When set, nothing is waited for any longer.

    Returns
    -------
    Its guard; None where the cell has to begin as a process of its own.
    """
    fits = len(what.environment[TAG].encode()) < TAG_ROOM
    if not sys.platform.startswith("linux") or not fits:
        return None
    for _ in range(TRIES):
        server = _server_for(what.libraries, what.server_environment)
        process = None if server is None else _fork(server, what, began, stop)
        if process is not None or (stop is not None and stop.is_set()):
            return process
    return None


def _fork(
    server: _Server, what: Beginning, began: int, stop: threading.Event | None
) -> WarmProcess | None:
    """Have a server fork a guard and tell the guard what its cell is."""
    status, theirs = socket.socketpair()
    reads, lifeline = os.pipe()
    output, prints = os.pipe()
    try:
        wanted = ENCLOSE if what.inside else BEGIN
        taken = server.ask(wanted, [theirs.fileno(), reads, prints, began])
    finally:
        theirs.close()
        os.close(reads)
        os.close(prints)
    stdout = os.fdopen(output, "rb", buffering=0)
    pid = _number(status, stop) if taken else None
    if pid is not None:
        process = WarmProcess(pid, status, lifeline, stdout, server)
        request = what.request()
        with suppress(BrokenPipeError):  # it has ended already: its status says how
            _write(lifeline, LENGTH.pack(len(request)) + request)
        return process
    stdout.close()
    status.close()
    os.close(lifeline)
    server.let_go()
    return None


def _number(status: socket.socket, stop: threading.Event | None) -> int | None:
    """Wait for the number of a guard: as long as the server imports, unless all is to end."""
    waited = 0.0
    while not _readable(status, 0.1):
        waited += 0.1
        if waited > READY_S or (stop is not None and stop.is_set()):
            return None
    return _receive(status)


def begin_servers(libraries: tuple[str, ...], environment: Mapping[str, str]) -> None:
    """Begin the servers that cells to come are forked from, and wait for nothing."""
    if sys.platform.startswith("linux"):
        server = _server_for(libraries, environment)
        if server is not None:
            server.let_go()


def _server_for(libraries: tuple[str, ...], own: Mapping[str, str]) -> _Server | None:
    """Return a server that is what a cell's own process would be, begun where there is none.

    It counts the cell, and is not ended before that is let go.

    Parameters
    ----------
    libraries, own
        As in `Beginning`; the environment of the server.
    """
    limits = tuple(resource.getrlimit(number) for number in LIMITS)
    cores = tuple(sorted(os.sched_getaffinity(0)))
    environment = dict(own)
    kind = (os.getpid(), tuple(sorted(environment.items())), limits, cores)
    with _choosing:
        _tidy(kind)
        smaller: _Server | None = None
        try:
            for count in range(len(libraries) + 1):
                if (kind, count) not in _servers:
                    _servers[kind, count] = _Server(count, environment, smaller)
                smaller = _servers[kind, count]
        except OSError:
            return None
        assert smaller is not None
        smaller.cells += 1
        return smaller


def _tidy(wanted: Kind) -> None:
    """End servers of other kinds where there are too many, and let go of those that have ended.

    One that has ended takes those with it that were forked from it.
    """
    for kind in {kind for kind, _ in _servers}:
        ours = sorted(count for other, count in _servers if other == kind)
        used = any(_servers[kind, count].cells for count in ours)
        gone = [count for count in ours if not _servers[kind, count].is_there]
        if kind != wanted and len(_servers) > MOST_SERVERS and not used:
            gone = ours
        for count in reversed(ours):
            if gone and count >= gone[0]:
                _servers.pop((kind, count)).end()


def _readable(channel: socket.socket, timeout: float | None) -> bool:
    waiting = select.poll()
    waiting.register(channel, select.POLLIN)
    return bool(waiting.poll(None if timeout is None else timeout * 1000))


def _receive(channel: socket.socket) -> int | None:
    """Return a number that a server says; None where it is gone."""
    try:
        said = channel.recv(FIELDS.size, socket.MSG_WAITALL)
    except OSError:
        return None
    return FIELDS.unpack(said)[0] if len(said) == FIELDS.size else None


def _write(descriptor: int, text: bytes) -> None:
    while text:
        text = text[os.write(descriptor, text) :]
