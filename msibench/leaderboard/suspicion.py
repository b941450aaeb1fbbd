"""Results that are better than a method can be: flagged, and ranked apart from the others."""

from __future__ import annotations

import numpy as np
import pandas as pd

from msibench.leaderboard.rows import measured
from msibench.metrics.detail import bounded
from msibench.metrics.psnr import IDENTICAL

TOO_GOOD = "better than the noise allows: check for leaks"
PERFECT = "identical to the truth: check for leaks"
ERRORS = 3.0
"""Standard errors by which a mean must lie above its ceiling's interval."""
CEILINGS = (("skill", "detail_ceiling_high"), ("psnr", "noise_ceiling_psnr"))
"""A metric, and the metric that holds the upper end of what the signal itself would get; the first
pair that a board has counts."""
IMAGE = ["dataset", "section", "mz_set", "seed", "channel"]


def suspicions(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return (protocol, method) → what is suspicious about its results.

    A truth that was measured is noisy, and the signal itself would miss it by that noise. Whoever comes
    nearer has seen the truth, or something made of it.
    """
    scored = measured(rows)
    scored = scored[(scored["region"] == "image") & ~scored["is_control"]]
    found: dict[tuple[str, str], str] = {}
    for (protocol, method), part in scored.groupby(["protocol", "method"], sort=True):
        if part.loc[part["metric"] == "psnr", "reason"].eq(IDENTICAL).any():
            found[str(protocol), str(method)] = PERFECT
        elif _is_above(part):
            found[str(protocol), str(method)] = TOO_GOOD
    return found


def _is_above(part: pd.DataFrame) -> bool:
    """Whether a method's mean lies above the ceilings of its images by more than chance explains."""
    there = set(part["metric"])
    pair = next((pair for pair in CEILINGS if set(pair) <= there), None)
    if pair is None:
        return False
    values, ceiling = (part[part["metric"] == name].set_index(IMAGE)["value"] for name in pair)
    values, ceiling = values.align(ceiling, join="inner")
    above = values.to_numpy(float) - ceiling.to_numpy(float)
    if pair[0] == "skill":
        above = bounded(values.to_numpy(float)) - ceiling.to_numpy(float)
    above = above[np.isfinite(above)]
    if not len(above):
        return False
    error = above.std(ddof=1) / np.sqrt(len(above)) if len(above) > 1 else 0.0
    return bool(above.mean() > max(ERRORS * error, 1e-6))


def ranked_apart(table: pd.DataFrame, found: dict[tuple[str, str], str]) -> pd.DataFrame:
    """Move flagged methods behind all others that have a rank, and number both anew.

    Parameters
    ----------
    table
        One row per protocol and method, best first; with ``rank`` where there are ranks.
    found
        What `suspicions` gave; where it is empty the table is returned as it is.

    Returns
    -------
    The table with a column ``flag``.
    """
    if not found:
        return table
    places = zip(table["protocol"], table["method"], strict=True)
    flag = pd.Series([found.get(place, "") for place in places], index=table.index, name="flag")
    parts = []
    for _, part in table.groupby("protocol", sort=False):
        odd = flag[part.index] != ""
        part = pd.concat([part[~odd], part[odd]])
        if "rank" in part and part["rank"].notna().any():
            old = dict(zip(part.index, part["rank"].astype(float), strict=True))
            taken = [old[index] for index in odd[odd].index]
            last = sum(np.isfinite(old[index]) for index in odd[~odd].index)
            ranks = [
                old[index] - sum(rank < old[index] for rank in taken)
                if not odd[index]
                else last + 1 + list(odd[odd].index).index(index)
                for index in part.index
            ]
            part = part.assign(rank=pd.Series(ranks, index=part.index, dtype="float64"))
        parts.append(part)
    return pd.concat(parts).assign(flag=flag).reset_index(drop=True)
