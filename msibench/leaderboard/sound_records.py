"""Whether a record is valid where a leaderboard shows it: a results folder may come from elsewhere, too."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from msibench.errors import IntegrityError
from msibench.results.schema import REMEDY, CellRecord

TEXTS = (
    "key", "method", "dataset", "section", "protocol", "mz_set", "control", "device", "precision", "reason", "origin",
)  # fmt: skip


def check_shown(record: CellRecord) -> None:
    """Reject a record whose values are of wrong types.

    Raises
    ------
    IntegrityError
        If a value that a leaderboard shows is not valid.
    """
    described = record.method_facts
    sound = {name: _text(getattr(record, name)) for name in TEXTS}
    sound["seed"] = type(record.seed) is int and abs(record.seed) < 2**63
    sound["timings"] = _numbers(record.timings, ("upscale", "fit"))
    sound["peaks"] = _numbers(record.peaks, ("rss", "vram"))
    sound["method_facts"] = isinstance(described, Mapping) and _text(described.get("task", ""))
    sound["provenance"] = isinstance(record.provenance, Mapping)
    wrong = [name for name, fine in sound.items() if not fine]
    if wrong:
        raise IntegrityError(
            f"cell {record.key!s:.12}…: not valid in its record: {', '.join(wrong)}; {REMEDY}"
        )


def _text(value: object) -> bool:
    """Whether it is text that a file can hold."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _numbers(table: object, names: tuple[str, ...]) -> bool:
    """Whether these entries, where they are there, are numbers that a float can hold; NaN is one."""
    return isinstance(table, Mapping) and all(
        type(value) in (int, float) and not abs(value) > sys.float_info.max
        for name, value in table.items()
        if name in names
    )
