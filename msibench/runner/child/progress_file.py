"""How far a cell has come, in a small file of its folder: the child writes it, the supervisor reads it.

Nothing depends on it. What a child writes is looked at like everything a stranger writes: a plain file,
a few hundred bytes, numbers that are numbers.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msibench.contracts.plain_text import visible
from msibench.contracts.progress import Stage

PROGRESS = "progress.json"
EVERY_S = 0.5
"""Between two writings at least."""
LARGEST = 512
"""Bytes of the file."""


def progress_writer(folder: Path) -> Callable[[Stage], None]:
    """Return a listener that keeps the newest stage in the folder of a cell."""
    path = folder.resolve() / PROGRESS
    last = -EVERY_S

    def write(stage: Stage) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < EVERY_S:
            return
        last = now
        partial = path.with_suffix(".new")
        told = [stage.done, stage.total, stage.unit, round(stage.seconds, 1)]
        partial.write_text(json.dumps(told), encoding="utf-8")
        partial.replace(path)

    return write


def read_progress(folder: Path) -> Stage | None:
    """Return how far a cell has come; None where it does not say, or what it says is not valid."""
    with suppress(OSError, ValueError, TypeError, RecursionError):
        flags = os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0)
        handle = os.open(folder / PROGRESS, flags)
        try:
            raw = os.read(handle, LARGEST + 1)
        finally:
            os.close(handle)
        done, total, unit, seconds = json.loads(raw)
        counts = type(done) is int and type(total) is int and 0 <= done <= total < 1 << 53
        if counts and total and isinstance(unit, str) and 0 <= float(seconds) < 1e9:
            return Stage(done, total, visible(unit)[:40], float(seconds))
    return None
