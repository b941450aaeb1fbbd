"""The leaderboard as cells of a table: their text, and the value that a column is sorted by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from msibench.leaderboard.board import Board
from msibench.leaderboard.metrics import BETTER, BoardMetrics, board_metrics
from msibench.leaderboard.perfect import REFERENCE
from msibench.leaderboard.render import fixed, plus_minus, significant, whole
from msibench.leaderboard.rows import SELF_REPORTED, records_of
from msibench.leaderboard.table import has_ranks, scheme_of, what_numbers_mean
from msibench.scoring import Scheme


@dataclass(frozen=True, slots=True)
class TableCell:
    """One cell."""

    text: str
    sort: str = ""
    """What the column is sorted by; a number as text where the column is numeric."""
    under: str = ""
    """A second, smaller line: the interval, a reason."""
    head: bool = False
    """Whether the cell names its row."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    name: str
    numeric: bool
    best: str = ""
    """Which way is better, in words."""


@dataclass(frozen=True, slots=True)
class TableView:
    """The leaderboard of one protocol."""

    protocol: str
    description: str
    columns: list[Column]
    rows: list[list[TableCell]]
    references: list[list[TableCell]]
    """The perfect signal, and the control: lines that are not sorted among the methods."""
    methods: list[str]
    meaning: str
    """What means, standard errors and intervals are over."""


def table_view(board: Board) -> list[TableView]:
    """Return one table per protocol, best method first; measures of trust have their own place."""
    table, track, index = board.table, board.track, board.index
    scheme, known = scheme_of(track, board.rows["metric"].unique()), board_metrics(index)
    everything = board.with_references
    below = everything[everything["task"] == REFERENCE]
    views = []
    for protocol, part in table.groupby("protocol", sort=True):
        described = index.track_facts.get("protocols", {}).get(protocol, {})
        metrics = [
            name
            for name in track.metrics
            if known[name].question == "quality"
            and (column := _column(name, part))
            and part[f"{column}.mean"].notna().any()  # such as one that needs weights
        ]
        ranked = has_ranks(part)
        columns = [
            *([Column("rank", True), Column("group", True)] if ranked else []),
            Column("method", False),
            Column("score (%)" if scheme.percent else "score", True, "higher is better"),
            *([Column("kept", True)] if _can_be_kept(scheme) else []),
            *(Column(known[name].label, True, BETTER[known[name].direction]) for name in metrics),
            Column("coverage", True),
            Column("images", True),
            Column("s / image", True, "lower is better"),
            Column("MiB", True, "lower is better"),
            Column("cells", False),
        ]
        rows = [_row(row, metrics, known, part, ranked, scheme) for row in records_of(part)]
        here = records_of(below[below["protocol"] == protocol])
        references = [_reference(row, metrics, known, part, ranked, scheme) for row in here]
        methods = [str(name) for name in part["method"]]
        text = str(described.get("description", ""))
        meaning = what_numbers_mean(part)
        views.append(TableView(str(protocol), text, columns, rows, references, methods, meaning))
    return views


def _column(name: str, part: pd.DataFrame) -> str:
    """Return the prefix of a metric's columns: the image region where it has one."""
    for region in ("image", "section", "tissue"):
        if f"{name}.{region}.mean" in part:
            return f"{name}.{region}"
    return ""


