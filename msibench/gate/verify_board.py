"""Compare the files of a leaderboard with what the store, or their own rows, give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from msibench.errors import IntegrityError
from msibench.gate.sources import ROWS, read_rows
from msibench.gate.verify import Checked
from msibench.leaderboard.board import Board, is_published, with_added_metrics
from msibench.leaderboard.render import leaderboard_files, table_csv
from msibench.leaderboard.rows import COLUMNS, collect
from msibench.leaderboard.table import leaderboard_table
from msibench.results.index import TrackIndex
from msibench.results.store import Store, rows_as_parquet
from msibench.results.verification import LEVELS
from msibench.tracks import Track

CSV = "leaderboard.csv"


def verify_leaderboard(
    folder: Path, track: Track, store: Store | None = None, index: TrackIndex | None = None
) -> Checked:
    """Make every file of a leaderboard again and compare the bytes.

    Parameters
    ----------
    folder
        Holds ``rows.parquet``, ``leaderboard.csv`` and ``README.md``.
    store, index
        Where the cells are; without them the table is made from the rows beside it, and the rows
        themselves stand unchecked.
    """
    checked = Checked(name=str(folder))
    raw = (folder / ROWS).read_bytes() if (folder / ROWS).is_file() else None
    if raw is None:
        checked.faults.append(f"{folder / ROWS} is missing")
        return checked
    try:
        rows = read_rows(raw, str(folder / ROWS))
    except IntegrityError as error:
        checked.faults.append(str(error))
        return checked
    if store is None or index is None or not index.cells:
        checked.notes.append("its cells are not here: rows stand as they are, the table is checked")
        if rows_as_parquet(rows) != raw:
            checked.notes.append(f"{folder / ROWS} was written by another version of pyarrow")
        table = leaderboard_table(rows, track)
        _same_bytes(folder / CSV, table_csv(table).encode(), checked)
        return checked
    made = collect(store, index)
    own = replace(made, rows=_with_origin_of(made.rows, rows))
    found = row_differences(rows, own.rows)
    checked.faults += [f"{folder / ROWS}: {text}" for text in found]
    shown = with_added_metrics(track, index)
    board = Board(own, shown, index, published=is_published(folder, store))
    for name, content in leaderboard_files(board).items():
        if name != ROWS or not found:
            _same_bytes(folder / name, content, checked)
    return checked


def row_differences(stored: pd.DataFrame, made: pd.DataFrame) -> list[str]:
    """Name the first values in which stored rows differ from rows made again."""
    if len(stored) != len(made):
        return [f"{len(stored)} rows; the cells of the store give {len(made)}"]
    found = []
    for column in COLUMNS:
        before, after = stored[column].to_numpy(), made[column].to_numpy()
        same = before == after
        if before.dtype.kind == "f":
            same |= np.isnan(before) & np.isnan(after)
        if not same.all():
            place = int(np.argmin(same))
            row = stored.iloc[place]
            found.append(
                f"{column} of {row['method']}, {row['dataset']}/{row['section']}, "
                f"{row['metric'] or 'no metric'} ({row['region']}), channel {row['channel']} is "
                f"{before[place]!r}; the store gives {after[place]!r}"
            )
    return found


def _with_origin_of(made: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """Take the stored word for an origin where it claims no more than is known now.

    Verifying a cell changes what its rows will say when the leaderboard is next made; until then the
    older, weaker word is no fault.
    """
    claimed: dict[str, str] = dict(zip(stored["cell"], stored["origin"], strict=True))
    records: dict[str, str] = dict(zip(made["cell"], made["origin"], strict=True))

    def allowed(cell: str) -> str:
        now = records[cell]
        then = claimed.get(cell, now)
        weaker = now in LEVELS and (
            then in {"measured", "self-reported"}
            or (then in LEVELS and LEVELS.index(then) <= LEVELS.index(now))
        )
        return then if weaker else now

    return made.assign(origin=[allowed(cell) for cell in made["cell"]])


def _same_bytes(path: Path, content: bytes, checked: Checked) -> None:
    if not path.is_file():
        checked.faults.append(f"{path} is missing")
        return
    found = path.read_bytes()
    if found == content:
        return
    place = next(
        (n for n, pair in enumerate(zip(found, content, strict=False)) if pair[0] != pair[1]),
        min(len(found), len(content)),
    )
    line = found[:place].count(b"\n") + 1
    where = f"byte {place}" if path.suffix == ".parquet" else f"line {line} (byte {place})"
    checked.faults.append(f"{path} differs from what its cells give, first at {where}")
