"""How long cells will take, from the boards that ship with msibench, and in which order to begin them."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable
from contextlib import suppress
from itertools import groupby

from msibench.runner.plan import Cell
from msibench.tracks import shipped_boards

START_S = 5.0
"""Seconds that a cell takes besides its ion images: a process, imports, scores."""
SHORT_S = 10.0
"""Cells that take no longer are begun in the plan's order."""
UNKNOWN_IMAGES = 20
"""Ion images of a section whose number is only known when it is read."""


def seconds_an_image() -> dict[str, float]:
    """Return seconds per ion image, fitting included, by method: the median of the shipped boards.

    They were measured on other machines and other sections: only the order of magnitude is meant.
    """
    found: dict[str, list[float]] = {}
    for text in shipped_boards("cpu").values():
        for row in csv.DictReader(io.StringIO(text)):
            with suppress(ValueError, KeyError):  # the perfect signal took no time
                seconds = float(row["seconds_per_image"])
                found.setdefault(row["method"], []).append(seconds)
    return {method: statistics.median(values) for method, values in found.items()}


def seconds_of(cell: Cell, each: float) -> float:
    """Return what a cell takes where every ion image takes `each` seconds."""
    return START_S + each * (len(cell.problem.mz_set.mz) or UNKNOWN_IMAGES)


def longest_first(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells of each problem with the long ones first, so that slots end at about the same time.

    Problems stay in their order, and so do short cells and those of methods that no board knows.
    """
    costs = seconds_an_image()

    def expected(cell: Cell) -> float:
        seconds = seconds_of(cell, costs.get(cell.label, 0.0))
        return seconds if seconds > SHORT_S else 0.0

    ordered: list[Cell] = []
    for _, own in groupby(cells, key=lambda cell: cell.problem.key):
        ordered += sorted(own, key=expected, reverse=True)
    return ordered
