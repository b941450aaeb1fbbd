"""One protocol of one board, read from its committed table and rows: what a list of boards says of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msibench.contracts.method import Task
from msibench.datasets import load_card
from msibench.errors import ConfigurationError, IntegrityError, MSIBenchError
from msibench.leaderboard.perfect import REFERENCE
from msibench.leaderboard.render import fixed, significant
from msibench.leaderboard.rows import measured
from msibench.leaderboard.table import (
    replicates_behind,
    scheme_of,
    sections_behind,
    specimens_behind,
)
from msibench.plugin_manager import Catalogue, installed
from msibench.scoring import Scheme
from msibench.scoring.composite import score_images
from msibench.scoring.cube import cubes
from msibench.scoring.paired import Difference, paired_difference
from msibench.tracks import Track, load_track

TABLE, ROWS = "leaderboard.csv", "rows.parquet"


@dataclass(frozen=True, eq=False)
class Listed:
    """One protocol of one board."""

    track: Track
    protocol: str
    table: pd.DataFrame
    scheme: Scheme

    @property
    def family(self) -> str:
        """Data sets of the board, as named in its track."""
        return ", ".join(dict.fromkeys(problem.dataset for problem in self.track.problems))

    @cached_property
    def synthetic(self) -> bool:
        """Whether a generator made all its sections."""
        return all_synthetic(self.track, installed())

    @property
    def name(self) -> str:
        """The name of a column: the board, with its protocol where the board has several."""
        several = len({p for problem in self.track.problems for p in problem.protocols}) > 1
        return f"{self.track.name} ({self.protocol})" if several else self.track.name

    def score(self, row: pd.Series[Any], end: str = "") -> str:
        """Return a score, or an end of its interval, as this board shows it."""
        value = row.get(f"composite{end}")
        if value is None or pd.isna(value):
            return "–"
        return fixed(100 * value, 1) if self.scheme.percent else fixed(value, 3)

    @cached_property
    def scores(self) -> dict[str, float]:
        """Method → score, of those that are complete."""
        complete = self.table[~incomplete(self.table)].drop_duplicates("method")
        return dict(zip(complete["method"], complete["composite"].astype(float), strict=True))

    @cached_property
    def best_pair(self) -> tuple[pd.Series[Any], pd.Series[Any]] | None:
        """What `best_with_and_without_a_guide` finds, worked out once."""
        return best_with_and_without_a_guide(self)

    @cached_property
    def guide_difference(self) -> Difference | None:
        """What `guide_difference` finds, worked out once."""
        return guide_difference(self)

    def sections(self) -> int:
        """Return the number of sections behind the scores."""
        return sections_behind(self.table)

    def replicates(self) -> str:
        """Return sections and, where some share one, specimens in words."""
        return replicates_behind(self.table)

    def specimens(self) -> int:
        """Return the number of specimens that these were cut from: as many, unless the cards say otherwise."""
        return specimens_behind(self.table)


def all_synthetic(track: Track, catalogue: Catalogue) -> bool:
    """Return whether a generator made every section of a track; data sets that are not installed count as measured."""
    known = catalogue.datasets
    names = {problem.dataset for problem in track.problems}
    return all(name in known and load_card(known[name]).synthetic for name in names)


def boards_in(folder: Path) -> list[Listed]:
    """Read every board of a folder that has a table, by name: measured sections first, then synthetic ones.

    Raises
    ------
    ConfigurationError
        There is no such folder, or no board in it.
    IntegrityError
        A table cannot be read.
    """
    found: list[Listed] = []
    for path in sorted(folder.glob(f"*/{TABLE}")):
        track = load_track(str(path.parent))
        try:
            table = pd.read_csv(path)
            table = table[table["task"] != REFERENCE]
            for protocol, part in table.groupby("protocol", sort=True):
                names = [str(name).partition(".")[0] for name in part.columns]
                scheme = scheme_of(track, names)
                found.append(Listed(track, str(protocol), part.reset_index(drop=True), scheme))
        except (OSError, ValueError, KeyError) as error:
            if isinstance(error, MSIBenchError):
                raise
            raise IntegrityError(f"{path} is not a table of a board: {error}") from error
    if not found:
        raise ConfigurationError(
            f"no board in {folder}: expected folders with {TABLE} and track.toml, as leaderboards/ has "
            "them; `msibench run NAME --publish` writes them"
        )
    return sorted(found, key=lambda board: board.synthetic)


def apart_from_methods(board: Listed) -> pd.Series[bool]:
    """Which rows do not compete: controls other than the board's own, flagged results, and incomplete ones.

    Who leaves out the images on which it would do badly has a high mean over the others.
    """
    table = board.table
    apart = table["control"].astype(bool) & (table["method"] != board.track.control_method)
    if "flag" in table:
        apart |= table["flag"].notna()
    return apart | incomplete(table)


def incomplete(table: pd.DataFrame) -> pd.Series[bool]:
    """Which rows lack an expected image, or a part of their score."""
    if "rank_reason" not in table:
        return pd.Series(False, index=table.index)
    return table["rank_reason"].notna() & (table["rank_reason"] != "")


def best_row(board: Listed) -> pd.Series[Any] | None:
    """Return the row with the highest score among those that compete."""
    if "composite" not in board.table:
        return None
    scores = board.table["composite"].astype(float).mask(apart_from_methods(board))
    return None if scores.isna().all() else board.table.iloc[int(np.nanargmax(scores.to_numpy()))]


def with_interval(board: Listed, row: pd.Series[Any]) -> str:
    """Return a score with its interval and unit, as its board shows it."""
    low, high = board.score(row, ".low"), board.score(row, ".high")
    score, unit = board.score(row), PERCENT if board.scheme.percent else ""
    interval = "" if "–" in {low, high} else f" [{low}, {high}]"
    return score if score == "–" else f"{score}{unit}{interval}"


def best_with_and_without_a_guide(
    board: Listed,
) -> tuple[pd.Series[Any], pd.Series[Any]] | None:
    """Return the best row of the methods that see a guide, and of those that do not; None without both."""
    table = board.table
    part = table.loc[~apart_from_methods(board) & table["composite"].notna(), ["task", "composite"]]
    ordered = part.sort_values("composite", ascending=False, kind="stable")
    alone = ordered["task"] == Task.SINGLE_IMAGE
    if alone.all() or not alone.any():
        return None
    return table.loc[ordered.index[~alone][0]], table.loc[ordered.index[alone][0]]


def guide_difference(board: Listed) -> Difference | None:
    """Return the score of the best method with a guide less that of the best without, ion image by ion image.

    None without both, or where the board's rows are not beside its table.
    """
    pair = board.best_pair
    path = (board.track.folder or Path()) / ROWS
    if pair is None or not path.is_file():
        return None
    names, control = [str(row["method"]) for row in pair], board.track.control_method
    chosen = [("protocol", "==", board.protocol), ("method", "in", [*names, control])]
    rows = measured(pd.read_parquet(path, filters=chosen))
    ions = next(cubes(rows)).ion_images()
    scores = score_images(ions, board.scheme, control_method=control).composite
    guided, alone = (scores[:, ions.method(name)] for name in names)
    return paired_difference(guided, alone, ions.sections, specimens=ions.specimens)


def guide_gains(found: Difference | None) -> bool | None:
    """Whether the best method with a guide is better than the best without; None where they are not told apart.

    It is where the whole interval of their paired difference is above zero, and is not where all of it is
    below: the same evidence either way.
    """
    if found is None:
        return None
    return True if found.low > 0 else False if found.high < 0 else None


PERCENT = " %"


def range_text(values: list[Any], scale: float = 1.0, unit: str = "") -> str:
    """Return the lowest and the highest of several boards' values: they are never averaged.

    Two significant digits; of percent at most one decimal, since a thousandth of a percent is no difference.
    """
    found = [scale * float(value) for value in values if value is not None and np.isfinite(value)]
    if not found:
        return "–"
    ends = (min(found), max(found))
    if unit == PERCENT:
        low, high = (fixed(end, 1 if abs(end) < 9.95 else 0) for end in ends)
    else:
        low, high = (significant(end, 2) for end in ends)
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"
