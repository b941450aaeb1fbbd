"""Watch one child process from outside: its time, its memory, its output, its end.

Whatever a method does, it costs its own cell: the child and all its descendants are ended at the wall
limit or the memory limit, its output is kept up to a bound, and how it ended becomes a status with a
reason.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from msibench.contracts.plain_text import visible
from msibench.results.schema import Status
from msibench.runner.child import guard
from msibench.runner.child.bounded_log import BoundedLog
from msibench.runner.child.child_folder import clear_impostors, let_go_of_mounts, restore_folder
from msibench.runner.child.disk_use import LOOK_S, too_much
from msibench.runner.child.fork_server import TAG
from msibench.runner.child.guard import guarded
from msibench.runner.child.job import Job, Outcome
from msibench.runner.child.outcome import classify, numbers, read_result
from msibench.runner.child.processes import below, unmapped_bytes
from msibench.runner.child.sandbox.command import (
    NAMESPACES,
    NONE,
    Enclosed,
    SandboxError,
    enclosed,
    exit_status,
    inner_environment,
    passed_environment,
    settled,
)
from msibench.runner.child.warm_start import Beginning, WarmProcess, begin_servers, warm_start

LARGEST_PEAK = 64 << 20
"""MiB; a child's own report of its memory is not trusted beyond."""
MOST_PROCESSES = 256
"""Descendants beyond which a cell is ended."""
POLL_S = 0.05
CANCEL_GRACE_S = 0.5
"""Of a cell whose run is told to end: nobody looks at where it stood."""
BEGAN = "MSIBENCH_BEGAN"
"""Variable with the number of the pipe by which a child says that it runs."""


def run_child(job: Job, stop: threading.Event | None = None) -> Outcome:
    """Run one cell to its end and return the outcome.

    Parameters
    ----------
    job
        The cell; its folder holds ``cell.json`` and ``problem.h5``.
    stop
        Set by the supervisor to cancel.
    """
    job = replace(job, sandbox=settled(job.sandbox)[0])
    what = command_of(job)
    began, says_so = os.pipe()
    asked = time.monotonic()
    try:
        process = _begin(job, what, says_so, stop)
    finally:
        os.close(says_so)
    start = time.monotonic()
    log = BoundedLog(process.stdout)
    watch = _Watch(process.pid, job, _above(process, job))
    verdict = _until_it_ends(process, watch, start, stop)
    if verdict is not None and verdict[0] is Status.CANCELLED:
        job = replace(job, grace_s=min(job.grace_s, CANCEL_GRACE_S))
    end_everything(process, job, watch.known)
    has_begun = _has_begun(began)
    let_go_of_mounts(job.folder)
    lost = restore_folder(job.folder)
    clear_impostors(job.folder)
    log.close(job.folder / "log.txt")
    end = time.monotonic()
    wall = end - start
    result = read_result(job.folder / "result.json")
    peaks = {"rss": watch.peak_rss / 2**20, **numbers(result.get("peaks"), at_most=LARGEST_PEAK)}
    peaks["rss"] = max(peaks["rss"], watch.peak_rss / 2**20)
    code = process.wait()
    code = code if job.sandbox == NONE else exit_status(code)
    if lost:
        # inside a sandbox a method cannot do that: somebody else did
        verdict = verdict or (
            Status.FAILED if job.sandbox == NONE else Status.CANCELLED,
            lost if job.sandbox == NONE else "its folder was removed from outside while it ran",
        )
    warm = isinstance(process, WarmProcess)
    if isinstance(process, WarmProcess):
        if verdict is None and process.lost:
            verdict = Status.CANCELLED, "the process that started it was ended from outside"
        process.close()
    if verdict is None and not has_begun:
        verdict = _never_began(job, log.last_lines())
    status, reason = verdict or classify(code, result, log.last_lines())
    return Outcome(
        status=status,
        reason=visible(reason),
        # on a busy machine a child may have worked for a while before its clock here starts
        timings={**numbers(result.get("timings"), at_most=end - asked), "wall": wall},
        peaks=peaks,
        report=result["report"] if isinstance(result.get("report"), dict) else {},
        provenance={
            "sandbox": job.sandbox,
            "start": "warm" if warm else "cold",
            **({"cancelled_by": "system"} if verdict and status is Status.CANCELLED else {}),
        },
    )


