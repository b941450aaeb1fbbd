"""How long cells will take, from what was measured before, and in which order to begin them."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from msibench.runner.plan import Cell
from msibench.tracks import shipped_boards

MEASURED, BOARDS = "measured on sections of this size", "shipped boards"
"""Where an expected time comes from, best first."""
SMALL_SECTIONS = frozenset({"phantom"})
"""Data sets whose sections have about as many pixels as those of ``seconds_of_small_sections.csv``."""
START_S = 2.0
"""Seconds that a cell takes besides its ion images: a process and scores."""
SHORT_S = 2.5
"""Cells that take no longer are begun in the plan's order."""
UNKNOWN_IMAGES = 20
"""Ion images of a section whose number is only known when it is read."""
Costs = Mapping[tuple[str, str], float]
"""Source and method → seconds per ion image."""


def known_costs() -> Costs:
    """Return what was measured on small sections and on the shipped boards."""
    return {**_board_costs(), **_measured_costs()}


def expected_seconds(cell: Cell, costs: Costs) -> tuple[float, str] | None:
    """Return the expected wall time of a cell, and where it comes from; None where nothing is known."""
    if cell.device.partition(":")[0] != "cpu":
        return None
    images = len(cell.problem.mz_set.mz) or UNKNOWN_IMAGES
    small = cell.problem.card.name in SMALL_SECTIONS
    for source in (MEASURED, BOARDS) if small else (BOARDS,):
        if (each := costs.get((source, cell.label))) is not None:
            return START_S + each * images, source
    return None


def in_order(cells: list[Cell], slots: int) -> list[Cell]:
    """Return cells as they are to begin in so many slots."""
    return longest_first(cells) if 1 < slots < len(cells) else cells


def longest_first(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells of each problem with the long ones first, so that slots end at about the same time.

    Problems stay in their order, and so do short cells and those of methods about which nothing is known.
    """
    costs = known_costs()

    def expected(cell: Cell) -> float:
        seconds, _ = expected_seconds(cell, costs) or (0.0, "")
        return seconds if seconds > SHORT_S else 0.0

    ordered: list[Cell] = []
    for _, own in groupby(cells, key=lambda cell: cell.problem.key):
        ordered += sorted(own, key=expected, reverse=True)
    return ordered


def _measured_costs() -> Costs:
    """Return seconds of one core per ion image of 144 x 144 fine pixels, by method (`bench/measure_costs.py`)."""
    with (Path(__file__).parent / "seconds_of_small_sections.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {(MEASURED, row["method"]): float(row["seconds_per_image"]) for row in rows}


def _board_costs() -> Costs:
    """Return seconds per ion image, fitting included, by method: the median of the shipped boards.

    They were measured on other machines and other sections: only the order of magnitude is meant.
    """
    found: dict[str, list[float]] = {}
    for text in shipped_boards("cpu").values():
        for row in csv.DictReader(io.StringIO(text)):
            with suppress(ValueError, KeyError):  # the perfect signal took no time
                seconds = float(row["seconds_per_image"])
                found.setdefault(row["method"], []).append(seconds)
    return {(BOARDS, method): statistics.median(values) for method, values in found.items()}
