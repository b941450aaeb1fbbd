"""All rows of a track in one table: metric values, and what every cell cost and how it ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from msibench.errors import IntegrityError, SchemaError
from msibench.leaderboard.sound_records import check_shown
from msibench.results.index import TrackIndex
from msibench.results.schema import CellRecord, Status
from msibench.results.store import Store
from msibench.results.verification import read_verifications, shown_origin

CELL_COLUMNS = (
    "method", "dataset", "section", "protocol", "mz_set", "seed", "control", "device", "precision",
    "cell", "status", "status_reason", "origin", "task", "is_control", "images",
    "seconds_per_image", "fit_seconds", "rss_mib", "vram_mib",
)  # fmt: skip
VALUE_COLUMNS = (
    "channel", "mz", "metric", "metric_version", "region", "direction", "value", "reason",
)  # fmt: skip
COLUMNS = (*CELL_COLUMNS, *VALUE_COLUMNS)


@dataclass(frozen=True, slots=True, eq=False)
class Collected:
    """The rows of a track, and the cells that could not be read."""

    rows: pd.DataFrame
    """Columns `COLUMNS`; a cell without scores has one row with an empty ``metric``."""
    damaged: dict[str, str]
    """Key → what is wrong."""
    records: tuple[CellRecord, ...] = ()
    """Every record that could be read, in the order of its cell's identity."""


def collect(store: Store, index: TrackIndex) -> Collected:
    """Read every current cell of a track, in the order of its identity."""
    frames: list[pd.DataFrame] = []
    damaged: dict[str, str] = {}
    records: list[CellRecord] = []
    verified = read_verifications(store)
    for _, key in sorted(index.cells.items()):
        if not store.has(key):
            continue
        try:
            record = store.record(key)
            check_shown(record)
            records.append(record)
            values = store.metric_rows(record)
        except (IntegrityError, SchemaError) as error:
            damaged[key] = str(error)
            continue
        frames.append(_with_cell(record, values, shown_origin(store, record, verified)))
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))
    return Collected(tidy(rows), damaged, tuple(records))


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the documented columns, types and order."""
    kinds = {
        "seed": "int64", "images": "int64", "channel": "int64", "metric_version": "int64",
        "seconds_per_image": "float64", "fit_seconds": "float64", "rss_mib": "float64",
        "vram_mib": "float64", "mz": "float64", "value": "float64", "is_control": "bool",
    }  # fmt: skip
    kinds |= {name: "str" for name in COLUMNS if name not in kinds}
    ordered = rows.loc[:, list(COLUMNS)].astype(kinds)
    keys = ["protocol", "dataset", "section", "mz_set", "control", "method", "seed", "device"]
    order = [*keys, "metric", "region", "channel"]
    return ordered.sort_values(order, kind="stable").reset_index(drop=True)


def measured(rows: pd.DataFrame, *, controls: bool = False) -> pd.DataFrame:
    """Return the rows that hold a metric; those of wrong-guide controls only when asked for."""
    chosen = rows["metric"] != ""
    return rows[chosen if controls else chosen & (rows["control"] == "")]


def cells(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell."""
    return rows.drop_duplicates("cell")[list(CELL_COLUMNS)].reset_index(drop=True)


def _with_cell(record: CellRecord, values: pd.DataFrame, origin: str) -> pd.DataFrame:
    if not len(values) or record.status is not Status.OK:
        values = pd.DataFrame([_no_value()])
    images = len(record.mz)
    busy = record.timings.get("upscale", np.nan) + record.timings.get("fit", 0.0)
    facts: dict[str, Any] = {
        "method": record.method,
        "dataset": record.dataset,
        "section": record.section,
        "protocol": record.protocol,
        "mz_set": record.mz_set,
        "seed": record.seed,
        "control": record.control,
        "device": record.device,
        "precision": record.precision,
        "cell": record.key,
        "status": str(record.status),
        "status_reason": record.reason,
        "origin": origin,
        "task": str(record.method_facts.get("task", "")),
        "is_control": bool(record.method_facts.get("control", False)),
        "images": images,
        "seconds_per_image": busy / images if images else np.nan,
        "fit_seconds": record.timings.get("fit", 0.0),
        "rss_mib": record.peaks.get("rss", np.nan),
        "vram_mib": record.peaks.get("vram", np.nan),
    }
    return values[list(VALUE_COLUMNS)].assign(**facts)


def _no_value() -> dict[str, object]:
    return {
        "channel": -1, "mz": np.nan, "metric": "", "metric_version": 0, "region": "",
        "direction": "", "value": np.nan, "reason": "",
    }  # fmt: skip


def distinct(values: Iterable[str]) -> list[str]:
    """Return values in first-seen order without repeats."""
    return list(dict.fromkeys(values))
