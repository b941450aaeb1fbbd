"""Progress of a long computation.

A method reports it, the harness shows it: `msibench run` beside the cell, `msibench upscale` in a bar.
Without a listener, reporting costs nothing; it never changes a result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """Progress of a computation."""

    done: int
    total: int
    unit: str
    """What is counted: ``"epochs"``, ``"ions"``, ``"tiles"``."""
    seconds: float
    """Since the first report of this unit."""

    @property
    def words(self) -> str:
        """``"37 of 100 epochs, 12 s left"``."""
        left = self.seconds / self.done * (self.total - self.done) if self.done else 0.0
        rest = f", {in_words(left)} left" if self.seconds > 1 and self.done < self.total else ""
        return f"{self.done} of {self.total} {self.unit}{rest}"


class _Watched:
    """The listener of this process, if there is one."""

    def __init__(self) -> None:
        self.listener: Callable[[Stage], None] | None = None
        self.began: dict[tuple[str, int], float] = {}


_WATCHED = _Watched()


def tell_progress(done: int, total: int, unit: str = "steps") -> None:
    """Report that `done` of `total` are done; may be called often and from any thread.

    Examples
    --------
    >>> for epoch in range(3):
    ...     tell_progress(epoch + 1, 3, "epochs")
    """
    listener = _WATCHED.listener
    if listener is None:
        return
    now = time.monotonic()
    began = _WATCHED.began.setdefault((unit, total), now)
    with suppress(OSError):  # whoever watches may be gone
        listener(Stage(int(done), int(total), unit, now - began))


@contextmanager
def heard(listener: Callable[[Stage], None]) -> Iterator[None]:
    """Let `listener` receive the reports of this process, from any thread."""
    before = _WATCHED.listener, _WATCHED.began
    _WATCHED.listener, _WATCHED.began = listener, {}
    try:
        yield
    finally:
        _WATCHED.listener, _WATCHED.began = before


def is_heard() -> bool:
    """Return whether this process has a listener."""
    return _WATCHED.listener is not None


def in_words(seconds: float) -> str:
    """Return a duration as ``"12 s"``, ``"3 min"`` or ``"2.5 h"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
