"""What a run reports while it is running, and its result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from msibench.results.schema import FAILURES
from msibench.runner.plan import Cell

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One step of a run, for progress bars and machines."""

    kind: str
    """``planned``, ``cached``, ``started``, ``finished``, ``dropped``, ``busy``, ``note``; ``progress``
    of a running cell, where its method tells any: `done` of `total`, in words in `reason`."""
    cell: str = ""
    key: str = ""
    status: str = ""
    reason: str = ""
    done: int = 0
    total: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class RunSummary:
    """Result of a run; threads count into it, each count under its one lock."""

    counts: dict[str, int] = field(default_factory=dict)
    """Status → cells, cached ones included."""
    ran: int = 0
    cached: int = 0
    busy: int = 0
    """Cells that another run had leased."""
    keys: list[str] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)
    """Damaged cells that were moved away and run again."""
    changed: list[str] = field(default_factory=list)
    """Cells that were not recorded: code or data changed after they were planned."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Key → what is wrong with a stored cell that could not be brought up to the track's metrics."""
    stopped: bool = False
    """It was stopped before its end."""
    folder: Path | None = None
    """Where the board was written; None where only a part was run."""
    page: Path | None = None
    read_rows: Callable[[], pd.DataFrame] | None = field(default=None, repr=False, compare=False)
    """Gives the board's rows; None where only a part was run."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def told(self) -> str:
        """Return in words how its cells ended, and how many were stored already or are run by others."""
        ended = ", ".join(f"{count} {status}" for status, count in sorted(self.counts.items()))
        busy = f", {self.busy} left to another run" if self.busy else ""
        return f"{ended or 'no cells'}; {self.ran} run now, {self.cached} stored already{busy}"

    def count(
        self, status: str, *, ran: bool = False, cached: bool = False, changed: str = ""
    ) -> int:
        """Count one cell, and return how many have been counted.

        Parameters
        ----------
        ran, cached
            It ran now, or was stored already.
        changed
            Its key, where what the key stands for changed during the run.
        """
        with self._lock:
            self.counts[str(status)] = self.counts.get(str(status), 0) + 1
            self.ran += ran
            self.cached += cached
            if changed:
                self.changed.append(changed)
            return sum(self.counts.values())

    def leave(self) -> None:
        """Count one cell that is left to another run."""
        with self._lock:
            self.busy += 1

    def put_aside(self, key: str) -> None:
        """Remember a damaged cell."""
        with self._lock:
            self.set_aside.append(key)

    @property
    def rows(self) -> pd.DataFrame | None:
        """The board's rows (`msibench.leaderboard.rows.COLUMNS`); None where only a part was run."""
        return None if self.read_rows is None else self.read_rows()

    @property
    def exit_code(self) -> int:
        """What the command line ends with: 0 sound, 3 failures, 6 nothing, 7 damage, 130 stopped."""
        if self.stopped:
            return 130
        if self.damaged or self.changed:
            return 7
        if any(self.counts.get(str(status), 0) for status in (*FAILURES, "cancelled")):
            return 3
        return 0 if self.counts.get("ok", 0) else 6


def event_of(kind: str, cell: Cell, status: str, reason: str) -> Event:
    """Return the event of a planned cell."""
    return Event(kind=kind, cell=cell.name, key=cell.key, status=str(status), reason=reason)
