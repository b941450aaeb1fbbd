"""All rows of a track in one table: metric values, and what every cell cost and how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from msibench.errors import IntegrityError, SchemaError
from msibench.leaderboard.guide_difference import DIFFERENCE, differences, with_differences
from msibench.leaderboard.sound_records import check_shown
from msibench.leaderboard.twins import (
    TWIN,
    UNSTABLE,
    twin_key,
    twin_values,
    unstable,
    with_twins,
)
from msibench.results.experiment import experiment_of, kind_of
from msibench.results.identity import IDENTITY_FIELDS
from msibench.results.index import TrackIndex
from msibench.results.schema import CellRecord, Status
from msibench.results.seen_cells import SeenCell
from msibench.results.store import Store
from msibench.results.verification import read_verifications, shown_origin
from msibench.scoring.cube import SPECIMEN

CELL_COLUMNS = (
    *IDENTITY_FIELDS, "precision",
    "cell", "status", "status_reason", "origin", "task", "is_control", "images",
    "seconds_per_image", "fit_seconds", "rss_mib", "vram_mib",
)  # fmt: skip
VALUE_COLUMNS = (
    "channel", "mz", "metric", "metric_version", "region", "direction", "value", "reason",
)  # fmt: skip
SELF_REPORTED = "self-reported"
"""Origin of a cell that came in a bundle."""
COLUMNS = (*CELL_COLUMNS, *VALUE_COLUMNS)
ISOLATION = "isolation"
"""A column of rows written since methods are isolated: the kind of sandbox that a cell ran in, ``none``,
or empty where it ran in no process."""

ALSO = (ISOLATION, TWIN, DIFFERENCE, SPECIMEN)
"""Columns that rows may have."""


@dataclass(frozen=True, slots=True, eq=False)
class Collected:
    """The rows of a track, and the cells that could not be read."""

    rows: pd.DataFrame
    """Columns `COLUMNS`; a cell without scores has one row with an empty ``metric``."""
    damaged: dict[str, str]
    """Key → what is wrong."""
    records: tuple[CellRecord, ...] = ()
    """Every record of the board, in the order of its cell's identity."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Cell's name → why it is not of the experiment that the board holds."""
    machines: dict[str, str] = field(default_factory=dict)
    """Method → the other machine that its time was measured on, which no column shares."""
    seen: dict[str, SeenCell] = field(default_factory=dict)
    """Key → every cell of the index that could be read, as it was read."""


@dataclass(frozen=True, slots=True, eq=False)
class KeptRows:
    """The rows of a board that was made before, for the cells that are as they were then."""

    cells: Mapping[str, SeenCell] = field(default_factory=dict)
    """Key → cell, as it was when the rows were made."""
    table: pa.Table | None = None
    """The board's ``rows.parquet``; None: no rows are kept."""

    def of(self, seen: Mapping[str, SeenCell]) -> dict[str, pa.Table]:
        """Return the metric rows of the cells whose records hold the same bytes still."""
        if self.table is None or not len(self.table):
            return {}
        keys = self.table.column("cell").to_numpy(zero_copy_only=False)
        starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
        ends = np.append(starts[1:], len(keys))
        values = self.table.select(_VALUES.names).cast(_VALUES).combine_chunks()
        found: dict[str, pa.Table] = {}
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            key = keys[start]
            if key in found:  # rows of a cell lie together, or they are not ours
                return {}
            found[key] = values.slice(start, end - start)
        return {
            key: part
            for key, part in found.items()
            if key in seen and key in self.cells and seen[key].record == self.cells[key].record
        }


def collect(
    store: Store, index: TrackIndex, *, again: bool = False, kept: KeptRows | None = None
) -> Collected:
    """Read the current cells of a track that belong to its experiment, in the order of identity.

    Parameters
    ----------
    again
        What guides brought is worked out anew, not read where it was kept.
    kept
        Rows of cells that have not changed since the last board; None: all are read from the cells.
    """
    kept = kept or KeptRows()
    damaged: dict[str, str] = {}
    seen: dict[str, SeenCell] = {}
    found: list[CellRecord] = []
    for _, key in sorted(index.cells.items()):
        if not store.has(key):
            continue
        try:
            record, digest = store.record_and_digest(key)
            check_shown(record)
        except (IntegrityError, SchemaError) as error:
            damaged[key] = str(error)
            continue
        found.append(record)
        old = kept.cells.get(key)
        same = old is not None and old.record == digest
        seen[key] = old if same and old else SeenCell.of(record, digest, twin_key(record))
    experiment = experiment_of(index, found)
    reasons = {record.key: experiment.excludes(record) for record in found}
    records = [record for record in found if not reasons[record.key]]
    left_out = {_name(record): reasons[record.key] for record in found if reasons[record.key]}
    elsewhere = timed_elsewhere(records)
    rows = rows_of_cells(_parts(store, records, elsewhere, damaged, kept.of(seen)))
    twins = twin_values(store, records, {key: cell.twin for key, cell in seen.items()})
    differing = differences(store, records, again=again)
    rows = with_differences(with_twins(rows, twins), differing)
    return Collected(
        tidy(with_specimens(rows, specimens_of(index.track_facts))),
        damaged,
        tuple(records),
        left_out,
        {record.method: elsewhere[record.key] for record in records if record.key in elsewhere},
        seen,
    )


