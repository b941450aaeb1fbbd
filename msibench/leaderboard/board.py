"""A track's board: its rows, collected once, and the statistics made of them, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from msibench.errors import StoreError
from msibench.leaderboard.rows import Collected, collect
from msibench.leaderboard.table import leaderboard_table
from msibench.results.index import TrackIndex, read_index
from msibench.results.store import Store
from msibench.tracks import Track


@dataclass(frozen=True, eq=False)
class Board:
    """What README, CSV and page of a track are made from."""

    collected: Collected
    track: Track
    index: TrackIndex

    @property
    def rows(self) -> pd.DataFrame:
        """Columns `msibench.leaderboard.rows.COLUMNS`."""
        return self.collected.rows

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per protocol and method, best first (`leaderboard_table`)."""
        return leaderboard_table(self.rows, self.track)


def read_board(store: Store, track: Track) -> Board:
    """Collect the rows of a track from the store alone.

    Raises
    ------
    StoreError
        If the track was never run into this store.
    """
    index = read_index(store, track.name)
    if not index.cells:
        raise StoreError(
            f"nothing of track {track.name!r} is in {store.root}; "
            f"run it first: msibench run {track.name}"
        )
    return Board(collect(store, index), track, index)


def board_folder(track: Track, store: Store) -> Path:
    """Return where a track's board goes: beside its file, or into the results folder."""
    return track.folder or store.root / "leaderboards" / track.name