def expect(libraries: tuple[str, ...], threads: int, sandbox: str) -> None:
    """Have the servers import what cells to come are forked with, while these are made ready; nothing is waited for.

    Parameters
    ----------
    libraries, threads, sandbox
        As a `Job` has them.
    """
    kind = settled(sandbox)[0]
    if kind in {NONE, NAMESPACES}:
        begin_servers(libraries, common_environment(threads, kind))


def _begin(
    job: Job, what: Enclosed, says_so: int, stop: threading.Event | None
) -> subprocess.Popen[bytes] | WarmProcess:
    """Begin a cell's guard: as a fork where that is possible, else as a process of its own."""
    common = common_environment(job.threads, job.sandbox)
    environment = child_environment(job, common)
    if not job.cold and (job.sandbox == NONE or what.inside):
        beginning = Beginning(
            folder=job.folder.resolve(),
            environment=environment,
            inside=what.inside,
            threads=max(1, job.threads),
            libraries=job.libraries,
            server_environment=common,
        )
        if (process := warm_start(beginning, says_so, stop)) is not None:
            return process
    return subprocess.Popen(
        guarded(what.command, what.inside),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=job.folder,
        env={**environment, BEGAN: str(says_so)},
        start_new_session=True,
        pass_fds=(says_so,),
    )


def _until_it_ends(
    process: subprocess.Popen[bytes] | WarmProcess,
    watch: _Watch,
    start: float,
    stop: threading.Event | None,
) -> tuple[Status, str] | None:
    """Wait for a cell's end; return why it must end before, or None."""
    while process.poll() is None:
        verdict = watch.look(time.monotonic() - start)
        if verdict is None and stop is not None and stop.is_set():
            verdict = (Status.CANCELLED, "the run was stopped")
        if verdict is not None:
            return verdict
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_S)
    return None


def _has_begun(descriptor: int) -> bool:
    """Whether the child said that it runs, which it does before it looks at the method."""
    os.set_blocking(descriptor, False)
    try:
        return os.read(descriptor, 1) == b"1"
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def _never_began(job: Job, last: str) -> tuple[Status, str]:
    """Return the outcome of a cell whose process never reached its method, which is not to blame.

    Raises
    ------
    SandboxError
        If there is a sandbox around it: the next cell would not begin either.
    """
    if job.sandbox != NONE:
        raise SandboxError(
            f"a cell could not start in the sandbox ({job.sandbox}): {visible(last)}; finished "
            "cells are kept. Run again, or with --no-sandbox, and then only methods that you trust"
        )
    return Status.CANCELLED, f"its process could not start: {last}"


def command_of(job: Job) -> Enclosed:
    """Return the command line of a cell, inside a sandbox where its job asks for one."""
    command = [sys.executable, "-m", "msibench.runner.child.main", str(job.folder.resolve())]
    if job.sandbox == NONE:
        return Enclosed(command=command)
    return enclosed(command, job.folder, job.sandbox, readable=job.readable, hidden=job.hidden)


ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
"""Have the C library keep what a network frees from one layer to the next: else the kernel takes these pages and
zeroes new ones, a tenth to a fifth of the time of a small network's fit."""


def common_environment(count: int, sandbox: str) -> dict[str, str]:
    """Return what children have in common: our environment, quiet, offline, with its share of the cores.

    Parameters
    ----------
    count
        Threads of each.
    sandbox
        The kind of its sandbox, settled.
    """
    threads = str(max(1, count))
    return {
        **ALLOCATOR,
        "KMP_DUPLICATE_LIB_OK": "True",  # as threadpoolctl sets it, whether it is imported here yet or not
        **(os.environ if sandbox == NONE else passed_environment()),
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "NUMBA_NUM_THREADS": threads,
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
    }