def _row(
    row: Mapping[Any, Any],
    metrics: list[str],
    known: BoardMetrics,
    part: pd.DataFrame,
    ranked: bool,
    scheme: Scheme,
) -> list[TableCell]:
    label = f"{row['method']} (control)" if row["control"] else str(row["method"])
    origins = set(str(row["origin"]).split(", ")) - {"not isolated"}
    if SELF_REPORTED in origins:
        label += f" ({'partly ' if len(origins) > 1 else ''}{SELF_REPORTED})"
    reason = row.get("rank_reason")
    reason = reason if isinstance(reason, str) else ""
    places = [
        TableCell(whole(row.get("rank")) or "–", whole(row.get("rank")), reason and "no rank"),
        TableCell(whole(row.get("rank_group")) or "–", whole(row.get("rank_group"))),
    ]
    cells = [
        *(places if ranked else []),
        TableCell(label, label.lower(), _remark(row, reason), head=True),
        _score(row, scheme),
        *([_kept(row)] if _can_be_kept(scheme) else []),
    ]
    for name in metrics:
        measure = _column(name, part)
        digits = known[name].digits
        cells.append(
            TableCell(
                plus_minus(row, measure, digits),
                _sort(row.get(f"{measure}.mean")),
                _interval(row, measure, digits),
            )
        )
    coverage = row.get("coverage")
    statuses = str(row["statuses"])
    return [
        *cells,
        TableCell("–" if pd.isna(coverage) else f"{coverage:.0%}", _sort(coverage)),
        TableCell(whole(row.get("images")) or "–", whole(row.get("images"))),
        TableCell(significant(row["seconds_per_image"]) or "–", _sort(row["seconds_per_image"])),
        TableCell(whole(row["rss_mib"]) or "–", _sort(row["rss_mib"])),
        TableCell(statuses, statuses, str(row["status_reasons"] or "")),
    ]


def _reference(
    row: Mapping[Any, Any],
    metrics: list[str],
    known: BoardMetrics,
    part: pd.DataFrame,
    ranked: bool,
    scheme: Scheme,
) -> list[TableCell]:
    """Return the line of the perfect signal, or of the control: what each column can hold."""

    def shown(column: str, digits: int, scale: float = 1.0) -> TableCell:
        mean, low, high = (_number(row.get(f"{column}.{end}")) for end in ("mean", "low", "high"))
        if not np.isnan(mean):
            return TableCell(f"{scale * mean:.{digits}f}")
        if np.isnan(low):
            return TableCell("–")
        return TableCell(f"{scale * low:.{digits}f} to {scale * high:.{digits}f}")

    score = _score(row, scheme)
    if score.text == "–" and scheme.name == "skill":
        score = shown("skill.image", 1, 100.0)
    cells = [TableCell("")] * (2 if ranked else 0)
    cells += [TableCell(str(row["method"]), head=True), score]
    cells += [TableCell("")] * _can_be_kept(scheme)
    cells += [shown(_column(name, part), known[name].digits) for name in metrics]
    return cells + [TableCell("")] * 5


def _score(row: Mapping[Any, Any], scheme: Scheme) -> TableCell:
    score = row.get("composite")
    if score is None or pd.isna(score):
        return TableCell("–")
    scale, digits = (100.0, 1) if scheme.percent else (1.0, 3)
    shown = {
        f"composite{end}": scale * value
        for end in ("", ".sem", ".low", ".high")
        if (value := row.get(f"composite{end}")) is not None and not pd.isna(value)
    }
    sem = f" ± {shown['composite.sem']:.{digits}f}" if "composite.sem" in shown else ""
    text = f"{fixed(shown['composite'], digits)}{sem}"
    return TableCell(text, _sort(score), _interval(shown, "composite", digits))


def _can_be_kept(scheme: Scheme) -> bool:
    """Whether other weights could change an order: those of one metric say nothing."""
    return len(scheme.metrics) > 1


def _kept(row: Mapping[Any, Any]) -> TableCell:
    """Return the share of weightings under which the rank stays."""
    kept = row.get("rank_kept")
    if kept is None or pd.isna(kept):
        return TableCell("–")
    return TableCell(f"{kept:.0%}", _sort(kept))


def _remark(row: Mapping[Any, Any], reason: str) -> str:
    """Return why there is no rank, or which metrics the score is made without."""
    missing = row.get("missing")
    if not reason and isinstance(missing, str) and missing:
        return f"scored without {missing}"
    return reason


def _interval(row: Mapping[Any, Any], measure: str, digits: int) -> str:
    low, high = row.get(f"{measure}.low"), row.get(f"{measure}.high")
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return ""
    return f"[{fixed(low, digits)}, {fixed(high, digits)}]"


def _number(value: Any) -> float:
    return float("nan") if value is None or pd.isna(value) else float(value)


def _sort(value: Any) -> str:
    return "" if value is None or pd.isna(value) else f"{float(value):.10g}"
