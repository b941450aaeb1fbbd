"""A track's board: its rows, collected once, and the statistics made of them, computed once."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from msibench.contracts.plain_text import few_of
from msibench.errors import ConfigurationError, StoreError
from msibench.leaderboard.perfect import with_references
from msibench.leaderboard.rows import Collected, KeptRows, collect
from msibench.leaderboard.safe_csv import table_csv
from msibench.leaderboard.table import leaderboard_table
from msibench.results.identity import TABLE_FIELDS
from msibench.results.index import TrackIndex, read_index
from msibench.results.store import Store
from msibench.tracks import READY, Track

ADDED_METRICS = "added_metrics"
"""Name in an index of the metrics that ``msibench score`` added."""
BUNDLE = "bundle.toml"
"""In a board's folder: where the bundle with its predictions is (`msibench.gate.published_bundle`)."""


@dataclass(frozen=True, eq=False)
class Board:
    """What README, CSV and page of a track are made from."""

    collected: Collected
    track: Track
    index: TrackIndex
    published: bool = False
    """It is for others: it names no folder of this machine."""

    @property
    def rows(self) -> pd.DataFrame:
        """Columns `msibench.leaderboard.rows.COLUMNS`."""
        return self.collected.rows

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per protocol and method, best first (`leaderboard_table`)."""
        return leaderboard_table(self.rows, self.track)

    @cached_property
    def with_references(self) -> pd.DataFrame:
        """The table, and below it the perfect signal and the control (`with_references`)."""
        return with_references(self.table, self.rows, self.track.control_method)

    @cached_property
    def csv(self) -> str:
        """Content of ``leaderboard.csv``."""
        return table_csv(self.with_references)


def read_board(store: Store, track: Track, *, kept: KeptRows | None = None) -> Board:
    """Collect the rows of a track from the store alone.

    `kept`: rows of cells that have not changed since the last board (`msibench.leaderboard.rows.collect`).

    Raises
    ------
    StoreError
        If the track was never run into this store.
    """
    index = read_index(store, track.name)
    if not index.cells:
        raise StoreError(
            f"nothing of track {track.name!r} is in {store.root}; "
            f"run it first: msibench run {track.name}{results_flag(store.root)}"
        )
    return Board(collect(store, index, kept=kept), with_added_metrics(track, index), index)


def for_others(board: Board) -> Board:
    """Return a board that names no folder of this machine; its statistics are not computed again."""
    if board.published:
        return board
    shown = replace(board, published=True)
    made = ("table", "with_references", "csv")
    shown.__dict__.update(
        {"table": board.table} | {n: v for n, v in vars(board).items() if n in made}
    )
    return shown


def with_added_metrics(track: Track, index: TrackIndex) -> Track:
    """Return the track with the metrics that ``msibench score`` added to its board."""
    added = index.track_facts.get(ADDED_METRICS, ())
    names = [name for name in added if isinstance(name, str)] if isinstance(added, list) else []
    return replace(track, metrics=tuple(dict.fromkeys((*track.metrics, *names))))


def board_folder(track: Track, store: Store) -> Path:
    """Return the folder of a track's board in the results folder."""
    return store.root / "leaderboards" / track.name


def published_folder(track: Track) -> Path:
    """Return the folder of a track's own file, into which its board is published.

    Raises
    ------
    ConfigurationError
        If the track has no such folder.
    """
    if track.folder is None:
        raise ConfigurationError(
            f"--publish writes into the folder of a track's file, and {track.name!r} has none here: "
            "run it where leaderboards/<name>/track.toml is"
        )
    return track.folder


def board_for(store: Store, track: Track, folder: Path) -> Board:
    """Return a track's board as a folder is to show it: for others where it is published there.

    Raises
    ------
    StoreError
        If the track was never run into this store.
    """
    board = read_board(store, track)
    return for_others(board) if is_published(folder, store) else board


def is_published(folder: Path, store: Store) -> bool:
    """Whether a board in this folder is outside the results folder that it is made from."""
    return not folder.resolve().is_relative_to(store.root.resolve())


def results_flag(root: object) -> str:
    """Return what a command needs to find a results folder; nothing for the default one."""
    text = str(root)
    return "" if text in {"", "results"} else f" --results {shlex.quote(text)}"


def refuse_to_shrink(rows: pd.DataFrame, track: Track, folder: Path) -> None:
    """Raise if a board that is published already holds cells that the new rows lack.

    Methods that the track no longer names may go.

    Raises
    ------
    ConfigurationError
        The message names what would be lost.
    """
    place = folder / "rows.parquet"
    if not place.is_file():
        return
    columns = [*TABLE_FIELDS, "seed"]
    try:
        old = pd.read_parquet(place, columns=[*columns, "status", "metric"])
    except (OSError, ValueError) as error:  # pyarrow's errors are both
        raise ConfigurationError(
            f"{place} is not a table of rows ({error}), so it is unknown whether the new board is as complete; move the file away first"
        ) from error
    old, new = (part[part["status"] == "ok"] for part in (old, rows))
    named = {entry.name for entry in track.entries}
    if READY not in named:
        old = old[old["method"].isin(named)]
    lost = set(old[columns].itertuples(index=False, name=None)) - set(
        new[columns].itertuples(index=False, name=None)
    )
    if lost:
        methods = sorted({str(cell[0]) for cell in lost})
        raise ConfigurationError(
            f"{folder} holds a more complete board: {len(lost)} of its cells are not in this one ({few_of(methods)}). "
            "It was not replaced. Run the whole track first (what is stored is not run again), or "
            "write elsewhere"
        )
