"""Begins cells by forking, so that large libraries are imported once and not once a cell.

A program of `msibench.runner.child.warm_start` calls `main`, which imports NumPy, h5py and
`msibench.runner.child.main`, then waits. Nothing is initialised in it: it has one thread, no context on a
GPU, no random state that two cells would share, and it never imports a plugin. For each cell it forks
a guard, which forks the cell: `msibench.runner.child.guard`, or in a sandbox its process 1
(`msibench.runner.child.sandbox.namespaces`), with which the kernel ends whatever is inside.

Asked to grow, it forks a server that imports further libraries and then serves as it does: what two sets of
libraries have in common is imported once and stays shared, and cells that need less do not hold more.

It learns nothing of a cell: it is handed four descriptors by its supervisor and passes three of them on;
what the cell is, its guard reads itself. So no cell can read in its memory what another one was told.
The fourth carries the guard's number and the way it ended back to the supervisor. When the
supervisor is gone the server ends, and every guard with it.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from msibench.runner.child import guard
from msibench.runner.child.libraries import LIBRARIES
from msibench.runner.child.sandbox import namespaces

BEGIN, ENCLOSE, GROW = b"B", b"E", b"G"
"""What a server is asked for: a guard, a guard inside namespaces, a server of further libraries."""
FIELDS = struct.Struct("<q")
"""A number on a status channel: first the guard's, then how it ended."""
LENGTH = struct.Struct("<I")
"""Before a request: how many bytes it has."""
IDLE_S = 60.0
"""A server that has begun nothing for so long, and has nothing to wait for, ends."""
LOOK_S = 1.0
SEED_OF_OLDER_TORCH = 67280421310721
"""With which its generator begins in every process, up to some 2.x; newer ones draw one."""
TAG = "MSIBENCH_CELL"
TAG_ROOM = 400
"""Bytes that a server keeps in its environment for the tag of the cell that it becomes."""
INTERRUPTED = signal.getsignal(signal.SIGINT)
"""What an interrupt does to a process that was only just started: nothing where it is ignored by
whoever started the run (``nohup``, a shell's background job)."""


