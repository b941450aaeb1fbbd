"""Compute new or corrected metrics from stored predictions; nothing is predicted again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pandas as pd

from msibench.contracts.metric import MetricSpec
from msibench.errors import IntegrityError, SchemaError
from msibench.results.arrays import read_arrays
from msibench.results.files import sha256_of
from msibench.results.metric_rows import rows_as_parquet
from msibench.results.problems import SECTION
from msibench.results.rows_digest import rows_digest
from msibench.results.schema import REMEDY, CellRecord, Status
from msibench.results.seen_cells import SeenCells, metrics_digest
from msibench.results.store import METRICS, PREDICTION, Store
from msibench.results.told_intervals import intervals_of
from msibench.runner.problems.staged_files import REMEDY as STAGE_REMEDY
from msibench.runner.scores.prediction_scores import load_staged_once
from msibench.runner.scores.score import LACKED, score, score_key, score_keys
from msibench.weights import is_here


@dataclass(slots=True)
class Rescored:
    """Its result."""

    cells: int = 0
    computed: int = 0
    """Metric and region pairs that were computed."""
    kept: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    """Key → what is wrong with a cell, or its truth, and what to do; such a cell is left as it is."""


def rescore(
    store: Store,
    keys: Iterable[str],
    metrics: list[MetricSpec],
    *,
    force: bool = False,
    on_cell: Callable[[CellRecord], None] | None = None,
    seen: SeenCells | None = None,
) -> Rescored:
    """Bring the metric rows of stored cells up to date.

    Parameters
    ----------
    keys
        Cells; those without a prediction are passed over.
    metrics
        What the rows shall hold. Rows of other metrics are kept; rows whose score key (prediction,
        truth, metric version, parameters) is unchanged are not computed again, unless they lacked pretrained
        files that are here now.
    force
        Compute all again.
    seen
        What the last run saw: cells that are still the same, and held all metrics, are not read.

    Returns
    -------
    What was done. Metric rows that are damaged are computed again; a cell whose record, prediction or
    truth is damaged is named in `Rescored.damaged`, and costs the others nothing.
    """
    total = Rescored()
    wanted = metrics_digest(metrics)
    for key in keys:
        if not store.has(key):
            continue
        if seen is not None and not force and seen.up_to_date(key, wanted):
            continue
        try:
            _rescore_one(store, key, metrics, total, force, on_cell)
        except (IntegrityError, SchemaError) as error:
            total.damaged[key] = str(error)
    return total


def _rescore_one(
    store: Store,
    key: str,
    metrics: list[MetricSpec],
    total: Rescored,
    force: bool,
    on_cell: Callable[[CellRecord], None] | None,
) -> None:
    record = store.record(key)
    if record.status is not Status.OK:
        return
    total.cells += 1
    filled = set() if force else _lacked_weights(store, record, metrics)
    if not (force or filled) and _up_to_date(record, metrics) and _rows_sound(store, record):
        total.kept += len(record.scores)
        return
    staged = load_staged_once(store.problem_folder(record.problem_key))
    if record.truth_digest and record.truth_digest != staged.digest:
        raise IntegrityError(
            f"{store.problem_folder(record.problem_key) / SECTION} is not the truth that "
            f"cell {key[:12]}… was scored against (digest differs); {STAGE_REMEDY}"
        )
    path = store.cell_folder(key) / PREDICTION
    if not path.is_file():
        raise IntegrityError(f"{path} is missing; {REMEDY}")
    digest = sha256_of(path)
    if digest != record.files.get(PREDICTION):
        raise IntegrityError(f"{path} was changed after it was written (digest differs); {REMEDY}")
    wanted = score_keys(metrics, staged, digest)
    stale = {
        name
        for name, k in wanted.items()
        if force or record.scores.get(name) != k or name.partition("@")[0] in filled
    }
    damaged = False
    try:
        old = store.metric_rows(record)
    except IntegrityError:
        damaged, stale = True, set(wanted)
        old = pd.DataFrame(columns=["metric", "region"])
    total.kept += len(wanted) - len(stale)
    if not stale:
        return
    names = {name.partition("@")[0] for name in stale}
    arrays, _ = read_arrays(path, ("prediction",), lazily=("prediction",))
    intervals = intervals_of(path)
    again = [spec for spec in metrics if spec.name in names]
    rows = score(arrays["prediction"], staged, again, seed=record.seed, intervals=intervals)
    kept = old[~old["metric"].isin(names)]
    merged = pd.concat([kept, rows], ignore_index=True) if len(kept) else rows
    other = {} if damaged else {n: k for n, k in record.scores.items() if n not in wanted}
    store.rescore(record, rows_as_parquet(merged), {**other, **wanted}, rows_digest(merged))
    total.computed += len(stale)
    if on_cell is not None:
        on_cell(record)


def _rows_sound(store: Store, record: CellRecord) -> bool:
    path = store.cell_folder(record.key) / METRICS
    return METRICS not in record.files or (
        path.is_file() and sha256_of(path) == record.files[METRICS]
    )


def _lacked_weights(store: Store, record: CellRecord, metrics: list[MetricSpec]) -> set[str]:
    """Return the metrics that were not computed for want of pretrained files, all of which are here now."""
    fillable = {
        spec.name
        for spec in metrics
        if spec.weights and all(is_here(name) for name in spec.weights)
    }
    if not fillable:
        return set()
    try:
        rows = store.metric_rows(record)
    except IntegrityError:
        return set()  # computed again as a whole
    lacked = rows[rows["metric"].isin(fillable) & rows["reason"].str.startswith(LACKED)]
    return set(lacked["metric"])


def _up_to_date(record: CellRecord, metrics: list[MetricSpec]) -> bool:
    """Whether a record holds every metric under its present key, without reading arrays."""
    prediction = record.files.get(PREDICTION, "")
    held = {name.partition("@")[0] for name in record.scores}
    if not {spec.name for spec in metrics} <= held:
        return False
    by_name = {spec.name: spec for spec in metrics}
    for name, key in record.scores.items():
        metric, _, region = name.partition("@")
        spec = by_name.get(metric)
        if spec and key != score_key(spec, region, prediction, record.truth_digest):
            return False
    return True
