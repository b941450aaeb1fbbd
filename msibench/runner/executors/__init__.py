"""Places where cells run. All of them run the same cell folders with the same child process.

An executor is made with ``Executor(slots=…, stop=…, options=…)`` and has one method::

    def run(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, Outcome]]

It draws a job when it has room for one, and yields each with its outcome, in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from msibench.runner.child.job import Job, Outcome


class Executor(Protocol):
    """What the supervisor needs from an executor."""

    def run(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Run jobs as they are drawn; yield each with its outcome."""
        ...


BUILT_IN: Mapping[str, str] = {
    "local": "msibench.runner.executors.local:LocalExecutor",
    "slurm": "msibench.runner.executors.slurm.executor:SlurmExecutor",
}
