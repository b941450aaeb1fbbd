"""A committed board extended by methods of another results folder.

Nothing of the committed rows is run or scored again. What is added must be of the same experiment: where
both sides hold the same cell, its key says so (it is a digest of data, guide, m/z values, protocol, method
and code); where they do not, the control method's values must agree, which no other data would give.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msibench.errors import ConfigurationError, IntegrityError, MissingDataError, SchemaError
from msibench.gate.sources import ROWS, read_rows
from msibench.gate.verify_board import facts_of_track
from msibench.leaderboard.board import Board, read_board
from msibench.leaderboard.rebuild import RUNS
from msibench.leaderboard.rows import (
    ALSO,
    Collected,
    cells,
    measured,
    stated_specimens,
    tidy,
    with_specimens,
)
from msibench.leaderboard.table import BESIDE, scheme_of
from msibench.plugin_manager import Catalogue
from msibench.results.identity import PROBLEM_FIELDS
from msibench.results.index import TrackIndex, read_index
from msibench.results.schema import CellRecord
from msibench.results.store import Store
from msibench.scoring import load_scheme
from msibench.scoring.cube import SPECIMEN
from msibench.tracks import Track

PLACE = list(PROBLEM_FIELDS)
VALUE = ["metric", "region", "channel"]
TIMES = ["seconds_per_image", "fit_seconds"]
SAME = 1e-6
"""Relative difference of two values of one deterministic method on two machines."""
ABOUT_THE_GUIDE = ("guide_leakage", "guide_leakage_low")


@dataclass(frozen=True, slots=True, eq=False)
class Grown:
    """A grown board, and remarks on it."""

    board: Board
    added: tuple[str, ...] = ()
    """Methods that the committed board did not have."""
    notes: tuple[str, ...] = ()
    moved: Mapping[str, float] = field(default_factory=dict)
    """Scheme that scales across methods → the largest change of an existing score."""


def committed_board(folder: Path, track: Track, catalogue: Catalogue) -> Board:
    """Open a board from its committed rows alone: it can be tabulated, reported and drawn.

    Raises
    ------
    MissingDataError
        The folder holds no rows.
    IntegrityError
        They are damaged, or not rows of a board.
    """
    path = folder / ROWS
    if not path.is_file():
        raise MissingDataError(
            f"no board found in {folder}: expected a folder with {ROWS}, such as "
            "leaderboards/bladder-x4"
        )
    rows = read_rows(path.read_bytes(), str(path))
    track_facts = facts_of_track(track, catalogue) or {}
    return Board(Collected(rows, {}), track, TrackIndex({}, track_facts), published=True)


def with_stored_images(board: Board, store: Store | None) -> Board:
    """Return a committed board with those of its cells that a store holds, whose images can be shown.

    Its rows are not changed, and nothing else of the store is added.
    """
    if store is None:
        return board
    return _with(board, board.rows, _records(store, cells(board.rows)["cell"]))


def grown_board(folder: Path, track: Track, catalogue: Catalogue, store: Store | None) -> Grown:
    """Add the methods of a store to a committed board.

    Parameters
    ----------
    folder
        Holds ``rows.parquet``; it is not written to.
    store
        Holds cells of the track, or an imported bundle of the board, whose images are then shown; None:
        the committed rows alone.

    Raises
    ------
    ConfigurationError
        What the store holds is of another experiment, or not all of it was run; the message says what
        differs.
    IntegrityError
        The committed rows are damaged.
    """
    base = committed_board(folder, track, catalogue)
    if store is None:
        return Grown(base)
    records = _records(store, cells(base.rows)["cell"])
    if not read_index(store, track.name).cells:
        return Grown(_with(base, base.rows, records))
    own = read_board(store, track)
    known = set(base.rows["method"])
    new = own.rows[~own.rows["method"].isin(known)]
    if not len(new):
        return Grown(_with(base, base.rows, records))
    problems = [*_differences(base.rows, own.rows, new, track.control_method)]
    if problems:
        raise ConfigurationError(
            f"what {store.root} holds of track {track.name!r} cannot stand beside {folder / ROWS}: "
            + "; ".join(dict.fromkeys(problems))
        )
    new, notes = _fitted(base.rows, own.rows, new)
    rows = tidy(pd.concat([base.rows, new], ignore_index=True))
    shown = [record for record in own.collected.records if record.key in set(new["cell"])]
    grown = _with(base, rows, [*records, *shown], own.index.track_facts)
    return Grown(grown, tuple(sorted(set(new["method"]))), tuple(notes), _moved(base, grown))


def _records(store: Store, keys: Iterable[str]) -> list[CellRecord]:
    """Return the committed cells that the store holds, as after ``msibench import``."""
    found = []
    for key in keys:
        try:
            if store.has(key):
                found.append(store.record(key))
        except (IntegrityError, SchemaError):
            continue
    return found


def _with(
    base: Board,
    rows: pd.DataFrame,
    records: Iterable[CellRecord],
    track_facts: Mapping[str, Any] | None = None,
) -> Board:
    there = tuple(sorted(records, key=lambda record: str(record.identity)))
    index = {str(record.identity): record.key for record in there}
    said = {**(track_facts or {}), **base.index.track_facts}
    methods = {
        **base.index.track_facts.get("methods", {}),
        **{
            name: described
            for name, described in (track_facts or {}).get("methods", {}).items()
            if name in set(rows["method"])
        },
    }
    for name in ("results", "rebuild", RUNS):
        said.pop(name, None)
    return Board(
        Collected(rows, {}, there),
        base.track,
        TrackIndex(index, {**said, "methods": methods}),
        published=True,
    )


def _differences(
    base: pd.DataFrame, own: pd.DataFrame, new: pd.DataFrame, control_method: str
) -> Iterator[str]:
    """Return why new rows may not be added to committed ones; empty where they may."""
    devices = sorted({str(name).partition(":")[0] for name in base["device"]})
    other = sorted({str(name).partition(":")[0] for name in new["device"]} - set(devices))
    if other:
        yield f"run on {', '.join(other)}, the board on {', '.join(devices)}"
    there = set(base[PLACE].itertuples(index=False, name=None))
    strange = sorted(set(new[PLACE].itertuples(index=False, name=None)) - there)
    if strange:
        some = "; ".join("/".join(part for part in place if part) for place in strange[:3])
        yield f"{len(strange)} sections, protocols, m/z sets or wrong guides that the board lacks ({some})"
    yield from _holes(base, new)
    scored_base, scored_new = (measured(rows, controls=True) for rows in (base, new))
    versions = dict(scored_base.groupby("metric")["metric_version"].max())
    for metric, version in sorted(
        dict(scored_new.groupby("metric")["metric_version"].max()).items()
    ):
        if metric in versions and versions[metric] != version:
            yield f"metric {metric} of version {version}, the board has version {versions[metric]}"
    for method, part in scored_new.groupby("method", sort=True):
        guided = bool((part["task"] != "single-image").any())
        asked = scored_base[(scored_base["task"] == "single-image") | guided]
        lacking = sorted(set(asked["metric"]) - set(part["metric"]))
        if lacking:
            yield (
                f"{method} has no value of {', '.join(lacking)} (msibench score computes metrics from "
                "stored predictions)"
            )
    yield from _other_problems(base, own, new, control_method)


def _holes(base: pd.DataFrame, new: pd.DataFrame) -> Iterator[str]:
    """Return what a method was not run on."""
    for method, part in cells(new).groupby("method", sort=True):
        wanted = base if (part["task"] != "single-image").any() else base[base["control"] == ""]
        places = [*PLACE, "seed"]
        lost = set(wanted[places].itertuples(index=False, name=None)) - set(
            part[places].itertuples(index=False, name=None)
        )
        if lost:
            first = ", ".join(str(one) for one in sorted(lost)[0] if one != "")
            yield f"{method} was not run on {len(lost)} of the board's cells ({first})"


def _other_problems(
    base: pd.DataFrame, own: pd.DataFrame, new: pd.DataFrame, control_method: str
) -> Iterator[str]:
    """Return the sections whose data, guide, m/z values or protocol differ from the board's."""
    shared = set(base["cell"]) & set(own["cell"])
    proven = own[own["cell"].isin(shared)]
    for place, part in new.groupby(PLACE, sort=True):
        if place[-1]:
            continue  # a wrong guide is made of the true one, which is looked at
        where = "/".join(str(name) for name in place if name)
        if len(_at(proven, place)):
            continue
        mine, theirs = (
            _controls(_at(measured(rows, controls=True), place), control_method)
            for rows in (own, base)
        )
        both = mine.merge(theirs, on=["method", "seed", "metric_version", *VALUE])
        if not len(both):
            yield (
                f"no method that both hold on {where}: nothing shows that its data are the same; run "
                "the control method here, too"
            )
            continue
        apart = both[~_close(both["value_x"], both["value_y"])]
        if len(apart):
            row = apart.iloc[0]
            yield (
                f"other data, guide, m/z values or protocol on {where}: {row['metric']} of "
                f"{row['method']} is {row['value_x']:.6g}, the board has {row['value_y']:.6g}"
            )
        elif (part["task"] != "single-image").any() and not (
            both["metric"].isin(ABOUT_THE_GUIDE).any() or (both["task_x"] != "single-image").any()
        ):
            yield f"nothing on {where} shows that the guide is the same; run guide-only here, too"


