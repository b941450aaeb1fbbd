"""Times and peaks of the cells of two tables of rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pandas as pd

from msibench.gate.margins import Margins
from msibench.gate.samples import Timing
from msibench.gate.speed import SpeedVerdict, compare_paired, compare_times

METHOD = ["protocol", "method", "device"]
PROBLEM = [*METHOD, "dataset", "section", "mz_set"]
COSTS = ["seconds_per_image", "rss_mib", "vram_mib"]
REPEATED = 2
"""Number of times of one problem from which they are tested by themselves."""


def times_of(base: pd.DataFrame, new: pd.DataFrame, margins: Margins) -> list[SpeedVerdict]:
    """Compare the seconds per image of the cells that both sides ran.

    A problem that was run several times (seeds) on both sides is judged by itself with a Mann-Whitney
    test; what was run once is paired cell by cell over the problems of a method.
    """
    before, after = (_seconds(side) for side in (base, new))
    verdicts = []
    once: dict[tuple[str, ...], list[tuple[float, float]]] = defaultdict(list)
    for problem in sorted(before.keys() & after.keys()):
        first, second = before[problem], after[problem]
        if min(len(first), len(second)) >= REPEATED:
            name = "/".join((problem[1], *problem[3:])) + f" ({problem[0]}, {problem[2]})"
            timing = (Timing(seconds=tuple(first)), Timing(seconds=tuple(second)))
            verdicts.append(compare_times(name, *timing, margins))
        else:
            pair = (float(np.median(first)), float(np.median(second)))
            once[problem[: len(METHOD)]].append(pair)
    for (protocol, method, device), pairs in sorted(once.items()):
        first, second = (list(column) for column in zip(*pairs, strict=True))
        verdicts.append(compare_paired(f"{method} ({protocol}, {device})", first, second, margins))
    return verdicts


def peaks_of(rows: pd.DataFrame) -> dict[str, float]:
    """Return the highest peak (MiB) by method and kind of memory."""
    peaks: dict[str, float] = {}
    found = _good(rows)
    for label, column in (("resident", "rss_mib"), ("GPU", "vram_mib")):
        for (protocol, method, device), part in found.groupby(METHOD, sort=True):
            highest = float(part[column].max())
            if np.isfinite(highest) and highest > 0:
                peaks[f"{method} ({protocol}, {device}), {label}"] = highest
    return peaks


def _good(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell that ran and had its own guide."""
    kept = ~rows["cell"].duplicated() & (rows["status"] == "ok") & (rows["control"] == "")
    return rows.loc[kept, [*PROBLEM, *COSTS]]


def _seconds(rows: pd.DataFrame) -> dict[tuple[str, ...], list[float]]:
    return dict(_by_problem(_good(rows)))


def _by_problem(found: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], list[float]]]:
    for problem, part in found.groupby(PROBLEM, sort=True):
        seconds = part["seconds_per_image"].to_numpy(float)
        seconds = seconds[np.isfinite(seconds) & (seconds > 0)]
        if len(seconds):
            yield tuple(map(str, problem)), sorted(seconds.tolist())
