"""The speed and memory gates: asv's rule on repeated times, a factor on peaks."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

import numpy as np

from msibench.gate.margins import Margins
from msibench.gate.samples import Timing, Timings

SpeedOutcome = Literal["faster", "same", "slower", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedVerdict:
    """Comparison of two lists of times."""

    name: str
    outcome: SpeedOutcome
    factor: float
    """Median of the new times over that of the base; above 1 is slower."""
    p: float
    """NaN where no test was made."""
    base_seconds: float
    new_seconds: float
    base_rounds: int
    new_rounds: int
    rule: str
    """``Mann-Whitney``, ``signed-rank``, ``quartiles`` or empty."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryVerdict:
    """Comparison of two peaks."""

    name: str
    outcome: Literal["less", "same", "more", "undecided"]
    factor: float
    base_mib: float
    new_mib: float
    note: str = ""


def compare_times(name: str, base: Timing, new: Timing, margins: Margins) -> SpeedVerdict:
    """Apply asv's rule to the rounds of one thing.

    Slower (faster) when the median grew (shrank) by more than ``margins.speed_factor`` and a
    two-sided Mann-Whitney test gives p below ``margins.speed_p``. Where too few rounds exist for
    such a p (0.002 needs 7 on each side) the answer is ``undecided``, not ``same``. Where a file
    kept quartiles instead of rounds, they must not overlap.

    References
    ----------
    .. [1] airspeed velocity, ``asv.statistics.is_different`` and ``asv compare --factor``.
    """
    before, after = median(base.seconds), median(new.seconds)
    factor = after / before if before > 0 else math.nan
    p, rule, note = math.nan, "", ""
    if base.quartiles or new.quartiles:
        rule, note = "quartiles", "rounds were not kept (--benchmark-save-data keeps them)"
        (_, low_end), (low_start, _) = _quartiles(base), _quartiles(new)
        different: bool | None = low_start > low_end or _quartiles(new)[1] < _quartiles(base)[0]
    elif _least_p(len(base.seconds), len(new.seconds)) >= margins.speed_p:
        different = None
        note = (
            f"{len(base.seconds)} and {len(new.seconds)} rounds cannot give p < {margins.speed_p:g}"
        )
    else:
        from scipy.stats import mannwhitneyu

        rule = "Mann-Whitney"
        p = float(mannwhitneyu(base.seconds, new.seconds, alternative="two-sided").pvalue)
        different = p < margins.speed_p
    return SpeedVerdict(
        name=name,
        outcome=_outcome(factor, different, margins.speed_factor),
        factor=factor,
        p=p,
        base_seconds=before,
        new_seconds=after,
        base_rounds=len(base.seconds),
        new_rounds=len(new.seconds),
        rule=rule,
        note=note,
    )


def compare_paired(
    name: str, base: Sequence[float], new: Sequence[float], margins: Margins
) -> SpeedVerdict:
    """Compare one time each of the same cells: signed-rank test of the log ratios, median ratio.

    Parameters
    ----------
    base, new
        Seconds of the same cells in the same order, above 0. p < 0.002 needs 10 cells.
    """
    ratios = np.asarray(new, dtype=np.float64) / np.asarray(base, dtype=np.float64)
    factor = float(np.median(ratios))
    p, different, note, rule = math.nan, None, "", ""
    if 2.0 ** (1 - len(ratios)) >= margins.speed_p:
        number = "1 cell" if len(ratios) == 1 else f"{len(ratios)} cells"
        note = f"{number}, once each: too few for p < {margins.speed_p:g}"
    elif np.allclose(ratios, 1.0, rtol=1e-12):
        p, different, rule = 1.0, False, "signed-rank"
    else:
        from scipy.stats import wilcoxon

        rule = "signed-rank"
        p = float(wilcoxon(np.log(ratios)).pvalue)
        different = p < margins.speed_p
    return SpeedVerdict(
        name=name,
        outcome=_outcome(factor, different, margins.speed_factor),
        factor=factor,
        p=p,
        base_seconds=float(np.median(base)),
        new_seconds=float(np.median(new)),
        base_rounds=len(base),
        new_rounds=len(new),
        rule=rule,
        note=note,
    )


def compare_samples(base: Timings, new: Timings, margins: Margins) -> list[SpeedVerdict]:
    """Compare everything that both sessions timed, by name."""
    apart = bool(base.machine and new.machine and base.machine != new.machine)
    verdicts = []
    for name in sorted(base.timings.keys() & new.timings.keys()):
        verdict = compare_times(name, base.timings[name], new.timings[name], margins)
        if apart:
            note = f"other machines ({base.machine} / {new.machine}): times are not compared"
            verdict = _undecided(verdict, note)
        verdicts.append(verdict)
    return verdicts


def compare_peaks(
    base: Mapping[str, float], new: Mapping[str, float], margins: Margins
) -> list[MemoryVerdict]:
    """Compare peaks of memory (MiB) by name: more when above the factor and the least difference."""
    verdicts = []
    for name in sorted(base.keys() & new.keys()):
        before, after = base[name], new[name]
        if not (math.isfinite(before) and math.isfinite(after) and before > 0):
            continue
        factor = after / before
        apart = abs(after - before) > margins.memory_least_mib
        outcome: Literal["less", "same", "more"] = "same"
        if apart and factor > margins.memory_factor:
            outcome = "more"
        elif apart and factor < 1 / margins.memory_factor:
            outcome = "less"
        verdicts.append(
            MemoryVerdict(name=name, outcome=outcome, factor=factor, base_mib=before, new_mib=after)
        )
    return verdicts


def on_shared_runner(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this is a hosted CI machine, whose times others disturb (``CI`` is set)."""
    found = os.environ if environment is None else environment
    hosted = found.get("CI", "").lower() not in {"", "0", "false"}
    return hosted and found.get("RUNNER_ENVIRONMENT", "") != "self-hosted"


def _outcome(factor: float, different: bool | None, least: float) -> SpeedOutcome:
    if different is None or math.isnan(factor):
        return "undecided"
    if different and factor > least:
        return "slower"
    return "faster" if different and factor < 1 / least else "same"


def _quartiles(timing: Timing) -> tuple[float, float]:
    if timing.quartiles:
        return timing.quartiles
    low, high = np.quantile(timing.seconds, (0.25, 0.75))
    return float(low), float(high)


def _least_p(first: int, second: int) -> float:
    """Return the smallest two-sided p that a Mann-Whitney test of so many values can give."""
    return 2.0 / math.comb(first + second, first)


def _undecided(verdict: SpeedVerdict, note: str) -> SpeedVerdict:
    return replace(verdict, outcome="undecided", p=math.nan, rule="", note=note)
