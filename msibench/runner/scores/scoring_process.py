"""Processes that score: ``python -m msibench.runner.scores.scoring_process DESCRIPTOR…``.

What metrics are made of is imported once; then one process is forked for each descriptor. It says that it is
ready, is told where modules are found, then what to score, one prediction after another. It reads files of
the results folder and writes none. When whoever asks is gone it ends at once, whatever it is at.
"""

from __future__ import annotations

import gc
import os
import queue
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection

from msibench.runner.scores.prediction_scores import Asked, answer

READY = "ready"


def serve(descriptor: int) -> None:
    """Answer until nobody asks."""
    channel: Connection[object, object] = Connection(descriptor)
    waiting: queue.SimpleQueue[Asked] = queue.SimpleQueue()

    def listen() -> None:
        try:
            sys.path[:] = channel.recv()  # type: ignore[call-overload]
            while True:
                waiting.put(channel.recv())  # type: ignore[arg-type]
        except BaseException:
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    channel.send(READY)
    while True:
        asked = waiting.get()
        try:
            found: object = answer(asked)
        except Exception as error:
            found = error
        channel.send(found)


def main(descriptors: list[int]) -> None:
    """Fork one process for each descriptor, and wait for their end."""
    import scipy.fft
    import scipy.ndimage  # noqa: F401 - most metrics need them

    gc.freeze()  # stays shared: no fork's collector touches it
    for own in descriptors:
        if os.fork() == 0:
            for other in descriptors:
                if other != own:
                    os.close(other)
            with suppress(OSError):
                serve(own)
            os._exit(1)
    for descriptor in descriptors:
        os.close(descriptor)
    for _ in descriptors:
        os.wait()


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]])
