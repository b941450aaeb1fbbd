"""Compare the files of a leaderboard with what the store, or their own rows, give.

Tables and pages are text, and compared byte by byte. Rows are compared as values: two versions of
pyarrow write one table as different bytes, and neither is wrong.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msibench.contracts.plain_text import few_of
from msibench.errors import IntegrityError, MSIBenchError
from msibench.gate.agreement import contradictions, impossible
from msibench.gate.sources import ROWS, read_rows
from msibench.gate.verify import Checked
from msibench.leaderboard.board import Board, is_published, with_added_metrics
from msibench.leaderboard.page import write_page
from msibench.leaderboard.render import leaderboard_files
from msibench.leaderboard.rows import (
    ALSO,
    COLUMNS,
    ISOLATION,
    Collected,
    cells,
    collect,
    stated_specimens,
    tidy,
    with_specimens,
)
from msibench.leaderboard.twins import TWIN
from msibench.plugin_manager import Catalogue
from msibench.results.identity import TABLE_FIELDS
from msibench.results.index import TrackIndex
from msibench.results.metric_rows import rows_as_parquet
from msibench.results.store import Store
from msibench.results.verification import LEVELS
from msibench.runner.plan import make_plan
from msibench.runner.track_facts import collect_track_facts
from msibench.scoring.cube import SPECIMEN
from msibench.tracks import READY, Track

COSTS = ["seconds_per_image", "fit_seconds", "rss_mib", "vram_mib"]
CSV, README, PAGE = "leaderboard.csv", "README.md", "index.html"


def verify_leaderboard(
    folder: Path,
    track: Track,
    store: Store | None = None,
    index: TrackIndex | None = None,
    *,
    track_facts: Mapping[str, Any] | None = None,
) -> Checked:
    """Make every file of a leaderboard again and compare it.

    Parameters
    ----------
    folder
        Holds ``rows.parquet``, ``leaderboard.csv`` and ``README.md``, and may hold ``index.html``.
    store, index
        Where the cells are; without them the table is made from the rows beside it, and the rows
        are held against one another alone (`msibench.gate.agreement`).
    track_facts
        What a board of the track says besides numbers (`msibench.runner.track_facts.collect_track_facts`), where
        its store is not here; None: its README.md cannot be made again.
    """
    checked = Checked(name=str(folder))
    if not (folder / ROWS).is_file():
        checked.faults.append(f"{folder / ROWS} is missing")
        return checked
    raw = (folder / ROWS).read_bytes()
    try:
        rows = read_rows(raw, str(folder / ROWS))
    except IntegrityError as error:
        checked.faults.append(str(error))
        return checked
    absent, lacking = missing_of_track(rows, track)
    checked.missing += absent
    checked.faults += lacking
    found = [*impossible(rows), *contradictions(rows)]
    checked.faults += [f"{folder / ROWS}: {text}" for text in found]
    if store is None or index is None or not index.cells:
        _compare_with_rows(folder, track, rows, raw, track_facts, checked)
    else:
        made = collect(store, index, again=True)
        published = is_published(folder, store)
        if track_facts is not None and published and len(measured_elsewhere(rows, made.rows)):
            board = Board(Collected(rows, {}), track, TrackIndex({}, track_facts))
            _same_grown(folder, rows, made, board, checked)
            return checked
        known = _with_columns_of(_with_origin_of(made.rows, rows), rows)
        shown = with_added_metrics(track, index)
        board = Board(replace(made, rows=known), shown, index, published=published)
        _compare_with_cells(folder, rows, raw, board, store, checked)
    return checked


def _compare_with_rows(
    folder: Path,
    track: Track,
    rows: pd.DataFrame,
    raw: bytes,
    track_facts: Mapping[str, Any] | None,
    checked: Checked,
) -> None:
    """Make the tables again from the rows beside them, which are held against one another alone."""
    checked.notes.append(
        "its cells are not here: rows are held against one another alone, the tables are checked"
    )
    _same_rows(folder / ROWS, raw, rows, checked)
    if track_facts is None:
        checked.notes.append(f"{folder / README} cannot be made again here: its cards are missing")
        bare = Board(Collected(rows, {}), track, TrackIndex({}, {}))
        _same_bytes(folder / CSV, bare.csv.encode(), checked)
        if not (folder / README).is_file():
            checked.faults.append(f"{folder / README} is missing")
        return
    _same_files(folder, Board(Collected(rows, {}), track, TrackIndex({}, track_facts)), checked)
    if (folder / PAGE).is_file():
        checked.notes.append(f"{folder / PAGE} is not checked: it shows images of the cells")


def _compare_with_cells(
    folder: Path, rows: pd.DataFrame, raw: bytes, board: Board, store: Store, checked: Checked
) -> None:
    """Compare rows, tables and page with a board that was made of the cells."""
    found = row_differences(rows, board.rows)
    checked.faults += [f"{folder / ROWS}: {text}" for text in found]
    if not found:
        _same_rows(folder / ROWS, raw, board.rows, checked)
    _same_files(folder, board, checked)
    if (folder / PAGE).is_file():
        _same_page(folder / PAGE, board, store, checked)


def _same_files(folder: Path, board: Board, checked: Checked) -> None:
    """Compare every file of a board but its rows and its page."""
    for name, content in leaderboard_files(board).items():
        if name != ROWS:
            _same_bytes(folder / name, content, checked)


def measured_elsewhere(rows: pd.DataFrame, made: pd.DataFrame) -> set[str]:
    """Return the cells of committed rows that a store lacks, or ran a second time.

    Of those neither the seconds nor the memory are the store's. Two runs may meet in the memory of a
    small cell: where another run shows in both figures of some cell, one of them is enough in the rest.
    """
    both = cells(rows).merge(cells(made), on="cell", how="left", suffixes=("", ".here"))
    both = both[both["status"] == "ok"]
    differ = [both[name] != both[f"{name}.here"] for name in ("seconds_per_image", "rss_mib")]
    if not (differ[0] & differ[1]).any():
        return set()
    return set(both.loc[differ[0] | differ[1], "cell"])


def _same_grown(
    folder: Path, rows: pd.DataFrame, made: Collected, board: Board, checked: Checked
) -> None:
    """Compare a board that other stores fill, too: rows of cells that are here, and the tables of all."""
    other = measured_elsewhere(rows, made.rows)
    absent = set(rows["cell"]) - set(made.rows["cell"])
    if absent:
        methods = sorted(set(rows.loc[rows["cell"].isin(absent), "method"]))
        checked.notes.append(
            f"{len(absent)} of its cells are of other stores and stand as they are "
            f"({few_of(methods, shown=4)})"
        )
    if other - absent:
        checked.notes.append(
            f"{len(other - absent)} of its cells were measured by another run: their values are "
            "compared, times and memory stand as they are"
        )
    here = rows[~rows["cell"].isin(absent)].reset_index(drop=True)
    mine = made.rows[made.rows["cell"].isin(set(here["cell"]))]
    mine = mine[mine["metric"].isin(set(rows["metric"]))].drop(columns=ISOLATION, errors="ignore")
    claims = [*COSTS, *([ISOLATION] if ISOLATION in rows else [])]  # which no other run repeats
    said = cells(rows).set_index("cell")[claims]
    theirs = mine["cell"].isin(other)
    for name in claims:
        told = mine["cell"].map(said[name])
        withheld = theirs | (told.isna() if name in COSTS else False)
        mine[name] = told if name not in mine else mine[name].mask(withheld, told)
    mine = _with_origin_of(mine, here)
    mine = _with_columns_of(tidy(mine), here)
    checked.faults += [f"{folder / ROWS}: {text}" for text in row_differences(here, mine)]
    for name, content in leaderboard_files(board).items():
        if name != ROWS:
            _same_bytes(folder / name, content, checked)
    if (folder / PAGE).is_file():
        checked.notes.append(f"{folder / PAGE} is not checked: it shows images of the cells")


def missing_of_track(rows: pd.DataFrame, track: Track) -> tuple[list[str], list[str]]:
    """Return what a track requires and a published board has no row for.

    Every method that ``track.toml`` names, and every other one that the board has, must have a cell of
    each section, protocol, wrong guide and seed; what cannot be run has a row, too, and says so. Which
    methods were ready when the board was made (``@ready``) nobody can tell from its files.

    Returns
    -------
    Methods that are not there at all, as after an edit of ``track.toml``; and what methods that are
    there lack, which no run of the whole track leaves.
    """
    if track.folder is None:
        return [], []  # a board in a results folder may be on its way
    cells = rows.drop_duplicates("cell")
    # not the m/z set: a track that names none leaves it to the card
    fields = [name for name in (*TABLE_FIELDS, "seed") if name != "mz_set"]
    there = set(cells[fields].itertuples(index=False, name=None))
    guided = set(cells.loc[cells["task"] != "single-image", "method"])
    named = [entry.name for entry in track.entries if entry.method != READY]
    absent, lacking = [], []
    for method in dict.fromkeys([*named, *sorted(set(cells["method"]))]):
        if method not in set(cells["method"]):
            absent.append(f"track.toml names {method!r}, of which the board has no row")
            continue
        controls = ("", *track.guide_controls) if method in guided else ("",)
        for problem in track.problems:
            known = cells.loc[cells["dataset"] == problem.dataset, "section"]
            sections = problem.sections or tuple(sorted(set(known)))
            wanted = product(sections, problem.protocols, controls, track.seeds)
            lost = [one for one in wanted if (method, problem.dataset, *one) not in there]
            some = "; ".join(", ".join(str(part) for part in one if part != "") for one in lost[:3])
            if lost:
                lacking.append(
                    f"{method!r} lacks {len(lost)} cells of data set {problem.dataset!r} that "
                    f"track.toml asks for ({some}{'; …' if len(lost) > 3 else ''})"
                )
    return absent, lacking


def _same_rows(path: Path, raw: bytes, rows: pd.DataFrame, checked: Checked) -> None:
    """Return, for a file with right values and other bytes, whether another library wrote it."""
    if rows_as_parquet(rows) == raw:
        return
    writer = writer_of(raw)
    if writer == writer_of(rows_as_parquet(rows)):
        checked.faults.append(f"{path} was changed after it was written: its values are the same")
    else:
        checked.notes.append(
            f"{path} was written by {writer}: compared as values, which are the same"
        )


def writer_of(raw: bytes) -> str:
    """Return the library that wrote a Parquet file, as the file states it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return str(pq.ParquetFile(pa.BufferReader(raw)).metadata.created_by)
    except (pa.ArrowException, OSError, ValueError):
        return "an unknown library"


