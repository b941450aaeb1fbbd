"""Share of the reachable gain: how far a method gets from the control to the ceiling, a range."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msibench.metrics.detail import bounded
from msibench.metrics.detail_specs import CEILING_SOURCES
from msibench.scoring.bootstrap import mean_and_sem
from msibench.scoring.cube import Cube, cubes
from msibench.scoring.table import round_significant

MOST_APART = 1.5
"""Ratio of the largest to the smallest reachable gain above which no share is given."""
COLUMNS = (
    "protocol", "method", "score", "control", "ceiling_low", "ceiling_high", "source", "gain",
    "share_low", "share_high", "withheld", "images",
)  # fmt: skip


def reachable_gain(
    rows: pd.DataFrame,
    control_method: str,
    *,
    metric: str = "skill",
    ceiling: str = "detail_ceiling",
) -> pd.DataFrame:
    """Set every method between the control (0) and the ceiling (1) that the truth's noise leaves.

    The share is a ratio of means, ``mean(method - control) / mean(ceiling - control)`` over the
    images that have all of them, so that single images on which the control is already at the
    ceiling cannot blow it up. Its two ends are those of the ceiling. Where the ends leave gains that
    differ by more than a factor of 1.5, the estimators do not agree and no share is told.

    Parameters
    ----------
    rows
        Long table with the columns of ``msibench.scoring.cube.COLUMNS``.
    control_method
        The method that is at 0.
    metric
        What is compared, over the whole image; 1 is the truth. Values enter means bounded
        (`msibench.metrics.bounded`).
    ceiling
        Name before ``_low``, ``_high`` and ``_source`` of the metrics that hold the ceiling.

    Returns
    -------
    One row per protocol and method: `COLUMNS`. Scores are means over the images compared; ``source``
    says where the ceilings come from, ``withheld`` why there is no share; empty where there is one.
    """
    lines = []
    for cube in cubes(rows):
        ions = cube.ion_images()
        base = ions.method(control_method)
        measured = bounded(_values(ions, metric))
        ends = [_values(ions, f"{ceiling}_{end}") for end in ("low", "high")]
        sources = _values(ions, f"{ceiling}_source")
        for index, method in enumerate(ions.methods):
            stack = np.stack(
                [measured[:, index], measured[:, base], *(end[:, index] for end in ends)]
            )
            both = np.isfinite(stack).all(axis=0)
            score, control, low, high = (mean_and_sem(line[both])[0] for line in stack)
            withheld = _withheld(low - control, high - control)
            shares = [
                float("nan") if withheld else (score - control) / (end - control)
                for end in (high, low)
            ]
            lines.append(
                {
                    "protocol": ions.protocol,
                    "method": method,
                    "score": score,
                    "control": control,
                    "ceiling_low": low,
                    "ceiling_high": high,
                    "source": _named(sources[both, index]),
                    "gain": score - control,
                    "share_low": min(shares),
                    "share_high": max(shares),
                    "withheld": withheld,
                    "images": int(both.sum()),
                }
            )
    table = pd.DataFrame(lines, columns=list(COLUMNS))
    for column in table.select_dtypes("float"):
        table[column] = round_significant(table[column].to_numpy())
    return table


def _values(ions: Cube, metric: str) -> NDArray[np.float64]:
    """Return ``(image, method)`` of a metric over the whole image; NaN where no method has it."""
    number = ions.measure(metric, "image")
    if number is None:
        return np.full((len(ions.images), len(ions.methods)), np.nan)
    return np.asarray(ions.values[..., number])


def _withheld(low: float, high: float) -> str:
    """Return why no share can be given between these two reachable gains; empty where one can."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return "the ceiling is not known"
    if high <= 0:
        return "the control is at the ceiling"
    if low <= 0 or high / low > MOST_APART:
        return (
            f"the estimators of the ceiling disagree: {low:.2f} or {high:.2f} to gain, more than a "
            f"factor of {MOST_APART:g} apart"
        )
    return ""


def _named(sources: NDArray[np.float64]) -> str:
    """Name where the ceilings of some images come from, the most frequent first."""
    known = sources[np.isfinite(sources)].astype(int)
    count = np.bincount(known[(known >= 0) & (known < len(CEILING_SOURCES))])
    order = sorted(np.flatnonzero(count).tolist(), key=lambda place: (-count[place], place))
    return "; ".join(CEILING_SOURCES[place] for place in order)
