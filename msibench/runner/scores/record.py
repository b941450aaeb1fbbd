"""From how a cell ended to its record: what it was, prediction, scores."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from msibench.contracts.metric import MetricSpec
from msibench.errors import IntegrityError
from msibench.results.files import sha256_of
from msibench.results.keys import plain
from msibench.results.metric_rows import rows_as_parquet
from msibench.results.problems import Staged, load_staged
from msibench.results.provenance import plugin_version
from msibench.results.rows_digest import rows_digest
from msibench.results.schema import CellRecord, Status
from msibench.results.store import PREDICTION
from msibench.results.told_intervals import intervals_of
from msibench.runner.child.job import Outcome
from msibench.runner.plan import Cell
from msibench.runner.problems.staged_files import REMEDY
from msibench.runner.scores.check_prediction import check_prediction
from msibench.runner.scores.score import score, score_keys


def record_of(cell: Cell, outcome: Outcome, provenance: Mapping[str, Any]) -> CellRecord:
    """Return the record of a cell that ended like this, before its prediction was looked at."""
    spec, problem = cell.spec, cell.problem
    report = plain(dict(outcome.report))
    assert isinstance(report, dict)
    return CellRecord(
        key=cell.key,
        key_document=cell.document,
        status=outcome.status,
        reason=outcome.reason,
        **cell.identity.as_dict(),
        precision=cell.competitor.precision,
        problem_key=problem.key,
        timings=dict(outcome.timings),
        peaks=dict(outcome.peaks),
        report=report if len(json.dumps(report)) < 4 << 20 else {"left out": "over 4 MiB"},
        method_facts={
            "name": spec.name,
            "task": spec.task.value,
            "title": spec.title,
            "citation": spec.citation,
            "licence": spec.licence,
            "training_data": list(spec.training_data),
            "control": spec.control,
            "budget": spec.budget,
            "provided_by": plugin_version(spec.target),
        },
        notes=("synthetic section",) if problem.card.synthetic else (),
        provenance={
            **provenance,
            **outcome.provenance,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    )


def check_and_score(
    record: CellRecord,
    cell: Cell,
    folder: Path,
    outcome: Outcome,
    staged_folder: Path,
    metrics: list[MetricSpec] | None,
) -> tuple[CellRecord, bytes]:
    """Check and score what a child left in `folder`, and complete the record with it.

    Without `metrics` it is checked and not scored: `msibench.runner.scores.rescore` does that later.

    Returns
    -------
    The record, and the content of ``metrics.parquet``; empty where nothing was scored.
    """
    scored = b""
    staged = load_staged_once(staged_folder)
    record = replace(
        record,
        truth_digest=staged.digest,
        mz=tuple(None if np.isnan(mz) else float(mz) for mz in staged.low.mz),
        channel_names=staged.low.channel_names(),
        pixel_size_um=_known(staged.low.pixel_size_um / staged.protocol.factor),
        notes=(*record.notes, *staged.notes),
    )
    if outcome.status is Status.OK:
        prediction, fault = check_prediction(folder / PREDICTION, staged, cell.spec)
        if prediction is None:
            record = replace(record, status=Status.INVALID_OUTPUT, reason=fault)
            (folder / PREDICTION).unlink(missing_ok=True)
        elif metrics is not None:
            intervals = intervals_of(folder / PREDICTION)
            rows = score(prediction, staged, metrics, seed=cell.seed, intervals=intervals)
            scored = rows_as_parquet(rows)
            record = replace(record, rows_digest=rows_digest(rows))
            digest = sha256_of(folder / PREDICTION)
            record = replace(record, scores=score_keys(metrics, staged, digest))
    else:
        (folder / PREDICTION).unlink(missing_ok=True)
    return record, scored


@lru_cache(maxsize=4)
def load_staged_once(folder: Path) -> Staged:
    """Load a staged problem, kept for the next methods on the same section.

    Raises
    ------
    IntegrityError
        If it is damaged or missing.
    """
    try:
        return load_staged(folder)
    except IntegrityError as error:
        raise IntegrityError(f"{error}; {REMEDY}") from error


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
