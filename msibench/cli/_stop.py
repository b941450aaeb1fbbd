"""Ctrl-C and SIGTERM: the first ends a command in good order and soon, a second one at once.

A signal reaches Python's own handlers only between two of its instructions. A thread of its own, woken
by the system itself, sees to it that a command inside a long computation ends as well.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

STOPPED = 130
"""Exit status of a command that was told to end."""
WITHIN_S = 1.8
"""Seconds within which a command ends after the first signal."""
BATCH_S = 60.0
"""The same, where cells have to be taken back from a batch system."""
_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})
_told: list[tuple[Callable[[], None], float]] = []


@contextmanager
def orderly() -> Iterator[None]:
    """End what runs within by `KeyboardInterrupt` when the first signal comes; restore the handlers after.

    Outside the main thread nothing is changed, as signals are not delivered there. Nor on
    Windows, where Ctrl-C is `KeyboardInterrupt` anyway and nothing can wait for a pipe.
    """
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    heard = threading.Event()

    def first(number: int, frame: object) -> None:
        if heard.is_set():
            return  # the thread ends the process
        heard.set()
        if not _told:
            raise KeyboardInterrupt
        _told[-1][0]()

    thread = threading.Thread(target=_see_to_the_end, args=(reader,), daemon=True)
    thread.start()
    before = {number: signal.signal(number, first) for number in _SIGNALS}
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(writer, b"\0")
        thread.join(1.0)
        os.close(writer)


@contextmanager
def told(stop: Callable[[], None], within_s: float = WITHIN_S) -> Iterator[None]:
    """Call `stop` on the first signal instead of interrupting, and allow it so many seconds."""
    _told.append((stop, within_s))
    try:
        yield
    finally:
        _told.pop()


def _see_to_the_end(reader: int) -> None:
    """End the process some time after the first signal, or with the second."""
    numbers = {int(number) for number in _SIGNALS}
    end: float | None = None
    while True:
        left = None if end is None else max(0.0, end - time.monotonic())
        if not select.select([reader], [], [], left)[0]:
            break
        came = os.read(reader, 1)
        if came in {b"", b"\0"}:
            os.close(reader)
            return
        if came[0] in numbers:
            if end is not None:
                break
            end = time.monotonic() + (_told[-1][1] if _told else WITHIN_S)
    with suppress(OSError):
        os.write(2, b"\nended at once; finished cells are kept, run again to go on\n")
    os._exit(STOPPED)
