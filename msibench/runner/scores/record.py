"""From how a cell ended to its record: what it was, prediction, scores."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from msibench.contracts.metric import MetricSpec
from msibench.results.keys import plain
from msibench.results.provenance import plugin_version
from msibench.results.schema import CellRecord, Status
from msibench.results.store import PREDICTION
from msibench.runner.child.job import Outcome
from msibench.runner.plan import Cell
from msibench.runner.scores.prediction_scores import Answer, Asked, answer, load_staged_once


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
    staged_folder: Path,
    metrics: list[MetricSpec] | None,
    ask: Callable[[Asked], Answer] = answer,
) -> tuple[CellRecord, bytes]:
    """Check and score what a child left in `folder`, and complete the record with it.

    Without `metrics` it is checked and not scored: `msibench.runner.scores.rescore` does that later.

    Parameters
    ----------
    ask
        Checks and scores, here or in a process of its own.

    Returns
    -------
    The record, and the content of ``metrics.parquet``; empty where nothing was scored.
    """
    staged = load_staged_once(staged_folder)
    record = replace(
        record,
        truth_digest=staged.digest,
        mz=tuple(None if np.isnan(mz) else float(mz) for mz in staged.low.mz),
        channel_names=staged.low.channel_names(),
        pixel_size_um=_known(staged.low.pixel_size_um / staged.protocol.factor),
        notes=(*record.notes, *staged.notes),
    )
    prediction = folder / PREDICTION
    if record.status is not Status.OK:
        prediction.unlink(missing_ok=True)
        return record, b""
    wanted = None if metrics is None else tuple(metrics)
    found = ask(Asked(prediction, staged_folder, cell.spec, wanted, cell.seed))
    if found.fault:
        prediction.unlink(missing_ok=True)
        return replace(record, status=Status.INVALID_OUTPUT, reason=found.fault), b""
    return replace(record, rows_digest=found.rows_digest, scores=found.scores), found.rows


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
