"""A board's metrics, with their specs as of the run, without asking a plugin again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, get_args

from msibench.contracts.metric import Direction, MetricSpec, Question
from msibench.metrics.specs import builtin_metrics
from msibench.results.index import TrackIndex

MOST_DIGITS = 12
ARROWS: Mapping[str, str] = {"higher": "↑", "lower": "↓", "one": "→ 1", "nine-tenths": "→ 0.9"}
BETTER: Mapping[str, str] = {
    "higher": "higher is better", "lower": "lower is better", "one": "nearer to 1 is better",
    "nine-tenths": "nearer to 0.9 is better",
}  # fmt: skip


class BoardMetrics(dict[str, MetricSpec]):
    """Every metric that a board may show by name, the core's first; an unknown one has its name only."""

    def __missing__(self, name: str) -> MetricSpec:
        return MetricSpec(name=name, version=0, target="", direction="higher", label=name)

    def of(self, *questions: Question) -> list[str]:
        """Return the names of the metrics that answer one of these questions, in order."""
        return [name for name, spec in self.items() if spec.question in questions]


def board_metrics(index: TrackIndex) -> BoardMetrics:
    """Return the specs of metrics: as the run recorded them, completed by those of the core."""
    found = BoardMetrics(_core())
    stored = index.track_facts.get("metrics", {})
    for name, described in sorted(stored.items()) if isinstance(stored, Mapping) else ():
        if isinstance(described, Mapping):
            found[name] = replace(found[name], **_sound(described))
    return found


@cache
def _core() -> BoardMetrics:
    return BoardMetrics((spec.name, _labelled(spec)) for spec in builtin_metrics())


def _labelled(spec: MetricSpec) -> MetricSpec:
    return replace(spec, label=spec.label or spec.name)


def _sound(described: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what is valid: a results folder may come from elsewhere, too."""
    kept: dict[str, Any] = {
        name: described[name]
        for name in ("unit", "title", "citation", "label", "explanation")
        if isinstance(described.get(name), str) and described[name]
    }
    if described.get("direction") in get_args(Direction):
        kept["direction"] = described["direction"]
    if described.get("question") in get_args(Question):
        kept["question"] = described["question"]
    for name, most in (("digits", MOST_DIGITS), ("version", 2**63)):
        if type(described.get(name)) is int and 0 <= described[name] < most:
            kept[name] = described[name]
    return kept
