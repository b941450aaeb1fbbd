"""Score in processes of their own, where that pays: metrics hold Python's lock for part of their time.

Where many values are to come, or the first predictions, which the threads that ask score and time, show that what is
left takes longer than starting processes, there is one for each of these threads; until they are ready, and where one
was killed, threads go on by themselves. Numbers and bytes are the same either way: it is the same function of the same files.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pickle import PicklingError
from typing import cast

from msibench.errors import MSIBenchError
from msibench.runner.executors.local import usable_cores
from msibench.runner.scores.prediction_scores import Answer, Asked, answer

MANY_VALUES = 400
"""Predictions times metrics from which on processes are started before the first is timed: a metric of a small
section takes about 10 ms."""
PAYS_S = 3.0
"""Processor time of the scores that are left, from which on processes are started: their imports take one
to two seconds, once."""


class ScoringProcesses:
    """Answers in as many processes as there are threads that ask.

    Parameters
    ----------
    threads
        How many ask at a time; a single one scores where it is.
    predictions
        How many are to be scored.
    """

    def __init__(self, threads: int, predictions: int) -> None:
        self._threads = threads
        self._left = predictions
        self._seconds: list[float] = []
        """Processor time of each prediction that was scored here."""
        self._group: subprocess.Popen[bytes] | None = None
        self._free: list[_Channel] = []
        self._closed = False
        self._lock = threading.Lock()

    def __call__(self, asked: Asked) -> Answer:
        """Check and score one prediction, here or in a process.

        Raises
        ------
        ScoringEndedError
            If `close` ended the process meanwhile.
        IntegrityError
            If the staged problem is damaged or missing.
        """
        channel = self._take() if asked.metrics else None
        if channel is None:
            return self._here(asked)
        try:
            found = channel.ask(asked)
        except (OSError, EOFError, PicklingError, TypeError, AttributeError) as error:
            channel.close()
            if self._closed:
                raise ScoringEndedError("the run ended while it scored a prediction") from error
            return self._here(asked)  # the process was killed, or cannot be sent what is asked
        with self._lock:
            self._free.append(channel)
        if isinstance(found, Exception):
            raise found
        return found

    def begin(self, metrics: int) -> None:
        """Start the processes at once where so many metrics make many values: they import while the first cells run."""
        with self._lock:
            if self._threads > 1 and self._left * metrics >= MANY_VALUES:
                self._start()

    def close(self) -> None:
        """End all processes, whatever they are at."""
        with self._lock:
            self._closed, group = True, self._group
        if group is not None:
            with suppress(ProcessLookupError):
                os.killpg(group.pid, signal.SIGKILL)
            group.wait()

    def _here(self, asked: Asked) -> Answer:
        begun = time.thread_time()
        found = answer(asked)
        with self._lock:
            self._seconds.append(time.thread_time() - begun)
        return found

    def _take(self) -> _Channel | None:
        """Return a process that waits for work, starting all of them once that pays; None without one."""
        with self._lock:
            if self._group is None and not self._closed and self._pays():
                self._start()
            self._left -= 1
            ready = next((channel for channel in self._free if channel.is_ready()), None)
            if ready is not None:
                self._free.remove(ready)
            return ready

    def _start(self) -> None:
        with suppress(OSError):
            self._group, self._free = _started(self._threads)

    def _pays(self) -> bool:
        if self._threads < 2 or not self._seconds:
            return False
        return self._left * sum(self._seconds) / len(self._seconds) > PAYS_S


class ScoringEndedError(MSIBenchError):
    """The process that scored a prediction was ended with its run."""


class _Channel:
    """One process, seen from the thread that asks it."""

    def __init__(self, ours: socket.socket) -> None:
        self._connection: Connection[object, object] = Connection(ours.detach())
        self._connection.send(sys.path)
        self._ready = False

    def is_ready(self) -> bool:
        """Whether it waits for work."""
        with suppress(OSError, EOFError):
            if not self._ready and self._connection.poll(0):
                self._connection.recv()
                self._ready = True
        return self._ready

    def ask(self, asked: Asked) -> Answer | Exception:
        """Have one prediction scored; EOFError or OSError where the process is gone."""
        prediction, staged = asked.prediction.absolute(), asked.staged.absolute()
        self._connection.send(replace(asked, prediction=prediction, staged=staged))
        return cast("Answer | Exception", self._connection.recv())

    def close(self) -> None:
        """Let go of it; it ends."""
        self._connection.close()


def _started(count: int) -> tuple[subprocess.Popen[bytes], list[_Channel]]:
    """Start so many processes; together they use the cores once."""
    pairs = [socket.socketpair() for _ in range(count)]
    theirs = [pair[1].fileno() for pair in pairs]
    threads = str(max(1, usable_cores() // count))
    try:
        group = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.scoring_process", *map(str, theirs)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={
                **os.environ,
                "OPENBLAS_NUM_THREADS": "1",  # its threads would not outlive the fork
                "OMP_NUM_THREADS": threads,
                "NUMBA_NUM_THREADS": threads,
            },
            pass_fds=theirs,
            start_new_session=True,  # an interrupt of the terminal is the run's to take
        )
        return group, [_Channel(ours) for ours, _ in pairs]
    finally:
        for _, other in pairs:
            other.close()
