"""Figures and tables for papers, from the store alone; the same store gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from msibench.errors import ConfigurationError, StoreError
from msibench.leaderboard.board import Board, read_board
from msibench.leaderboard.figure_boxes import metrics
from msibench.leaderboard.figure_charts import box, paired, pareto, violin
from msibench.leaderboard.figure_images import images
from msibench.leaderboard.figure_source import Choice, Source, require_known
from msibench.leaderboard.figure_style import fixed_style, saved
from msibench.leaderboard.figure_table import table_text
from msibench.leaderboard.metrics import board_metrics
from msibench.leaderboard.table import leaderboard_table
from msibench.results.files import write_atomically
from msibench.results.store import Store
from msibench.tracks import Track

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Choice", "kinds", "write_figure"]

PICTURES = (".png", ".svg", ".pdf")
TABLES = (".md", ".tex")


def write_figure(
    kind: str,
    store: Store | None,
    track: Track,
    path: Path,
    choice: Choice | None = None,
    *,
    board: Board | None = None,
) -> Path:
    """Write one figure or table of a track.

    Parameters
    ----------
    kind
        One of `kinds`: ``images``, ``box``, ``violin``, ``pareto``, ``paired`` and ``metrics`` write PNG, SVG or PDF,
        ``table`` writes Markdown (``.md``) or LaTeX (``.tex``); the ending of `path` decides.
    store, track, choice
        Where the cells lie, and which of them are shown. No store: `board` is of committed rows.
    board
        What is drawn, where it was read already.

    Raises
    ------
    UnknownNameError
        If there is no such kind, protocol, method, metric or section.
    ConfigurationError
        If the ending does not fit the kind.
    StoreError
        If the track was never run into this store.
    """
    choice = choice or Choice()
    require_known((kind,), kinds(), "figure")
    endings = TABLES if kind == "table" else PICTURES
    if path.suffix.lower() not in endings:
        raise ConfigurationError(
            f"figure {kind!r} is written as {', '.join(endings)}; got {path.name!r}"
        )
    if board is None:
        assert store is not None
        board = read_board(store, track)
    rows = board.rows
    protocols = sorted(set(rows["protocol"].unique()))
    if not protocols:
        raise StoreError(
            f"nothing of track {track.name!r} is here; run it first: msibench run {track.name}"
        )
    if choice.protocol:
        require_known((choice.protocol,), protocols, "protocol")
    protocol = choice.protocol or protocols[0]
    source = Source(
        store=store,
        track=track,
        choice=choice,
        rows=rows,
        records=board.collected.records,
        metrics=board_metrics(board.index),
        protocol=protocol,
        table=_board(rows, track, protocol, choice.methods),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "table":
        text = table_text(source, latex=path.suffix.lower() == ".tex")
        write_atomically(path, text)
        return path
    with fixed_style():
        write_atomically(path, saved(_DRAWN[kind](source), path.suffix.lower()))
    return path


def _board(
    rows: pd.DataFrame, track: Track, protocol: str, methods: tuple[str, ...]
) -> pd.DataFrame:
    found = leaderboard_table(rows[rows["protocol"] == protocol], track)
    require_known(methods, found["method"].tolist(), "method")
    if methods:
        found = found[found["method"].isin(methods)]
    return found.reset_index(drop=True)


def kinds() -> list[str]:
    """Return what can be drawn."""
    return [*sorted(_DRAWN), "table"]


_DRAWN: dict[str, Callable[[Source], Figure]] = {
    "images": images,
    "box": box,
    "violin": violin,
    "pareto": pareto,
    "paired": paired,
    "metrics": metrics,
}
