"""Boards of sections like one's own: what methods reached there, beside what is expected here."""

from __future__ import annotations

import csv
import io
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from msibench.advice.likeness import ALIKE, Likeness, likeness
from msibench.errors import MSIBenchError
from msibench.image import MSImage

SHOWN = 3
"""Boards that are told, nearest first; one of each data set."""
SECTIONS = "sections_of_boards.csv"
"""Likeness of the sections of public data sets, mean over sections: ``bench/measure_advice.py sections``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarBoard:
    """A board, and how alike its sections are."""

    name: str
    dataset: str
    sections: int
    pixel_size_um: float
    distance: float
    """Root mean square of the differences in pixel size, noise and texture; 1 is a factor of two in
    pixel size (`msibench.advice.likeness.STEPS`)."""
    differs_most: str
    """In what it differs most."""
    skill: Mapping[str, float]
    """Mean skill of each method over the ion images of that board, best first."""

    @property
    def alike(self) -> bool:
        """Whether its sections count as alike."""
        return self.distance <= ALIKE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    name: str
    dataset: str
    sections: int
    like: Likeness
    skill: Mapping[str, float]


def similar_boards(
    low: MSImage, factor: int, usable: Container[str], results: Path | None = None
) -> tuple[SimilarBoard, ...]:
    """Return the boards of the most similar sections at a factor, nearest first.

    Committed boards that ship, and those of a results folder. Every board is a table of its own: its
    figures are of its ions, and are never averaged with those of another.

    Parameters
    ----------
    low
        The section.
    factor
        How many times finer.
    usable
        Names of methods that can be used for this section; others of a board are left out.
    results
        A results folder with boards of one's own; None: those that ship alone.
    """
    mine = likeness(low, factor)
    known = [*_shipped(factor), *(() if results is None else _own(results, factor))]
    found = []
    for one in known:
        skill = {name: value for name, value in one.skill.items() if name in usable}
        if not skill:
            continue
        steps = mine.differences(one.like)
        found.append(
            SimilarBoard(
                name=one.name,
                dataset=one.dataset,
                sections=one.sections,
                pixel_size_um=one.like.pixel_size_um,
                distance=mine.distance(one.like),
                differs_most=max(steps, key=lambda name: steps[name]),
                skill=skill,
            )
        )
    fullest: dict[
        str, SimilarBoard
    ] = {}  # of several boards of one data set that with most methods
    for one in sorted(found, key=lambda one: (-len(one.skill), one.name)):
        fullest.setdefault(one.dataset, one)
    return tuple(sorted(fullest.values(), key=lambda one: (one.distance, one.name))[:SHOWN])


def board_skills(
    factor: int, tried: Container[str], results: Path | None = None
) -> dict[str, Mapping[str, float]]:
    """Return, of each data set, the mean skill of every method on the board that has most of those tried.

    Parameters
    ----------
    factor
        How many times finer.
    tried
        Names of methods.
    results
        A results folder with boards of one's own; None: those that ship alone.
    """
    known = [*_shipped(factor), *(() if results is None else _own(results, factor))]
    shared = [(-sum(name in tried for name in one.skill), one.name, one) for one in known]
    found: dict[str, Mapping[str, float]] = {}
    for _, _, one in sorted(shared, key=lambda each: each[:2]):
        found.setdefault(one.dataset, one.skill)
    return found


def in_words(boards: Sequence[SimilarBoard], tried: Iterable[str]) -> list[str]:
    """Return what boards of similar sections say, a line each; `tried` are the methods tried here."""
    if not boards:
        return ["no board at this factor to compare with"]
    here = set(tried)
    lines = []
    if not boards[0].alike:
        lines.append("no board has sections like this one; the nearest, with what differs most:")
    for one in boards:
        best = [f"{name} {skill:+z.1%}" for name, skill in list(one.skill.items())[:3]]
        line = (
            f"{one.name} ({one.sections} section{'s' if one.sections > 1 else ''}, {_um(one.pixel_size_um)}; "
            f"{'alike' if one.alike else 'not alike'}, {one.distance:.1f} steps away, most in {one.differs_most}): "
            f"{', '.join(best)}"
        )
        top = next(iter(one.skill), "")
        lines.append(
            line
            + (
                f"; {top} was not tried here, try --methods {top}"
                if top and top not in here
                else ""
            )
        )
    return lines


def _um(size: float) -> str:
    return "pixel size not known" if np.isnan(size) else f"{size:g} µm coarse pixels"


def _shipped(factor: int) -> Iterator[_Known]:
    from msibench.tracks import load_shipped, shipped_boards

    known = known_sections()
    for name, text in sorted(shipped_boards("cpu").items()):
        datasets = {each.dataset for each in load_shipped(name).problems}
        if len(datasets) != 1:
            continue
        (dataset,) = datasets
        rows = [row for row in csv.DictReader(io.StringIO(text)) if row["origin"] == "measured"]
        for protocol in sorted({row["protocol"] for row in rows}):
            if (like := known.get((dataset, protocol))) is None or _factor(protocol) != factor:
                continue
            mine = [row for row in rows if row["protocol"] == protocol]
            skill = {
                row["method"]: float(row["skill.image.mean"])
                for row in mine
                if row.get("skill.image.mean") and row["control"] != "True"
            }
            if skill:
                count = max(int(row["sections"] or 1) for row in mine)
                yield _known(name, dataset, count, like, skill)


def _own(results: Path, factor: int) -> Iterator[_Known]:
    """Yield the boards of a results folder; one that cannot be read is passed over."""
    from msibench.leaderboard.rows import SELF_REPORTED
    from msibench.library.leaderboards import load_board
    from msibench.results.problems import load_staged
    from msibench.results.store import Store

    store = Store.open(results, create=False)
    for folder in sorted((results / "leaderboards").glob("*/rows.parquet")):
        try:
            rows = load_board(folder.parent).rows()
            shown = (rows["metric"] == "skill") & (rows["control"] == "") & rows["value"].notna()
            rows = rows[shown & (rows["origin"] != SELF_REPORTED)]
            for (dataset, protocol), part in rows.groupby(["dataset", "protocol"]):
                if _factor(str(protocol)) != factor:
                    continue
                cells = part.groupby("section")["cell"].first()
                problems = [store.record(str(cell)).problem_key for cell in cells]
                likes = [
                    likeness(load_staged(store.problem_folder(key), digest="").low, factor)
                    for key in problems
                ]
                images = part.drop_duplicates(["method", "section", "mz_set", "channel"])
                count = images["method"].value_counts()
                whole = count.index[count == count.max()]  # who left images out has chosen them
                means = part.groupby("method")["value"].mean()[sorted(whole)]
                skill = {str(method): float(value) for method, value in means.items()}
                yield _known(folder.parent.name, str(dataset), len(cells), mean_of(likes), skill)
        except MSIBenchError:
            continue


def _known(
    name: str, dataset: str, sections: int, like: Likeness, skill: Mapping[str, float]
) -> _Known:
    best_first = dict(sorted(skill.items(), key=lambda item: (-item[1], item[0])))
    return _Known(name=name, dataset=dataset, sections=sections, like=like, skill=best_first)


def mean_of(likes: Sequence[Likeness]) -> Likeness:
    """Return the mean over sections."""
    fields = ("pixel_size_um", "signal", "texture", "fall")
    return Likeness(
        **{name: float(np.mean([getattr(one, name) for one in likes])) for name in fields}
    )


def known_sections() -> dict[tuple[str, str], Likeness]:
    """Return the likeness of the public sections that boards ship for, by data set and protocol."""
    text = files("msibench").joinpath(f"advice/{SECTIONS}").read_text("utf-8")
    return {
        (row["dataset"], row["protocol"]): Likeness(
            pixel_size_um=float(row["pixel_size_um"]),
            signal=float(row["signal"]),
            texture=float(row["texture"]),
            fall=float(row["fall"]),
        )
        for row in csv.DictReader(io.StringIO(text))
    }


def _factor(protocol: str) -> int:
    """Return the factor of a protocol that takes area means; 0 of any other."""
    import re

    found = re.fullmatch(r"area-x(\d+)@\d+", protocol)
    return int(found[1]) if found else 0
