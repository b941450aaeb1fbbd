"""What a plugin may add to the command line and to the places where cells run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec:
    """One further subcommand of ``msibench``."""

    name: str
    target: str
    """``"package.module:command"``, a click command; imported only when it is called."""
    help: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSpec:
    """One place where cells can run."""

    name: str
    """``"local"``, ``"slurm"``."""
    target: str
    """``"package.module:Executor"``, see ``msibench.runner.executors``."""
