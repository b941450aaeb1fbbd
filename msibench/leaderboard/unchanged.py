"""Whether the board that lies in a folder is the one that its cells would give again.

A board is a function of its cells' bytes, of their staged problems, of the track and its index, of cells on the
other kind of device, and of msibench itself. Their digest is kept beside the digests of the files that
were written (`msibench.results.seen_cells`): where both are what they were, nothing is made again; where
only some cells differ, the rows of the others are taken from the board's ``rows.parquet``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from msibench.leaderboard.board import Board
from msibench.leaderboard.rows import KeptRows, tidy
from msibench.leaderboard.table import scheme_of
from msibench.results.files import sha256_of
from msibench.results.index import TrackIndex, index_path
from msibench.results.keys import digest_of
from msibench.results.seen_cells import SeenCell, SeenCells, with_metrics
from msibench.results.store import METRICS, RECORD, Store
from msibench.results.verification import FILE as VERIFIED
from msibench.tracks import Track, shipped_rows, track_as_text

if TYPE_CHECKING:
    import pandas as pd

ROWS = "rows.parquet"
FILES = ("README.md", "leaderboard.csv", ROWS, "index.html", "track.toml")
BESIDE = ("images", "data")
"""Folders of scripts that a page loads."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A track's board in a folder, and how it is written there."""

    store: Store
    track: Track
    folder: Path
    page: bool = True
    leave_track: bool = False

    def stands(self, seen: SeenCells, index: TrackIndex, metrics: str) -> bool:
        """Whether all cells hold the metrics of this digest, and the board here is still theirs."""
        board = seen.board
        if board.get("folder") != str(self.folder.resolve()) or "inputs" not in board:
            return False
        cells: dict[str, SeenCell] = {}
        for key in index.cells.values():
            if not self.store.has(key):
                continue
            if not seen.up_to_date(key, metrics):
                return False
            cells[key] = seen.cells[key]
        return (
            cells.keys() == seen.cells.keys()
            and board["inputs"] == self.inputs(cells, board["problems"])
            and board["files"] == self.files()
        )

    def keep(self, seen: SeenCells, board: Board, damaged: Iterable[str], metrics: str) -> None:
        """Remember the board that was just written here, and its cells.

        Parameters
        ----------
        damaged
            Cells that could not be brought up to date; with any, the board is made again next time.
        metrics
            `msibench.results.seen_cells.metrics_digest` of what all others hold.
        """
        found = board.collected
        bad = {*damaged, *found.damaged}
        cells = with_metrics({k: c for k, c in found.seen.items() if k not in bad}, metrics)
        problems = sorted({record.problem_key for record in found.records if record.problem_key})
        kept: dict[str, Any] = {"folder": str(self.folder.resolve()), "files": self.files()}
        if not bad:
            kept |= {"problems": problems, "inputs": self.inputs(cells, problems)}
        seen.write(cells, kept)

    def rows(self, seen: SeenCells) -> KeptRows:
        """Return the rows of the board that lies here, where they are what was written."""
        path = self.folder / ROWS
        try:
            if sha256_of(path) != seen.board.get("files", {}).get(ROWS):
                return KeptRows()
            return KeptRows(seen.cells, pq.read_table(path))
        except (OSError, pa.ArrowException):
            return KeptRows()

    def inputs(self, cells: Mapping[str, SeenCell], problems: Iterable[str]) -> str:
        """Return the digest of all that the bytes of the board depend on, beside msibench itself."""
        store, track = self.store, self.track
        twins = {cell.twin for cell in cells.values() if cell.twin}
        there = sorted(key for key in twins if store.has(key))
        shipped = {path for kind in ("cpu", "cuda") for path in shipped_rows(kind)} if twins else ()
        return digest_of(
            {
                "root": str(store.root.resolve()),
                "index": _digest(index_path(store, track.name)),
                "track": [track_as_text(track), str(track.folder)],
                "scheme": [repr(scheme_of(track)), repr(scheme_of(track, ()))],
                "verified": _digest(store.root / VERIFIED),
                "page": [self.page, self.leave_track],
                "cells": sorted((key, cell.record) for key, cell in cells.items()),
                "twins": [
                    [key, *(_digest(store.cell_folder(key) / name) for name in (RECORD, METRICS))]
                    for key in there
                ],
                "shipped": sorted((str(path), _digest(path)) for path in shipped),
                "problems": [[key, *_state(store.problem_folder(key))] for key in problems],
            }
        )

    def files(self) -> dict[str, str]:
        """Return the sha256 of every file that a board is made of and that lies here."""
        names = [name for name in FILES if (self.folder / name).is_file()]
        for place in BESIDE:
            names += sorted(f"{place}/{path.name}" for path in (self.folder / place).glob("*.js"))
        return {name: sha256_of(self.folder / name) for name in names}

    def read_rows(self) -> pd.DataFrame:
        """Return the rows of the board that lies here (`msibench.leaderboard.rows.COLUMNS`)."""
        return tidy(pq.read_table(self.folder / ROWS).to_pandas())


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return ""


def _state(folder: Path) -> list[list[Any]]:
    """Return names, sizes and times of the files of a staged problem, whose digests a run has checked."""
    try:
        return sorted(
            [entry.name, found.st_size, found.st_mtime_ns, found.st_ino]
            for entry in folder.iterdir()
            for found in [entry.stat()]
        )
    except OSError:
        return []
