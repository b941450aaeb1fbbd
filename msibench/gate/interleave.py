"""Time two commands side by side in one session, so that a busy machine disturbs both alike."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msibench.errors import ConfigurationError, DataError
from msibench.gate.samples import Timing, Timings
from msibench.results.provenance import processor_name

if TYPE_CHECKING:
    import psutil

LOOK_S = 0.01
"""Between two readings of the memory of a command; growth in its last moment is missed."""
NAME = "command"
"""Name of the timing of both commands, which are two versions of one program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """One run of a command."""

    seconds: float
    peak_mib: float


def interleaved(
    base: str | Sequence[str],
    new: str | Sequence[str],
    *,
    rounds: int = 10,
    warm_up: int = 1,
    seed: int = 0,
    timeout_s: float = 600.0,
    folder: Path | None = None,
) -> tuple[Timings, Timings]:
    """Run two commands in turn and time each run.

    Parameters
    ----------
    base, new
        Commands as lists, or as text that is split as a shell would; no shell runs them.
    rounds
        Measured runs of each; which goes first is drawn anew (seeded) in every round.
    warm_up
        Runs of each before, not measured.
    timeout_s
        Longest time of one run.

    Returns
    -------
    The samples of both: seconds of wall time, and the highest resident memory of the command's
    largest process.

    Raises
    ------
    ConfigurationError
        If a command is empty or cannot be started.
    DataError
        If a command fails or runs out of time: there is nothing to compare then.
    """
    commands = [_split(command) for command in (base, new)]
    if rounds < 1:
        raise ConfigurationError(f"rounds must be at least 1, got {rounds}")
    rng = np.random.default_rng(seed)
    runs: tuple[list[Once], list[Once]] = ([], [])
    for number in range(-warm_up, rounds):
        for which in rng.permutation(2):
            once = run_once(commands[which], timeout_s=timeout_s, folder=folder)
            if number >= 0:
                runs[which].append(once)
    machine = f"{processor_name()}, {os.cpu_count()} cores"
    first, second = (
        Timings(
            timings={NAME: Timing(seconds=tuple(once.seconds for once in side))},
            machine=machine,
            peaks_mib={NAME: max(once.peak_mib for once in side)},
        )
        for side in runs
    )
    return first, second


def run_once(command: Sequence[str], *, timeout_s: float, folder: Path | None = None) -> Once:
    """Run a command to its end in a process group of its own."""
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        try:
            child = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigurationError(f"{shlex.join(command)} cannot be started: {error}") from error
        late = threading.Event()

        def end() -> None:
            late.set()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)

        timer = threading.Timer(timeout_s, end)
        timer.daemon = True
        timer.start()
        watch = _PeakWatch(child.pid)
        watch.start()
        try:
            child.wait()
            seconds = time.perf_counter() - started
        finally:
            timer.cancel()
            watch.finish()
        if late.is_set():
            raise DataError(f"{shlex.join(command)} took longer than {timeout_s:g} s")
        if child.returncode:
            said.seek(max(0, said.seek(0, os.SEEK_END) - 500))
            tail = said.read().decode(errors="replace").strip()
            raise DataError(
                f"{shlex.join(command)} ended with {child.returncode}, so its time is meaningless: "
                f"{tail}"
            )
    return Once(seconds=seconds, peak_mib=watch.peak_mib)


class _PeakWatch(threading.Thread):
    """Follows the high-water mark of a command's processes while they live.

    The kernel's own account at the end (``ru_maxrss``) will not do: a child inherits in it what its
    parent held when it was started.
    """

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process = process
        self.peak_mib = 0.0
        self._over = threading.Event()

    def run(self) -> None:
        """Read every few milliseconds."""
        import psutil

        while True:
            with contextlib.suppress(psutil.Error):
                leader = psutil.Process(self.process)
                for one in (leader, *leader.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        self.peak_mib = max(self.peak_mib, _peak_of(one))
            if self._over.wait(LOOK_S):
                return

    def finish(self) -> None:
        """Stop reading."""
        self._over.set()
        self.join()


def _peak_of(process: psutil.Process) -> float:
    """Return the highest resident memory of a process so far, in MiB."""
    try:
        text = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    except OSError:
        return float(process.memory_info().rss) / 2**20
    marks = [line.split()[1] for line in text.splitlines() if line.startswith("VmHWM:")]
    return float(marks[0]) / 1024 if marks else 0.0


def _split(command: str | Sequence[str]) -> list[str]:
    try:
        parts = shlex.split(command) if isinstance(command, str) else list(command)
    except ValueError as error:
        raise ConfigurationError(f"{command!r} is not a command: {error}") from error
    if not parts:
        raise ConfigurationError("a command is empty; give it in quotes, e.g. 'python bench.py'")
    return parts