def specimens_of(track_facts: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Return (data set, section) → specimen, where cards state some."""
    cards = track_facts.get("datasets", {})
    return {
        (dataset, section): specimen
        for dataset, card in cards.items()
        for section, specimen in card.get("specimens", {}).items()
    }


def stated_specimens(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return (data set, section) → specimen, as rows state it."""
    places = zip(rows["dataset"], rows["section"], strict=True)
    return dict(zip(places, rows[SPECIMEN], strict=True))


def with_specimens(rows: pd.DataFrame, specimens: Mapping[tuple[str, str], str]) -> pd.DataFrame:
    """Return rows that say which specimen each section was cut from; as they are where none is stated.

    A section of which nothing is stated is a specimen of its own.
    """
    places = list(zip(rows["dataset"], rows["section"], strict=True))
    if not specimens.keys() & set(places):
        return rows
    return rows.assign(**{SPECIMEN: [specimens.get(place, place[1]) for place in places]})


def _parts(
    store: Store,
    records: Iterable[CellRecord],
    elsewhere: Collection[str],
    damaged: dict[str, str],
    kept: Mapping[str, pa.Table],
) -> list[tuple[CellRecord, pa.Table | None, str]]:
    """Return what `rows_of_cells` takes of each cell whose rows can be read; the others are `damaged`."""
    verified = read_verifications(store)
    parts = []
    for record in records:
        try:
            if record.key in kept:
                store.check_metrics(record)
                values: pa.Table | None = kept[record.key]
            else:
                values = store.metric_table(record)
        except (IntegrityError, SchemaError) as error:
            damaged[record.key] = str(error)
            continue
        shown = without_times(record) if record.key in elsewhere else record
        parts.append((shown, values, shown_origin(store, record, verified)))
    return parts


def timed_elsewhere(records: Iterable[CellRecord]) -> dict[str, str]:
    """Return the cells whose time was not taken on the board's machine: key → where it was.

    The board's machine is the one that most of the cells measured here ran on; what a stranger
    reports of his own machine stands beside it only where there is nothing else.
    """
    timed = [record for record in records if record.status is Status.OK]
    ours = [record for record in timed if record.origin == "measured"] or timed
    machines = Counter(machine_of(record) for record in ours)
    if not machines:
        return {}
    here = min(machines, key=lambda name: (-machines[name], name))
    measured_here = {record.key for record in ours if machine_of(record) == here}
    return {
        record.key: machine_of(record) or "a machine that is not named"
        for record in timed
        if record.key not in measured_here
    }


def machine_of(record: CellRecord) -> str:
    """Return the processor, and the GPU where the cell ran on one; no machine's own name."""
    names = [record.provenance.get("processor", "")]
    if kind_of(record.device) != "cpu":
        names.append(record.provenance.get("gpu", ""))
    return " with ".join(str(name) for name in names if name)


def without_times(record: CellRecord) -> CellRecord:
    """Return a record without its times."""
    return replace(record, timings={"upscale": np.nan, "fit": np.nan})


def _name(record: CellRecord) -> str:
    return f"{record.identity.title} ({record.key[:12]}…)"


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the documented columns, types and order."""
    kinds = {
        "seed": "int64", "images": "int64", "channel": "int64", "metric_version": "int64",
        "seconds_per_image": "float64", "fit_seconds": "float64", "rss_mib": "float64",
        "vram_mib": "float64", "mz": "float64", "value": "float64", "is_control": "bool",
    }  # fmt: skip
    kept = [*COLUMNS, *(name for name in ALSO if name in rows)]
    kinds |= {name: "float64" for name in (TWIN, DIFFERENCE) if name in rows}
    kinds |= {name: "str" for name in kept if name not in kinds}
    ordered = rows.loc[:, kept].astype(kinds)
    keys = ["protocol", "dataset", "section", "mz_set", "control", "method", "seed", "device"]
    order = [*keys, "metric", "region", "channel"]
    return ordered.sort_values(order, kind="stable").reset_index(drop=True)


def records_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each line of a table as a dictionary of plain Python values.

    As ``table.to_dict("records")``, which takes a column of hundreds ten times as long to look up.
    """
    names = [str(name) for name in table.columns]
    return [
        dict(zip(names, map(_plain, line), strict=True))
        for line in table.to_numpy(dtype=object).tolist()
    ]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def measured(rows: pd.DataFrame, *, controls: bool = False) -> pd.DataFrame:
    """Return the rows that hold a metric; those of wrong-guide controls only when asked for."""
    chosen = rows["metric"] != ""
    return rows[chosen if controls else chosen & (rows["control"] == "")]


def cells(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell."""
    kept = [*CELL_COLUMNS, *([ISOLATION] if ISOLATION in rows else [])]
    return rows.loc[~rows["cell"].duplicated(), kept].reset_index(drop=True)


def origins(rows: pd.DataFrame) -> list[str]:
    """Return the origins that rows state for their numbers, ``not isolated`` among it."""
    found = sorted(set(rows["origin"].unique()))
    if ISOLATION in rows and (rows[ISOLATION] == "none").any():
        found.append("not isolated")
    return found


def rows_of_cells(parts: Sequence[tuple[CellRecord, pa.Table | None, str]]) -> pd.DataFrame:
    """Return the rows of cells, one cell after another.

    Parameters
    ----------
    parts
        Of each cell its record, its metric rows as they are stored, and the origin to show. A cell
        without scores has one row with an empty ``metric``.
    """
    if not parts:
        return pd.DataFrame(columns=[*COLUMNS, ISOLATION])
    tables, facts = [], []
    for record, table, origin in parts:
        if table is not None and len(table) and record.status is Status.OK:
            tables.append(
                table if table.schema == _VALUES else table.select(_VALUES.names).cast(_VALUES)
            )
        else:
            tables.append(_NO_VALUE)
        facts.append(_of_cell(record, origin))
    counts = [len(table) for table in tables]
    rows: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    columns = {
        name: np.repeat(_column([each[name] for each in facts]), counts) for name in facts[0]
    }
    return rows.assign(**columns)


def _column(values: list[Any]) -> NDArray[Any]:
    """Return one value a cell as an array: texts as objects, numbers as numbers."""
    return np.array(values, dtype=object if isinstance(values[0], str) else None)


def _of_cell(record: CellRecord, origin: str) -> dict[str, Any]:
    """Return what all rows of a cell have in common."""
    images = len(record.mz)
    busy = record.timings.get("upscale", np.nan) + record.timings.get("fit", 0.0)
    return {
        **record.identity.as_dict(),
        "precision": record.precision,
        "cell": record.key,
        "status": str(record.status),
        "status_reason": record.reason,
        "origin": origin,
        "task": str(record.method_facts.get("task", "")),
        "is_control": bool(record.method_facts.get("control", False)),
        ISOLATION: str(record.provenance.get("sandbox", "")),
        "images": images,
        "seconds_per_image": busy / images if images else np.nan,
        "fit_seconds": record.timings.get("fit", 0.0),
        "rss_mib": record.peaks.get("rss", np.nan),
        "vram_mib": record.peaks.get("vram", np.nan),
    }


_VALUES = pa.schema(
    [
        ("channel", pa.int64()), ("mz", pa.float64()), ("metric", pa.string()),
        ("metric_version", pa.int64()), ("region", pa.string()), ("direction", pa.string()),
        ("value", pa.float64()), ("reason", pa.string()),
    ]
)  # fmt: skip
_NO_VALUE = pa.Table.from_pylist(
    [
        {
            "channel": -1, "mz": np.nan, "metric": "", "metric_version": 0, "region": "",
            "direction": "", "value": np.nan, "reason": "",
        }
    ],
    _VALUES,
)  # fmt: skip


def marks(rows: pd.DataFrame) -> dict[str, str]:
    """Return the remark behind a method's name wherever it is shown; only where needed.

    Returns
    -------
    Method → `` (self-reported)`` where a stranger measured it and nobody has verified it here, or
    `` (partly self-reported)``; `` (unstable)`` where its result depends on the kind of device
    (`msibench.leaderboard.twins`).
    """
    found = {}
    shaky = {method for _, method in unstable(rows)}
    for method, part in cells(rows).groupby("method", sort=True):
        foreign = part["origin"] == SELF_REPORTED
        words = [f"{'' if foreign.all() else 'partly '}{SELF_REPORTED}"] if foreign.any() else []
        words += [UNSTABLE] if method in shaky else []
        if words:
            found[str(method)] = f" ({', '.join(words)})"
    return found


def distinct(values: Iterable[str]) -> list[str]:
    """Return values in first-seen order without repeats."""
    return list(dict.fromkeys(values))
