"""What a data set is, seen from the harness: a card, and where needed a reader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """Where the card of one data set lies; cheap to make, reads nothing."""

    name: str
    """Name on the command line, equal to ``name`` in the card."""
    card: Path
    """``card.toml``."""
    reader: str = ""
    """``"package.module:function"`` that reads a section where the core's readers do not;
    called as ``function(dataset, section, files)`` and returning a ``Section``."""
