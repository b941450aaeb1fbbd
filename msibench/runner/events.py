"""What a run tells while it goes on, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from msibench.runner.plan import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One step of a run, for progress bars and machines."""

    kind: str
    """``planned``, ``cached``, ``started``, ``finished``, ``dropped``, ``busy``, ``note``."""
    cell: str = ""
    key: str = ""
    status: str = ""
    reason: str = ""
    done: int = 0
    total: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class RunSummary:
    """What came of a run."""

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

    def count(self, status: str) -> None:
        """Count one cell."""
        self.counts[str(status)] = self.counts.get(str(status), 0) + 1


def event_of(kind: str, cell: Cell, status: str, reason: str) -> Event:
    """Return the event of a planned cell."""
    return Event(kind=kind, cell=cell.name, key=cell.key, status=str(status), reason=reason)
