"""Check and score one prediction: what is asked of a process that scores, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from msibench.contracts.method import MethodSpec
from msibench.contracts.metric import MetricSpec
from msibench.errors import IntegrityError
from msibench.results.files import sha256_of
from msibench.results.metric_rows import rows_as_parquet
from msibench.results.problems import Staged, load_staged
from msibench.results.rows_digest import rows_digest
from msibench.results.told_intervals import intervals_of
from msibench.runner.problems.staged_files import REMEDY
from msibench.runner.scores.check_prediction import check_prediction
from msibench.runner.scores.score import score, score_keys


@dataclass(frozen=True, slots=True)
class Asked:
    """One prediction that a method's process left behind."""

    prediction: Path
    staged: Path
    """Folder of the problem."""
    spec: MethodSpec
    metrics: tuple[MetricSpec, ...] | None
    """None: it is checked, and not scored."""
    seed: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found."""

    fault: str = ""
    """Why it is no valid prediction; empty for a sound one."""
    rows: bytes = b""
    """Content of ``metrics.parquet``; empty where nothing was scored."""
    rows_digest: str = ""
    scores: Mapping[str, str] = field(default_factory=dict)
    """``metric@region`` → score key."""


def answer(asked: Asked) -> Answer:
    """Check a prediction, and score a sound one.

    Raises
    ------
    IntegrityError
        If the staged problem is damaged or missing.
    """
    staged = load_staged_once(asked.staged)
    prediction, fault = check_prediction(asked.prediction, staged, asked.spec)
    if prediction is None or asked.metrics is None:
        return Answer(fault)
    intervals = intervals_of(asked.prediction)
    rows = score(prediction, staged, asked.metrics, seed=asked.seed, intervals=intervals)
    scores = score_keys(asked.metrics, staged, sha256_of(asked.prediction))
    return Answer("", rows_as_parquet(rows), rows_digest(rows), scores)


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