class ForkServer:
    """The server's own state: the cells that it began and whose supervisor has not let go of them."""

    def __init__(self, parent: int, control: socket.socket) -> None:
        self._parent = parent
        self._control = control
        self._status: dict[int, socket.socket] = {}
        """Guards by number, with the channel on which their supervisor listens."""
        self._ended: set[int] = set()
        """Guards that have ended. They are not reaped before their supervisor lets go: until then
        nothing else gets their number, and a signal to it reaches nothing else."""
        self._alone: set[int] = set()
        """Guards whose supervisor let go before they ended."""
        self._grown: set[int] = set()
        """Servers of further libraries that it forked: they end with it."""

    def serve(self) -> None:
        """Begin cells until the supervisor is gone, or has asked for nothing for a long time."""
        woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        selector = selectors.PollSelector()
        selector.register(self._control, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        last = time.monotonic()
        while os.getppid() == self._parent:
            for key, _ in selector.select(LOOK_S):
                last = time.monotonic()
                if key.fileobj is self._control:
                    if not self._take(selector):
                        return
                elif key.fileobj == woken:
                    with suppress(BlockingIOError):
                        os.read(woken, 4096)
                else:
                    self._let_go(key.data, selector)
            self._tell()
            needed = self._status or self._alone or self._grown
            if not needed and time.monotonic() - last > IDLE_S:
                return

    def _take(self, selector: selectors.PollSelector) -> bool:
        """Take one request and fork what it asks for; False where no supervisor is left."""
        message, descriptors, _, _ = socket.recv_fds(self._control, 1, 4)
        if len(threads_of_this_process()) != 1:
            return False
        if message == GROW and len(descriptors) == 1:
            self._grow(descriptors[0])
        elif message in {BEGIN, ENCLOSE} and len(descriptors) == 4:
            self._begin(selector, descriptors, enclosed=message == ENCLOSE)
        else:
            return False
        return True

    def _grow(self, control: int) -> None:
        """Fork a server of further libraries, which is told which by its own supervisor."""
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become_server(server, control)
        os.close(control)
        self._grown.add(pid)

    def _begin(
        self, selector: selectors.PollSelector, descriptors: list[int], *, enclosed: bool
    ) -> None:
        """Fork a guard; where that is not allowed nothing is said, and the cell begins without this server."""
        status = socket.socket(fileno=descriptors[0])
        nothing = os.open("/dev/null", os.O_RDONLY)  # where a guard's own root is not made yet
        theirs = [*descriptors[1:], nothing]
        server, user = os.getpid(), (os.getuid(), os.getgid())
        try:
            pid = namespaces.fork_inside() if enclosed else os.fork()
            if pid == 0:
                _become_guard(server, user, *theirs)
        except OSError:
            status.close()
            return
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self._status[pid] = status
        selector.register(status, selectors.EVENT_READ, pid)
        with suppress(OSError):
            status.send(FIELDS.pack(pid))

    def _tell(self) -> None:
        """Report guards that have ended to their supervisors."""
        for ours in (self._alone, self._grown):
            for pid in ours.copy():
                if os.waitpid(pid, os.WNOHANG)[0]:
                    ours.discard(pid)
        for pid in self._status.keys() - self._ended:
            found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                continue
            self._ended.add(pid)
            by_itself = found.si_code == os.CLD_EXITED
            with suppress(OSError):
                code = found.si_status if by_itself else -found.si_status
                self._status[pid].send(FIELDS.pack(code))

    def _let_go(self, pid: int, selector: selectors.PollSelector) -> None:
        """Reap a guard whose supervisor is gone; end one that still runs."""
        status = self._status.pop(pid)
        selector.unregister(status)
        status.close()
        if pid in self._ended:
            self._ended.discard(pid)
            os.waitpid(pid, 0)
        else:
            self._alone.add(pid)
            os.kill(pid, guard.END_NOW)


def threads_of_this_process() -> list[str]:
    """Return the numbers of all threads, those of C libraries included."""
    return os.listdir("/proc/self/task")  # noqa: PTH208 - the names alone


def _become_guard(
    server: int, user: tuple[int, int], request: int, output: int, began: int, nothing: int
) -> None:
    """Be the guard of one cell from here on; never returns."""
    code = 127
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        told = read_request(request)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        _close_all_but(request, began)
        _take_environment(told["environment"], began)
        os.chdir(told["folder"])
        work = _work_of(told, request)
        if told["inside"]:
            guard.end_with_parent()
            # inside, the parent has no number: one that ended before is known by the supervisor's end alone
            gone = guard.is_loose(request)
            code = -signal.SIGKILL if gone else namespaces.enter(told["inside"], work, user)
        else:
            code = guard.main(server, work, lifeline=request)
    except BaseException:
        traceback.print_exc()
    finally:
        guard.end_like(code)


def _become_server(parent: int, control: int) -> None:
    """Be a server of further libraries from here on; never returns."""
    try:
        signal.set_wakeup_fd(-1)
        guard.end_with_parent()
        _close_all_but(control)
        with socket.socket(fileno=control) as channel:
            count = FIELDS.unpack(channel.recv(FIELDS.size, socket.MSG_WAITALL))[0]
            _import(part for name in list(LIBRARIES)[:count] for part in LIBRARIES[name])
            _serve(parent, channel)
    finally:
        os._exit(0)


def _close_all_but(*kept: int) -> None:
    """Close what this process has from the one that forked it, but for some and the standard streams."""
    for name in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - the names alone
        if name > 2 and name not in kept:
            with suppress(OSError):
                os.close(name)


def read_request(descriptor: int) -> dict[str, Any]:
    """Read what a cell is; the other end stays open for as long as its supervisor lives."""
    size = LENGTH.unpack(_exactly(descriptor, LENGTH.size))[0]
    found: dict[str, Any] = json.loads(_exactly(descriptor, size))
    return found


def _exactly(descriptor: int, size: int) -> bytes:
    held = b""
    while len(held) < size:
        block = os.read(descriptor, size - len(held))
        if not block:
            raise EOFError("the supervisor is gone")
        held += block
    return held


def _take_environment(environment: dict[str, str], began: int) -> None:
    """Have the environment that the cell's process would have been started with.

    The block of memory that ``/proc/PID/environ`` shows is the server's; the cell's tag is written into
    the place that was kept for it there, so that its processes can be told from others.
    """
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    place = libc.getenv(TAG.encode())
    tag = environment[TAG].encode()
    if place and len(tag) < TAG_ROOM and len(os.environ.get(TAG, "")) == TAG_ROOM:
        ctypes.memmove(place, tag.ljust(TAG_ROOM, b"\0"), TAG_ROOM)
    os.environ.clear()
    os.environ.update(environment, MSIBENCH_BEGAN=str(began))


def _work_of(told: dict[str, Any], request: int) -> Callable[[], int]:
    """Return what the guard's fork does in place of starting ``msibench.runner.child.main``."""

    def work() -> int:
        with suppress(OSError):
            os.close(request)
        # a guard that enters namespaces has taken the interrupt over, as it has where it starts a process
        signal.signal(signal.SIGINT, signal.default_int_handler if told["inside"] else INTERRUPTED)
        _be_fresh(told)
        from msibench.runner.child.main import main

        return as_a_program(lambda: main(Path(told["folder"])))

    return work


def _be_fresh(told: dict[str, Any]) -> None:
    """Reset what a newly started process does not have."""
    sys.argv = [str(Path(__file__).with_name("main.py")), told["folder"]]
    if not sys.flags.safe_path:
        sys.path[0] = os.getcwd()  # noqa: PTH109 - as the interpreter does it
    tempfile: Any = sys.modules.get("tempfile")
    if tempfile:
        tempfile.tempdir = None
    # else all forks would draw the same numbers; what each process draws alike stays so
    if random := sys.modules.get("numpy.random"):
        random.seed()
    torch = sys.modules.get("torch")
    if torch and torch.initial_seed() != SEED_OF_OLDER_TORCH:
        torch.default_generator.seed()
    if told["threads"] > 1:
        from threadpoolctl import threadpool_limits

        # the server has one thread: OpenBLAS starts the others when it is told to
        threadpool_limits(told["threads"], user_api="blas")


def as_a_program(main: Callable[[], int]) -> int:
    """Run a program's main function and end as the interpreter does: exits, interrupts, tracebacks."""
    try:
        code = main()
        _flush()
        # Without the interpreter's tidying-up: a thread that a method left behind may not hold the cell.
        return code
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        if leave.code is not None and not isinstance(leave.code, int):
            sys.stderr.write(f"{leave.code}\n")
    except KeyboardInterrupt:
        traceback.print_exc()
        code = -signal.SIGINT
    except BaseException:
        traceback.print_exc()
        code = 1
    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    _flush()
    guard.end_like(code)
    return code


def _flush() -> None:
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()


def _import(modules: Iterable[str]) -> None:
    """Import what is there; what then is in memory stays shared, as no fork's collector touches it.

    The collector rests meanwhile: it would take a tenth to a sixth of the time, and finds next to nothing.
    """
    gc.disable()
    for module in modules:
        with suppress(ImportError):
            importlib.import_module(module)
    # folders change until a cell imports; emptied here, because each fork would copy what it lets go of
    sys.path_importer_cache.clear()
    gc.freeze()
    gc.enable()


def _serve(parent: int, channel: socket.socket) -> None:
    if os.getppid() == parent and len(threads_of_this_process()) == 1:
        ForkServer(parent, channel).serve()


def main(parent: int, control: int) -> NoReturn:
    """Import what every cell needs, serve, and end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    importlib.import_module("msibench.runner.child.main")
    _import(["h5py"])
    with socket.socket(fileno=control) as channel:
        _serve(parent, channel)
    os._exit(0)