def _same_page(path: Path, board: Board, store: Store, checked: Checked) -> None:
    """Make the page again, with its images in it or beside it, and compare."""
    found = path.read_bytes()
    with tempfile.TemporaryDirectory(prefix="msibench-page-") as scratch:
        for split in (False, True):
            made = write_page(store, board.track, Path(scratch), split=split, board=board)
            content = made.read_bytes()
            if content == found:
                return
            made.unlink()
            if b'"split":true' not in found.replace(b'"split": true', b'"split":true'):
                break
    _same_bytes(path, content, checked)


def row_differences(stored: pd.DataFrame, made: pd.DataFrame) -> list[str]:
    """Return the first values in which stored rows differ from rows made again."""
    if len(stored) != len(made):
        return [f"{len(stored)} rows; the cells of the store give {len(made)}"]
    found = []
    shared = [name for name in ALSO if name in stored and name in made]
    for column in (*COLUMNS, *shared):
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


def _with_columns_of(made: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """Remove columns that did not exist when the rows were written, and twins added since.

    The value of a twin that is not in this store is kept as written, and so are the specimens of a store
    whose cards did not state them yet.
    """
    made = made.drop(columns=[name for name in ALSO if name not in stored], errors="ignore")
    if SPECIMEN in stored and SPECIMEN not in made:
        made = with_specimens(made, stated_specimens(stored))
    if TWIN not in stored or len(made) != len(stored):
        return made
    of_twin = stored[TWIN].to_numpy(float)
    if TWIN in made:
        now = made[TWIN].to_numpy(float)
        of_twin = np.where(np.isnan(of_twin) | np.isnan(now), of_twin, now)
    return made.assign(**{TWIN: of_twin})


def _with_origin_of(made: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """Accept the stored origin where it claims no more than is known now.

    Verifying a cell changes what its rows will say when the leaderboard is next made; until then the
    older, weaker word is not a fault.
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
    checked.faults.append(
        f"{path} differs from what its cells give, first at {where}: it was edited, or another version of "
        "msibench wrote it"
    )


def facts_of_track(track: Track, catalogue: Catalogue) -> Mapping[str, Any] | None:
    """Return the texts of a track's board; None where its cards are not here."""
    try:
        return collect_track_facts(make_plan(track, catalogue), catalogue)
    except MSIBenchError:
        return None
