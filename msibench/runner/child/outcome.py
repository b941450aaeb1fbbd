"""How a child ended: its own report, as far as that is trusted, and its exit status.

A child's report is not trusted: it runs a method, and a method may write anything.
"""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msibench.results.keys import canonical_json
from msibench.results.schema import Status

LARGEST_RESULT = 16 << 20
"""Bytes of ``result.json`` beyond which it is not read."""
MOST_NUMBERS = 64
"""Timings, or peaks, that are kept of one child."""
SAYABLE = frozenset(
    {Status.OK, Status.FAILED, Status.OOM, Status.NOT_APPLICABLE, Status.WEIGHTS_MISSING}
)
"""What a child may report about itself; the rest is measured by its supervisor."""
OUT_OF_MEMORY = (
    "out of memory", "outofmemory", "cudaerrormemoryallocation", "cuda_error_out_of_memory",
    "resource_exhausted", "alloc_failed", "can't allocate memory", "cannot allocate memory",
    "bad_alloc", "unable to allocate",
)  # fmt: skip
"""How torch, CUDA, cuBLAS, JAX, glibc and C++ say that there is no memory left (small letters)."""


def read_result(path: Path) -> dict[str, Any]:
    """Read a child's ``result.json``; empty when it is not a plain file, is too large, or is not a JSON object.

    What comes back can be written as UTF-8 and as JSON again, and is not nested too deeply for that.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return {}
            raw = stream.read(LARGEST_RESULT + 1)
        if len(raw) > LARGEST_RESULT:
            return {}
        found = json.loads(canonical_json(json.loads(raw)).encode("utf-8", "replace"))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def numbers(found: object, *, at_most: float) -> dict[str, float]:
    """Keep what is a finite number in ``[0, at_most]`` under a short name."""
    if not isinstance(found, dict):
        return {}
    kept = {
        str(key): float(value)
        for key, value in found.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 <= value <= at_most
        and math.isfinite(value)
        and len(str(key)) <= 64
    }
    return dict(list(kept.items())[:MOST_NUMBERS])


def classify(code: int, result: Mapping[str, Any], last: str) -> tuple[Status, str]:
    """Return how a process ended that was not killed.

    Parameters
    ----------
    code
        Its exit status, negative for a signal.
    result
        What `read_result` gave.
    last
        The last lines of its output.
    """
    said = result.get("status")
    reason = str(result.get("reason", ""))[:1000]
    if result.get("changed"):
        return Status.CANCELLED, reason
    if code in {0, 1} and isinstance(said, str) and said in SAYABLE:
        return Status(said), reason
    tail = f"; last output: {last}" if last else ", and it printed nothing"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        if says_out_of_memory(last):
            return Status.OOM, f"ended by {name}, out of memory{tail}"
        hint = " (often the kernel's out-of-memory killer)" if code == -signal.SIGKILL else ""
        return Status.KILLED, f"ended by {name}{hint}{tail}"
    if code == 0:
        return Status.FAILED, f"ended with status 0 but left no result{tail}"
    return Status.FAILED, f"ended with status {code} and left no result{tail}"


def telling_lines(log: str, number: int = 3) -> str:
    """Return the last lines of a log that are not empty, on one line.

    Of a crash that is what the method said before it, its name, and the innermost line of Python;
    not the whole stack, which stays in the log.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    crash = next((i for i, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
    if crash is None:
        return " | ".join(lines[-number:])
    where = next((line for line in lines[crash + 1 :] if line.startswith("File ")), "")
    kept = [*lines[max(0, crash - number + 1) : crash + 1], where]
    return " | ".join(line for line in kept if line)


def status_of(error: BaseException) -> Status:
    """Return the status of a cell whose method raised `error`; causes count, too."""
    for cause in _chain(error):
        if isinstance(cause, MemoryError):
            return Status.OOM
        if isinstance(cause, OSError) and cause.errno == errno.ENOMEM:
            return Status.OOM
        named = type(cause).__name__ == "OutOfMemoryError"
        if named or (isinstance(cause, RuntimeError) and says_out_of_memory(str(cause))):
            return Status.OOM
    if type(error).__name__ == "MissingWeightsError":
        return Status.WEIGHTS_MISSING
    return Status.FAILED


def reason_of(error: BaseException) -> str:
    """Return one line that says what was raised; a full disk is named as such."""
    lines = str(error).strip().splitlines()
    line = f"{type(error).__name__}: {lines[0] if lines else ''}"[:500]
    if any(_disk_full(cause) for cause in _chain(error)):
        return f"the disk is full: free some space and run again with --retry failed ({line})"
    return line


def says_out_of_memory(text: str) -> bool:
    """Whether a message is one of those that libraries have for too little memory."""
    small = text.lower()
    return any(words in small for words in OUT_OF_MEMORY)


def _disk_full(error: BaseException) -> bool:
    full = {errno.ENOSPC, errno.EDQUOT}
    if isinstance(error, OSError) and error.errno in full:
        return True
    return any(f"errno = {number}," in str(error) for number in full)  # as HDF5 says it


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