def _controls(rows: pd.DataFrame, control_method: str) -> pd.DataFrame:
    """Return the values of methods that give the same on every machine: nothing in them is fitted or random."""
    return rows[rows["is_control"] | (rows["method"] == control_method)]


def _at(rows: pd.DataFrame, place: tuple[Any, ...]) -> pd.DataFrame:
    chosen = np.logical_and.reduce(
        [rows[name] == value for name, value in zip(PLACE, place, strict=True)]
    )
    return rows[chosen]


def _close(first: pd.Series[float], second: pd.Series[float]) -> Any:
    return np.isclose(first, second, rtol=SAME, atol=SAME, equal_nan=True)


def _fitted(
    base: pd.DataFrame, own: pd.DataFrame, new: pd.DataFrame
) -> tuple[pd.DataFrame, list[str]]:
    """Return the new rows in the board's columns, and what was left out."""
    notes = []
    extra = sorted(set(measured(new, controls=True)["metric"]) - set(base["metric"]))
    if extra:
        new = new[~new["metric"].isin(extra)]
        notes.append(f"left out, for the board does not have it: {', '.join(extra)}")
    if not _same_machine(base, own):
        new = new.assign(**dict.fromkeys(TIMES, np.nan))
        notes.append("seconds are left out: nothing shows that the board's machine measured them")
    strange = [name for name in ALSO if name not in base]
    new = new.drop(columns=strange, errors="ignore")
    if SPECIMEN in base:  # what the board says of its sections holds for every method
        new = with_specimens(new, stated_specimens(base))
    return new, notes