def child_environment(job: Job, common: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child: what all have in common, and a scratch folder of its own."""
    scratch = job.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return {
        **common,
        "TMPDIR": str(scratch.resolve()),
        TAG: job.tag,
        **({} if job.sandbox == NONE else inner_environment(scratch)),
        **job.environment,
    }


def _above(process: subprocess.Popen[bytes] | WarmProcess, job: Job) -> int:
    """Return how many processes of a sandbox are between a guard and its cell: their memory is not counted."""
    return int(job.sandbox == NAMESPACES and not isinstance(process, WarmProcess))


class _Watch:
    """Looks at a process tree's memory and size."""

    def __init__(self, pid: int, job: Job, above: int) -> None:
        self._job, self._above = job, above
        self.peak_rss = 0
        self._next_disk_look = LOOK_S
        self._unmapped = 0
        self.known: dict[int, psutil.Process] = {}
        with suppress(psutil.Error):
            self.known[pid] = psutil.Process(pid)
        self._root = self.known.get(pid)

    def look(self, elapsed: float) -> tuple[Status, str] | None:
        """Return why the cell must end now, or None."""
        job = self._job
        if elapsed > job.timeout_s:
            return Status.TIMEOUT, (
                f"ran longer than {job.timeout_s:g} s; the end of log.txt says where it stood"
            )
        tree = [] if self._root is None else below(self._root.pid, self.known)
        resident = 0
        for process in tree[self._above :]:
            with suppress(psutil.Error):
                resident += process.memory_info().rss
        if elapsed >= self._next_disk_look:
            self._unmapped = unmapped_bytes([process.pid for process in tree])
        resident += self._unmapped
        self.peak_rss = max(self.peak_rss, resident)
        if job.memory_bytes is not None and resident > job.memory_bytes:
            return Status.OOM, (
                f"used {resident / 2**30:.2f} GiB of memory, where {job.memory_bytes / 2**30:.2f} GiB are "
                "allowed; raise the limit with --memory"
            )
        if len(tree) > MOST_PROCESSES:
            return Status.KILLED, f"started more than {MOST_PROCESSES} processes"
        if elapsed >= self._next_disk_look:
            self._next_disk_look = elapsed + LOOK_S
            if reason := too_much(job.folder, job.disk_bytes):
                return Status.KILLED, reason
        return None


def end_everything(
    process: subprocess.Popen[bytes] | WarmProcess, job: Job, known: Mapping[int, psutil.Process]
) -> None:
    """End a child and all it started: politely, then for good; nothing is left behind.

    Its guard ends what escaped from its group and its environment, and says so by ending with a status of
    its own; should the guard itself have been ended, what was seen of the tree and what carries the
    cell's tag is found and ended here.
    """
    with suppress(ProcessLookupError, PermissionError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(job.grace_s)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGCONT)
            os.kill(process.pid, guard.END_NOW)
            with suppress(subprocess.TimeoutExpired):
                process.wait(guard.PATIENCE_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.wait() >= 0:
        return
    end = time.monotonic() + guard.PATIENCE_S
    while (left := _still_running(job, known, process.pid)) and time.monotonic() < end:
        for descendant in left:
            with suppress(psutil.Error):
                descendant.kill()
        time.sleep(0.01)


def _still_running(
    job: Job, known: Mapping[int, psutil.Process], root: int
) -> list[psutil.Process]:
    """Find descendants by what was seen of the tree, and by the tag that they inherit."""
    found = {pid: p for pid, p in known.items() if pid != root and p.is_running()}
    tag = f"{TAG}={job.tag}".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError, psutil.Error):
            if tag in entry.read_bytes().split(b"\0"):
                pid = int(entry.parent.name)
                if pid != root:
                    found.setdefault(pid, psutil.Process(pid))
    return [process for process in found.values() if not _is_zombie(process)]


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True
