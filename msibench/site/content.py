"""What the site says: boards, methods and data sets, each known by one name and linked to the others."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from msibench.contracts.method import CONSISTENT, MethodSpec, WeightFile
from msibench.datasets import Card, load_card
from msibench.errors import ConfigurationError, MSIBenchError
from msibench.gate.grow import committed_board, with_stored_images
from msibench.gate.sources import ROWS
from msibench.gate.verify_board import facts_of_track
from msibench.leaderboard.all_boards import TRUST, flags_of, heading
from msibench.leaderboard.board import Board
from msibench.leaderboard.listed import (
    Listed,
    all_synthetic,
    apart_from_methods,
    best_row,
    with_interval,
)
from msibench.leaderboard.page import page_name
from msibench.leaderboard.render import significant, whole
from msibench.leaderboard.rows import marks, measured
from msibench.leaderboard.sentences import advice_for
from msibench.leaderboard.table import scheme_of
from msibench.plugin_manager import Catalogue
from msibench.results.store import Store
from msibench.scoring.cube import NOTHING_PRESENT
from msibench.tracks import Track, load_track

SINGLE = "single-image"
TASKS = {
    SINGLE: "single image",
    "guided": "with a guide image",
    "cross-modality": "with a second modality",
}


@dataclass(frozen=True, slots=True, eq=False)
class SiteBoard:
    """One folder of the boards: measured, or prepared only."""

    track: Track
    track_facts: Mapping[str, Any]
    """What the cards and plugins say of it (`msibench.gate.verify_board.facts_of_track`)."""
    board: Board | None
    """None: nobody has measured it yet."""
    listed: tuple[Listed, ...] = ()
    """One entry a protocol; empty without rows."""

    @property
    def name(self) -> str:
        """Its name, which is its folder's."""
        return self.track.name

    @property
    def datasets(self) -> tuple[str, ...]:
        """Data sets that it is of."""
        return tuple(dict.fromkeys(problem.dataset for problem in self.track.problems))

    @property
    def factors(self) -> tuple[int, ...]:
        """Factors of its protocols."""
        definitions = [each.get("definition", {}) for each in self._protocols().values()]
        return tuple(sorted({int(d["factor"]) for d in definitions if d.get("factor")}))

    def _protocols(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.track_facts.get("protocols", {})
        return found

    @property
    def tasks(self) -> tuple[str, ...]:
        """What its methods are given beside the coarse images."""
        if self.board is not None:
            found = set(self.board.rows.loc[~self.board.rows["is_control"], "task"])
        else:
            found = {each.get("task", "") for each in self.track_facts.get("methods", {}).values()}
        return tuple(task for task in TASKS if task in found)

    @property
    def state(self) -> str:
        """Whether there are results."""
        return "measured" if self.board is not None else "prepared, not measured yet"

    def best(self) -> list[tuple[str, str, str]]:
        """Return protocol, method and score of the best method of each protocol."""
        found = []
        for listed in self.listed:
            row = best_row(listed)
            if row is not None:
                found.append((listed.protocol, str(row["method"]), with_interval(listed, row)))
        return found


@dataclass(frozen=True, slots=True)
class Score:
    """One method on one board under one protocol."""

    board: str
    column: str
    """The board, with its protocol where it has several."""
    protocol: str
    method: str
    value: float | None
    """As the board's scheme has it: a share, shown in percent where `percent`."""
    low: float | None
    high: float | None
    percent: bool
    text: str
    """The score as the board prints it, without interval."""
    interval: str
    rank: str
    images: str
    sections: int
    seconds: str
    origin: str
    statuses: str
    reasons: str
    apart: bool
    """A control, or a result that is flagged: not among the competitors."""
    flags: tuple[str, ...]
    trust: tuple[float | None, ...]
    """Mean of each of `msibench.leaderboard.all_boards.TRUST`; None where it was not measured."""


@dataclass(frozen=True, slots=True)
class MethodPage:
    """What the site says of one method."""

    name: str
    title: str = ""
    task: str = ""
    citation: str = ""
    code: str = ""
    """Address of its authors' code."""
    source: str = ""
    """File of its implementation here, as it stands in the repository."""
    licence: str = ""
    budget: str = ""
    plugin: str = ""
    control: bool = False
    training_data: tuple[str, ...] = ()
    weights: tuple[WeightFile, ...] = ()
    settings: tuple[tuple[str, str, str], ...] = ()
    """Name, value, and where the value comes from."""
    twin_of: str = ""
    installed: bool = True
    scores: tuple[Score, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()
    """Board, and what went wrong on it."""

    @property
    def place(self) -> str:
        """Folder of its page."""
        return page_name(self.name)

    @property
    def task_text(self) -> str:
        """Its task in words."""
        return TASKS.get(self.task, self.task or "not stated")


@dataclass(frozen=True, slots=True, eq=False)
class DatasetPage:
    """What the site says of one data set."""

    card: Card
    boards: tuple[SiteBoard, ...] = ()

    @property
    def place(self) -> str:
        """Folder of its page."""
        return page_name(self.card.name)


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """Everything that the site says."""

    boards: tuple[SiteBoard, ...]
    methods: tuple[MethodPage, ...]
    datasets: tuple[DatasetPage, ...]
    scores: tuple[Score, ...] = field(default=())

    @property
    def advice(self) -> tuple[tuple[str, str], ...]:
        """Return, for each family of sections that has a board in percent, what to take from it."""
        listed = [each for board in self.boards for each in board.listed]
        families = {each.family: [o for o in listed if o.family == each.family] for each in listed}
        return tuple((heading(own), said) for own in families.values() if (said := advice_for(own)))

    @property
    def columns(self) -> tuple[tuple[SiteBoard, Listed], ...]:
        """Return the columns of the overview: every protocol of every measured board."""
        return tuple((board, listed) for board in self.boards for listed in board.listed)


def gather(folder: Path, catalogue: Catalogue, store: Store | None = None) -> Content:
    """Read every board of a folder, and what the plugins know of its methods and data sets.

    Parameters
    ----------
    folder
        Holds folders with ``track.toml``; those with ``rows.parquet`` are shown with results, the others
        as prepared.
    store
        Cells of the boards, as after ``msibench import``: their images are shown.

    Raises
    ------
    ConfigurationError
        No board is in the folder.
    IntegrityError
        The rows of a board are damaged.
    """
    places = sorted(path.parent for path in folder.glob("*/track.toml"))
    if not places:
        raise ConfigurationError(
            f"{folder} holds no board: expected folders with track.toml, as leaderboards/ has them"
        )
    boards = tuple(
        sorted(
            (_board(place, catalogue, store) for place in places),
            key=lambda board: all_synthetic(board.track, catalogue),
        )
    )
    scores = tuple(score for board in boards for score in _scores(board))
    cards = {name: load_card(spec) for name, spec in sorted(catalogue.datasets.items())}
    datasets = tuple(
        DatasetPage(card, tuple(board for board in boards if name in board.datasets))
        for name, card in cards.items()
    )
    return Content(boards, _methods(boards, scores, catalogue, folder), datasets, scores)


def _board(place: Path, catalogue: Catalogue, store: Store | None) -> SiteBoard:
    track = load_track(str(place))
    if not (place / ROWS).is_file():
        return SiteBoard(track, facts_of_track(track, catalogue) or {}, None)
    board = with_stored_images(committed_board(place, track, catalogue), store)
    scheme = scheme_of(track, board.rows["metric"].unique())
    listed = tuple(
        Listed(track, str(protocol), part.reset_index(drop=True), scheme)
        for protocol, part in board.table.groupby("protocol", sort=True)
    )
    return SiteBoard(track, board.index.track_facts, board, listed)


def _scores(board: SiteBoard) -> Iterable[Score]:
    if board.board is None:
        return
    marked = marks(board.board.rows)
    for listed in board.listed:
        apart = apart_from_methods(listed)
        for at, row in enumerate(listed.table.to_dict("records")):
            series = listed.table.iloc[at]
            said = flags_of(str(row["method"]), [(listed, series)]).replace(f"{listed.name}: ", "")
            flags = [word for word in said.split("; ") if word]
            mark = marked.get(str(row["method"]), "").strip(" ()")
            flags += [word for word in mark.split(", ") if word and word not in flags]
            yield Score(
                board=board.name,
                column=listed.name,
                protocol=listed.protocol,
                method=str(row["method"]),
                value=_number(row.get("composite")),
                low=_number(row.get("composite.low")),
                high=_number(row.get("composite.high")),
                percent=listed.scheme.percent,
                text=listed.score(series),
                interval=_interval(listed, series),
                rank=whole(row.get("rank")),
                images=whole(row.get("images")),
                sections=listed.sections(),
                seconds=significant(row["seconds_per_image"]),
                origin=str(row["origin"]),
                statuses=str(row["statuses"]),
                reasons=_text(row.get("status_reasons")),
                apart=bool(apart.iloc[at]),
                flags=tuple(flags),
                trust=tuple(_number(row.get(f"{metric}.image.mean")) for metric, *_ in TRUST),
            )


def _interval(listed: Listed, row: pd.Series[Any]) -> str:
    low, high = listed.score(row, ".low"), listed.score(row, ".high")
    return "" if "–" in {low, high} else f"[{low}, {high}]"


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _methods(
    boards: Iterable[SiteBoard], scores: Iterable[Score], catalogue: Catalogue, folder: Path
) -> tuple[MethodPage, ...]:
    """Return a page for every method that is installed, or has a line on a board."""
    facts: dict[str, tuple[Mapping[str, Any], str]] = {}
    for board in boards:
        entries = {entry.name: entry.method for entry in board.track.entries}
        for label, known in board.track_facts.get("methods", {}).items():
            facts.setdefault(str(label), (known, entries.get(str(label), str(label))))
    held: dict[str, list[Score]] = {}
    for score in scores:
        held.setdefault(score.method, []).append(score)
    failures = _failures(boards)
    pages = []
    for name in sorted({*catalogue.methods, *held}):
        known, method = facts.get(name, ({}, name))
        spec = _spec(catalogue, method)
        pages.append(
            MethodPage(
                name=name,
                **(_from_spec(spec, known, catalogue, folder) if spec else _from_facts(known)),
                scores=tuple(held.get(name, ())),
                failures=tuple(failures.get(name, ())),
            )
        )
    return tuple(pages)


def _spec(catalogue: Catalogue, name: str) -> MethodSpec | None:
    try:
        return catalogue.method(name)
    except MSIBenchError:
        return None


def _from_spec(
    spec: MethodSpec, known: Mapping[str, Any], catalogue: Catalogue, folder: Path
) -> dict[str, Any]:
    config = dict(known.get("config") or spec.config)
    base = spec.name.removesuffix(CONSISTENT)
    citation = spec.citation
    return {
        "title": str(known.get("title") or spec.title),
        "task": spec.task.value,
        "citation": citation,
        "code": spec.code or next((w for w in citation.split() if "//github.com/" in w), ""),
        "source": _source(spec.target.removesuffix(CONSISTENT), folder),
        "licence": spec.licence,
        "budget": spec.budget,
        "plugin": catalogue.owner.get(("method", base), ""),
        "control": spec.control,
        "training_data": spec.training_data,
        "weights": spec.weights,
        "settings": tuple(
            (name, _shown(value), spec.sources.get(name, "")) for name, value in config.items()
        ),
        "twin_of": base if spec.name.endswith(CONSISTENT) else "",
    }


def _from_facts(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a board says of a method that is not installed here."""
    sources = known.get("sources") or {}
    return {
        "title": str(known.get("title") or ""),
        "task": str(known.get("task") or ""),
        "citation": str(known.get("citation") or ""),
        "licence": str(known.get("licence") or ""),
        "plugin": str(known.get("plugin") or ""),
        "training_data": tuple(known.get("training_data") or ()),
        "settings": tuple(
            (str(name), _shown(value), str(sources.get(name, "")))
            for name, value in (known.get("config") or {}).items()
        ),
        "installed": False,
    }


def _shown(value: object) -> str:
    return "yes" if value is True else "no" if value is False else str(value)


def _source(target: str, folder: Path) -> str:
    """Return the file of a method, as it stands beside the boards; empty where it lies elsewhere."""
    try:
        found = importlib.util.find_spec(target.partition(":")[0])
    except (ImportError, ValueError):
        return ""
    origin = Path(found.origin).resolve() if found is not None and found.origin else None
    root = folder.resolve().parent
    if origin is None or not origin.is_relative_to(root):
        return ""
    return origin.relative_to(root).as_posix()


def _failures(boards: Iterable[SiteBoard]) -> dict[str, list[tuple[str, str]]]:
    """Return method → board and what went wrong: cells that ended badly, values that are undefined."""
    found: dict[str, list[tuple[str, str]]] = {}
    for board in boards:
        if board.board is None:
            continue
        for listed in board.listed:
            for row in listed.table.to_dict("records"):
                high = _number(row.get("composite.high"))
                if listed.scheme.percent and high is not None and high < 0:
                    said = "worse than an image that adds nothing to its input (skill below 0)"
                    found.setdefault(str(row["method"]), []).append((board.name, said))
                reasons = _text(row.get("status_reasons"))
                if reasons:
                    said = f"{row['statuses']}: {reasons}"
                    found.setdefault(str(row["method"]), []).append((board.name, said))
        rows = measured(board.board.rows)
        holes = rows[~rows["reason"].isin(["", NOTHING_PRESENT])]
        holes = holes[~holes["reason"].str.startswith("weights-missing")]
        for (method, metric, why), part in holes.groupby(["method", "metric", "reason"], sort=True):
            said = f"{metric}: {len(part)} values undefined ({why})"
            found.setdefault(str(method), []).append((board.name, said))
    return found
