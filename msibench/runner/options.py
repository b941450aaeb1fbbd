"""How a run is carried out; nothing of it enters a key."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msibench.runner.child.sandbox.command import AUTO
from msibench.runner.jobs import Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a run is carried out; nothing of it enters a key."""

    jobs: int = 1
    timeout_s: float | None = None
    memory_gb: float | None = None
    disk_gb: float | None = None
    retry: frozenset[str] = frozenset()
    executor: str = "local"
    executor_options: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None
    given_weights: tuple[Path, ...] = ()
    """Files or folders in which to look for pretrained files first."""
    sandbox: str = AUTO
    """As in `msibench.runner.child.sandbox.command.settled`: where the system allows none, cells run
    without one and record that."""
    stop: threading.Event | None = None
    """When set, children are ended and the run finishes; what is stored stays."""

    cold: bool = False
    """Whether every cell begins as a process of its own; else as a fork of one that holds the large
    libraries, where the system and the sandbox allow it."""

    @property
    def asked(self) -> Asked:
        """What it sets for every cell's limits."""
        return Asked(
            timeout_s=self.timeout_s,
            memory_gb=self.memory_gb,
            threads=self.threads,
            disk_gb=self.disk_gb,
        )
