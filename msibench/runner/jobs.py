"""From a cell to the job that an executor is given: its limits and its needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from msibench.errors import ConfigurationError
from msibench.runner.child.disk_use import MOST_BYTES
from msibench.runner.child.job import Job
from msibench.runner.plan import Cell
from msibench.tracks import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line sets for every cell; None: the track, then the executor, decides."""

    timeout_s: float | None = None
    memory_gb: float | None = None
    threads: int | None = None
    disk_gb: float | None = None


def job_of(cell: Cell, folder: Path, limits: Limits, asked: Asked) -> Job:
    """Return the job of a cell that is prepared in `folder`."""
    memory = asked.memory_gb or limits.memory_gb
    resources = cell.spec.resources
    return Job(
        key=cell.key,
        folder=folder,
        timeout_s=asked.timeout_s or limits.timeout_s,
        memory_bytes=None if memory is None else int(memory * 2**30),
        disk_bytes=MOST_BYTES if asked.disk_gb is None else int(asked.disk_gb * 2**30),
        grace_s=limits.grace_s,
        threads=asked.threads or 0,
        vram_gb=max(resources.vram_gb, 1.0) if cell.device.startswith("cuda") else 0.0,
        name=f"{cell.label}-{cell.problem.card.name}-{cell.problem.section}",
        method=cell.label,
        resources=resources,
    )


def one_of(cells: Iterable[Cell], shard: str) -> list[Cell]:
    """Return part I of N of the cells (``"I/N"``, I from 1), neighbours together.

    Raises
    ------
    ConfigurationError
        If it is not written so.
    """
    every = list(cells)
    number, slash, count = shard.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        raise ConfigurationError(f"--shard is I/N, as in 1/8 … 8/8; got {shard!r}")
    part, parts = int(number), int(count)
    if not 1 <= part <= parts:
        raise ConfigurationError(f"--shard {shard}: the first number is between 1 and {parts}")
    return every[len(every) * (part - 1) // parts : len(every) * part // parts]


def with_keys(cells: Iterable[Cell], keys: Iterable[str]) -> list[Cell]:
    """Return the cells of which `keys` are the keys, or the first letters of them.

    Raises
    ------
    ConfigurationError
        If one names no cell of the plan, or several.
    """
    every = list(cells)
    found = []
    for key in keys:
        some = [cell for cell in every if cell.key.startswith(key)]
        if len(some) != 1:
            raise ConfigurationError(
                f"--cells: {key!r} begins the key of {len(some)} cells of this plan. Keys change "
                "with the code, the data and the libraries: plan again (msibench plan --json)"
            )
        found += some
    return found
