"""What a child is to do, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msibench.contracts.method import Resources
from msibench.results.schema import Status
from msibench.runner.child.disk_use import MOST_BYTES
from msibench.runner.child.sandbox.command import (
    NONE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One cell, ready to run."""

    key: str
    folder: Path
    timeout_s: float
    memory_bytes: int | None = None
    """What its processes may use; None: its place decides, and in `run_child` there is no bound."""
    disk_bytes: int = MOST_BYTES
    """What it may write into its folder; checked once a second."""
    grace_s: float = 5.0
    threads: int = 0
    """Threads of its libraries; 0: its place decides."""
    environment: Mapping[str, str] = field(default_factory=dict)
    vram_gb: float = 0.0
    """Memory of a GPU that it needs; 0: it runs without one."""
    name: str = ""
    method: str = ""
    """The method's label."""
    resources: Resources = field(default_factory=Resources)
    """What its method declares."""
    attempt: str = ""
    """Distinguishes two attempts at one cell on one machine."""

    @property
    def tag(self) -> str:
        """What every process of the cell carries in its environment.

        Unlike the key it is of this run alone: another run on this machine may be at the same cell
        for another results folder, and its processes are not ours to end.
        """
        return f"{self.key}:{self.attempt or self.folder.name}"

    cold: bool = False
    """Whether it begins as a process of its own, without a fork server."""
    libraries: tuple[str, ...] = ()
    """Large ones that its method imports (`msibench.runner.child.libraries`)."""
    sandbox: str = NONE
    """As in `msibench.runner.child.sandbox.command.settled`; settled where the cell runs."""
    readable: tuple[str, ...] = ()
    """Files that the cell needs inside a sandbox."""
    hidden: tuple[str, ...] = ()
    """Files and folders that must not be seen inside a sandbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a cell's process ended; whether its prediction is sound is for the supervisor to say."""

    status: Status
    reason: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)
    peaks: Mapping[str, float] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Where and how it ran, as far as that differs from the supervisor's own place."""
