"""Timings to compare: named lists of seconds, and where they were taken."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msibench.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Times of one benchmark."""

    seconds: tuple[float, ...]
    """Every measured round; the median alone when the file kept no rounds."""
    quartiles: tuple[float, float] | None = None
    """First and third quartile, where the file kept no rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Named timings of one session."""

    timings: Mapping[str, Timing]
    machine: str = ""
    """Processor and core count; timings of two machines are not compared."""
    peaks_mib: Mapping[str, float] = field(default_factory=dict)
    """Highest resident memory by name, where it was measured."""


def read_pytest_benchmark(path: Path) -> Timings:
    """Read what ``pytest --benchmark-json`` (or ``--benchmark-save``) wrote.

    Raises
    ------
    DataError
        If the file is something else.
    """
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        timings = {str(item["fullname"]): _timing(item["stats"]) for item in found["benchmarks"]}
        machine = found.get("machine_info", {})
        cpu = machine.get("cpu", {})
        name = cpu.get("brand_raw") or cpu.get("brand") or machine.get("processor") or ""
        where = f"{name}, {cpu.get('count', '?')} cores" if name else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} is not a result of pytest-benchmark ({type(error).__name__}: {error}); "
            "write one with: pytest --benchmark-only --benchmark-json FILE"
        ) from error
    return Timings(timings=timings, machine=where)


def _timing(stats: Mapping[str, Any]) -> Timing:
    rounds = tuple(float(value) for value in stats.get("data") or ())
    quartiles = None
    if not rounds:
        rounds = (float(stats["median"]),)
        quartiles = (float(stats["q1"]), float(stats["q3"]))
    if not all(math.isfinite(value) and value >= 0 for value in (*rounds, *(quartiles or ()))):
        raise ValueError("a time is negative or not a number")
    return Timing(seconds=rounds, quartiles=quartiles)
