"""Put the gates together: one report, one exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
import pandas as pd

from msibench.errors import ConfigurationError
from msibench.gate.agreement import impossible
from msibench.gate.margins import Margins
from msibench.gate.quality import (
    coverage_faults,
    declared,
    judge,
    not_judged,
    of_one_experiment,
    one_seed,
    taken_on_trust,
)
from msibench.gate.rows_cost import peaks_of, times_of
from msibench.gate.samples import Timings
from msibench.gate.sources import Side
from msibench.gate.speed import (
    MemoryVerdict,
    SpeedVerdict,
    compare_peaks,
    compare_samples,
)
from msibench.leaderboard.rows import measured
from msibench.metrics.specs import builtin_metrics
from msibench.scoring.compare_rows import COMPARED

OK, QUALITY, COST, NOTHING, INTEGRITY = 0, 4, 5, 6, 7
Kind = Literal["integrity", "quality", "coverage", "speed", "memory"]
CODES: dict[Kind, int] = {
    "integrity": INTEGRITY,
    "quality": QUALITY,
    "coverage": NOTHING,
    "speed": COST,
    "memory": COST,
}
"""Exit code of a finding. Of several the first in this order is reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One reason why a gate is, or would be, red."""

    kind: Kind
    text: str
    fatal: bool = True
    """False for a warning: speed on a shared runner, numbers that somebody else reports."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GateReport:
    """What a comparison found."""

    base: str
    new: str
    quality: pd.DataFrame
    """Columns of `msibench.scoring.compare_rows`; empty for benchmarks."""
    speed: tuple[SpeedVerdict, ...] = ()
    memory: tuple[MemoryVerdict, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0, or the code of the gravest finding: integrity, quality, coverage, then cost."""
        kinds = {finding.kind for finding in self.findings if finding.fatal}
        return next((code for kind, code in CODES.items() if kind in kinds), OK)

    @property
    def counts(self) -> dict[str, int]:
        """Comparisons of quality by outcome."""
        found = self.quality["outcome"].value_counts()
        names = ("worse", "undecided", "better", "equivalent", "identical")
        return {name: int(found.get(name, 0)) for name in names}


def compare(
    base: Side,
    new: Side,
    margins: Margins,
    *,
    required_coverage: float = 0.0,
    warn_speed: bool = False,
    fail_undecided: bool = False,
    methods: Sequence[str] = (),
) -> GateReport:
    """Compare two sides and say why, if at all, the new one must not pass.

    Parameters
    ----------
    base, new
        Both rows, or both benchmark results.
    margins
        What counts as worse.
    required_coverage
        Share of the images that every method must have; the higher of this and the margins' counts.
    warn_speed
        Report slower times without failing.
    fail_undecided
        Fail also where a loss beyond the margin could not be ruled out.
    methods
        Names or patterns of the methods to compare; empty: all.

    Raises
    ------
    ConfigurationError
        If one side holds rows and the other timings.
    """
    if base.rows is None and new.rows is None:
        assert base.benchmarks is not None
        assert new.benchmarks is not None
        return compare_sessions(
            base.name, new.name, base.benchmarks, new.benchmarks, margins, warn_speed=warn_speed
        )
    if base.rows is None or new.rows is None:
        raise ConfigurationError(
            f"{base.name} and {new.name} cannot be compared: one holds rows, the other timings"
        )
    base, new = (_only(side, methods) for side in (base, new))
    assert base.rows is not None
    assert new.rows is not None
    first, second = measured(base.rows), measured(new.rows)
    quality = judge(*of_one_experiment(base, new), margins)
    findings = [
        Finding(kind="integrity", text=f"{side.name}, cell {key[:12]}…: {why}")
        for side in (base, new)
        for key, why in side.damaged.items()
    ]
    findings += [
        Finding(kind="integrity", text=f"{name}: {text}")
        for name, rows in ((base.name, base.rows), (new.name, new.rows))
        for text in impossible(rows)
    ]
    findings += _quality_findings(quality, fail_undecided=fail_undecided)
    findings += [
        Finding(kind="coverage", text=fault)
        for fault in coverage_faults(base, new, margins, required_coverage)
    ]
    findings += [
        Finding(kind="integrity", text=text, fatal=False)
        for text in taken_on_trust(base.rows, new.rows)
    ]
    if not _anything_judged(quality):
        findings.append(Finding(kind="coverage", text=_nothing(first, second, quality)))
    speed = times_of(base.rows, new.rows, margins)
    memory = compare_peaks(peaks_of(base.rows), peaks_of(new.rows), margins)
    findings += _cost_findings(speed, memory, warn_speed=warn_speed)
    return GateReport(
        base=base.name,
        new=new.name,
        quality=quality,
        speed=tuple(speed),
        memory=tuple(memory),
        findings=tuple(findings),
        notes=tuple(_notes(first, second, margins, quality)),
    )


def compare_sessions(
    base_name: str,
    new_name: str,
    base: Timings,
    new: Timings,
    margins: Margins,
    *,
    warn_speed: bool = False,
) -> GateReport:
    """Compare two sets of timings; one that the new side lacks is lower coverage."""
    speed = compare_samples(base, new, margins)
    memory = compare_peaks(base.peaks_mib, new.peaks_mib, margins)
    findings = [
        Finding(kind="coverage", text=f"{name} was timed in the base and not in the new session")
        for name in sorted(base.timings.keys() - new.timings.keys())
    ]
    if all(verdict.outcome == "undecided" for verdict in speed):
        why = "; ".join(dict.fromkeys(verdict.note for verdict in speed)) or "no name in common"
        findings.append(Finding(kind="coverage", text=f"nothing could be compared: {why}"))
    findings += _cost_findings(speed, memory, warn_speed=warn_speed)
    return GateReport(
        base=base_name,
        new=new_name,
        quality=judge_nothing(),
        speed=tuple(speed),
        memory=tuple(memory),
        findings=tuple(findings),
    )


def judge_nothing() -> pd.DataFrame:
    """Return a table of comparisons without any."""
    return pd.DataFrame(columns=list(COMPARED))


def name_of(row: Mapping[str, Any]) -> str:
    """Return the name of a comparison in messages."""
    return f"{row['method']}: {row['metric']} ({row['region']}, {row['protocol']})"


def why_worse(row: Mapping[str, Any]) -> str:
    """Return what makes a comparison worse."""
    where = f"over {row['images']} ion images of {sections_of(row)}"
    loss = f"{-row['difference']:.3g}"
    if row["reason"] in {"section", "image"}:
        return (
            f"loses {row['place_loss']:.3g} on {row['place']}; {row['place_allowed']:.3g} are within "
            f"noise for the worst of {row['images']} images (mean loss {loss})"
        )
    if np.isfinite(row["low"]):
        loss += f" [{-row['high']:.3g}, {-row['low']:.3g}]"
    if row["reason"] == "large":
        return (
            f"is worse by {loss} {where}: more than stated noise explains, margin {row['margin']:g}"
        )
    return f"is worse by {loss} {where}, margin {row['margin']:g}"


def sections_of(row: Mapping[str, Any]) -> str:
    """Return the number of sections in words."""
    return "1 section" if row["sections"] == 1 else f"{row['sections']} sections"


def why_undecided(row: Mapping[str, Any]) -> str:
    """Return why a comparison is undecided."""
    if row["note"]:
        return str(row["note"])
    if not np.isfinite(row["low"]):
        return "too few values for an interval"
    return f"the interval [{row['low']:+.3g}, {row['high']:+.3g}] is too wide"


def _quality_findings(quality: pd.DataFrame, *, fail_undecided: bool) -> list[Finding]:
    findings = []
    for row in quality.to_dict("records"):
        comparison = {str(key): value for key, value in row.items()}
        name = name_of(comparison)
        if row["outcome"] == "worse":
            findings.append(Finding(kind="quality", text=f"{name} {why_worse(comparison)}"))
        elif fail_undecided and row["outcome"] == "undecided" and not row["noninferior"]:
            text = f"{name} is undecided: {why_undecided(comparison)}"
            findings.append(Finding(kind="quality", text=text))
    return findings


def _cost_findings(
    speed: Sequence[SpeedVerdict], memory: Sequence[MemoryVerdict], *, warn_speed: bool
) -> list[Finding]:
    findings = [
        Finding(
            kind="speed",
            text=f"{v.name} takes {v.factor:.2f} times as long ({v.base_seconds:.4g} s, now "
            f"{v.new_seconds:.4g} s; {v.rule}"
            + ("" if np.isnan(v.p) else f", p = {v.p:.2g}")
            + ")",
            fatal=not warn_speed,
        )
        for v in speed
        if v.outcome == "slower"
    ]
    findings += [
        Finding(
            kind="memory",
            text=f"{v.name} takes {v.factor:.2f} times the memory "
            f"({v.base_mib:.0f} MiB, now {v.new_mib:.0f} MiB)",
        )
        for v in memory
        if v.outcome == "more"
    ]
    return findings


def _notes(
    first: pd.DataFrame, second: pd.DataFrame, margins: Margins, quality: pd.DataFrame
) -> list[str]:
    """Return what a reader must know besides the verdicts."""
    notes = []
    levels = {spec.name for spec in builtin_metrics() if spec.question == "ceiling"}
    unjudged = [name for name in not_judged(first, second, margins) if name not in levels]
    if unjudged:
        notes.append(f"without a margin: {', '.join(unjudged)}")
    raised = declared(first, second)
    if raised:
        listed = ", ".join(f"{metric} (version {change})" for metric, change in raised.items())
        notes.append(f"changed by declaration: {listed}")
    if quality["outcome"].eq("undecided").any() and (alone := one_seed(first, second)):
        notes.append(
            f"one seed of methods that train ({', '.join(alone)}): a shift of the whole run by "
            f"{margins.noise_rerun:g} margins is allowed for; a track with seeds = [0, 1, 2] measures it"
        )
    return notes


def _anything_judged(quality: pd.DataFrame) -> bool:
    """Whether a verdict rests on an interval or a loss, or else all values that both sides hold are identical.

    Identical values of one metric say nothing of another that differs on too few images.
    """
    outcome = quality["outcome"]
    if (np.isfinite(quality["low"].to_numpy(float)) | outcome.eq("worse")).any():
        return True
    shared = outcome[quality["images"] > 0]
    return len(shared) > 0 and bool(shared.eq("identical").all())


def _nothing(first: pd.DataFrame, second: pd.DataFrame, quality: pd.DataFrame) -> str:
    """Return why nothing could be tested."""
    for side, name in ((first, "base rows"), (second, "new rows")):
        if not len(side):
            return f"nothing measured: the {name} hold no score"
    protocols = [sorted(set(side["protocol"])) for side in (first, second)]
    if not set(protocols[0]) & set(protocols[1]):
        return (
            f"nothing in common: protocol {', '.join(protocols[0])} in the base, "
            f"{', '.join(protocols[1])} in the new rows"
        )
    why = "; ".join(dict.fromkeys(quality["note"])) or "no metric has a margin"
    return f"nothing could be judged: {why}"


def _only(side: Side, methods: Sequence[str]) -> Side:
    """Keep the rows of the chosen methods."""
    if not methods or side.rows is None:
        return side
    chosen = side.rows["method"].map(
        lambda name: any(fnmatchcase(name, pattern) for pattern in methods)
    )
    return replace(side, rows=side.rows[chosen.astype(bool)])
