"""Controls, and results that are better than a method can be: shown apart from the others."""

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
    scored = measured(rows[rows["metric"].isin({name for pair in CEILINGS for name in pair})])
    here = (scored["region"] == "image") & ~scored["is_control"]
    scored = scored.loc[here, ["protocol", "method", *IMAGE, "metric", "value", "reason"]]
    found: dict[tuple[str, str], str] = {}
    for (protocol, method), part in scored.groupby(["protocol", "method"], sort=True):
        if part.loc[part["metric"] == "psnr", "reason"].eq(IDENTICAL).any():
            found[str(protocol), str(method)] = PERFECT
        elif _is_above(part):
            found[str(protocol), str(method)] = TOO_GOOD
    return found


def _is_above(part: pd.DataFrame) -> bool:
    """Whether a method's mean lies above the ceilings of its images by more than chance explains."""
    there = set(part["metric"].unique())
    pair = next((pair for pair in CEILINGS if set(pair) <= there), None)
    if pair is None:
        return False
    values, ceiling = (_by_image(part[part["metric"] == name]) for name in pair)
    both = [(values[image], ceiling[image]) for image in values if image in ceiling]
    own, highest = np.array(both, dtype=np.float64).reshape(-1, 2).T
    above = (bounded(own) if pair[0] == "skill" else own) - highest
    above = above[np.isfinite(above)]
    if not len(above):
        return False
    error = above.std(ddof=1) / np.sqrt(len(above)) if len(above) > 1 else 0.0
    return bool(above.mean() > max(ERRORS * error, 1e-6))


def _by_image(rows: pd.DataFrame) -> dict[tuple[object, ...], float]:
    """Return the values of one metric by image; an index of pandas takes twenty times as long to make."""
    images = zip(*(rows[name] for name in IMAGE), strict=True)
    return dict(zip(images, rows["value"], strict=True))


def ranked_apart(
    table: pd.DataFrame, found: dict[tuple[str, str], str], control_method: str = ""
) -> pd.DataFrame:
    """Move controls and flagged methods behind all others, without a rank, and number those anew.

    Parameters
    ----------
    table
        One row per protocol and method, best first; with ``rank`` and ``rank_group`` where there are
        ranks, and ``control``.
    found
        What `suspicions` gave.
    control_method
        The track's, to which all others are held: it keeps its place, whatever else it is.

    Returns
    -------
    The table, with a column ``flag`` where `found` is not empty; flagged methods last.
    """
    places = list(zip(table["protocol"], table["method"], strict=True))
    flag = pd.Series([found.get(place, "") for place in places], index=table.index, name="flag")
    control = table["control"].astype(bool) & (table["method"] != control_method)
    parts = []
    for _, part in table.groupby("protocol", sort=False):
        odd, other = flag[part.index] != "", control[part.index]
        part = pd.concat([part[~odd & ~other], part[~odd & other], part[odd]])
        apart = (odd | other)[part.index]
        if apart.any() and "rank" in part and part["rank"].notna().any():
            part = part.assign(
                rank=part["rank"].astype(float).mask(apart).rank(method="min"),
                rank_group=part["rank_group"].astype(float).mask(apart).rank(method="dense"),
            )
        parts.append(part)
    if not parts:
        return table
    together = pd.concat(parts)
    return (together.assign(flag=flag) if found else together).reset_index(drop=True)