def _same_machine(base: pd.DataFrame, own: pd.DataFrame) -> bool:
    """Whether the committed rows were made of this very store: a cell with the same seconds."""
    both = cells(base).merge(cells(own), on="cell")
    return bool((both["seconds_per_image_x"] == both["seconds_per_image_y"]).any())


def _moved(base: Board, grown: Board) -> dict[str, float]:
    """Return how far existing scores moved, scheme by scheme.

    Raises
    ------
    IntegrityError
        If a score of a scheme that is anchored at the control did, which must not.
    """
    scheme = scheme_of(base.track, base.rows["metric"].unique())
    columns = {"composite": scheme}
    columns |= {name: load_scheme(name) for name in BESIDE if name != scheme.name}
    both = base.table.merge(grown.table, on=["protocol", "method"], suffixes=("", ".grown"))
    found = {}
    for column, used in columns.items():
        if column not in base.table or f"{column}.grown" not in both:
            continue
        change = (both[column].astype(float) - both[f"{column}.grown"].astype(float)).abs().max()
        change = 0.0 if pd.isna(change) else float(change)
        if used.normalisation.startswith("minmax"):
            found[used.name] = change
        elif change > 1e-9:
            raise IntegrityError(
                f"a score of scheme {used.name!r} moved by {change:.3g} as methods were added; nothing "
                "was written. This is a fault of msibench: please report it"
            )
    return found
