"""Which cell of a board a result is: the eight names that identify it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from msibench.results.keys import plain

IDENTITY_FIELDS = (
    "method", "dataset", "section", "protocol", "mz_set", "seed", "control", "device",
)  # fmt: skip
PROBLEM_FIELDS = ("dataset", "section", "protocol", "mz_set", "control")
"""What identifies a problem of a board."""
TABLE_FIELDS = ("method", *PROBLEM_FIELDS)
"""Where the values of a cell are in a table; seeds share a place."""


_as_text = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=plain).encode
"""Made once: boards name a hundred thousand cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellIdentity:
    """One place of a board; a results folder may hold several results for it, of which one is current."""

    method: str
    """Name in the leaderboard."""
    dataset: str
    section: str
    protocol: str
    mz_set: str
    seed: int
    control: str = ""
    """Name of the wrong-guide control; empty for a real cell."""
    device: str = "cpu"
    """``"cpu"`` or ``"cuda"``."""

    def __str__(self) -> str:
        """Return the name under which a track's index lists it."""
        fields = [getattr(self, name) for name in IDENTITY_FIELDS]
        return _as_text(fields)

    @classmethod
    def listed(cls, text: str) -> CellIdentity:
        """Return what a track's index lists under a name."""
        return cls(**dict(zip(IDENTITY_FIELDS, json.loads(text), strict=True)))

    def as_dict(self) -> dict[str, Any]:
        """Return the eight by name."""
        return {name: getattr(self, name) for name in IDENTITY_FIELDS}

    @property
    def problem(self) -> tuple[str, ...]:
        """The names of the problem, in the order of `PROBLEM_FIELDS`."""
        return tuple(getattr(self, name) for name in PROBLEM_FIELDS)

    @property
    def in_table(self) -> tuple[str, ...]:
        """Where its values stand in a table, in the order of `TABLE_FIELDS`."""
        return (self.method, *self.problem)

    @property
    def title(self) -> str:
        """Its name in messages: method, section, protocol, control."""
        control = f" [{self.control}]" if self.control else ""
        return f"{self.method} · {self.dataset}/{self.section} · {self.protocol}{control}"
