"""What the noise-free signal would get against its own noisy truth: the best that a column can hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msibench.leaderboard.rows import measured, records_of
from msibench.scoring.cube import IMAGE_KEY

MEASURED = {name: f"noise_ceiling_{name}" for name in ("psnr", "ssim", "vif", "nqm")}
DETAIL = ("skill", "detail_gain", "detail_match", "detail_recall")
"""Of these the signal gets its share of the truth's unseen detail, the ceiling."""
BY_DEFINITION = {
    "detail_precision": 1.0, "input_error": 0.0, "consistency": 0.0, "conservation": 1.0, "shift": 0.0,
    "guide_leakage": 0.0, "guide_leakage_low": 0.0, "uncharted_leakage": 0.0,
}  # fmt: skip
"""What the signal gets, scaled in every coarse pixel to what was measured there."""
RANKS = ("rank", "rank_group")
REGIONS = ("image", "section", "tissue")
PERFECT = "perfect signal"
REFERENCE = "reference"
"""Task of the lines of a table that hold no method."""


def perfect_signal(rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return per metric the range of the perfect signal, as means over ion images.

    PSNR, SSIM, VIF and NQM are measured or estimated (``noise_ceiling_*``); skill, and gain, match and
    recall of detail, have a range (``detail_ceiling_*``); `BY_DEFINITION` holds what needs no estimate. RMSE is that of the PSNR; R² and SD follow from it and the truth's variance,
    which is that of any method's RMSE and R²: noise is independent of the signal.

    Parameters
    ----------
    rows
        Measured rows of one protocol, without wrong guides.
    """
    image = rows[rows["region"] == "image"]
    there = set(image["metric"].unique())
    names = [name for name in there if name.startswith(("noise_ceiling_", "detail_ceiling_"))]
    ceilings = image[image["metric"].isin(names) & np.isfinite(image["value"])]
    levels = {
        str(metric): part.groupby(list(IMAGE_KEY))["value"].first()
        for metric, part in ceilings.groupby("metric")
    }
    found = {name: (best, best) for name, best in BY_DEFINITION.items() if name in there}
    for metric, level in MEASURED.items():
        if level in levels:
            found[metric] = (float(levels[level].mean()),) * 2
    if {"detail_ceiling_low", "detail_ceiling_high"} <= levels.keys():
        ends = [float(levels[f"detail_ceiling_{end}"].mean()) for end in ("low", "high")]
        found |= {name: (min(ends), max(ends)) for name in DETAIL}
    if "noise_ceiling_psnr" in levels:
        noise = 10.0 ** (-levels["noise_ceiling_psnr"] / 10.0)
        found["rmse"] = (float(np.sqrt(noise).mean()),) * 2
        explained = 1.0 - noise / _variance_of_truth(image)
        explained = explained[np.isfinite(explained)]
        if len(explained):
            found["r2"] = (float(explained.mean()),) * 2
            found["sd_ratio"] = (float(np.sqrt(explained.clip(lower=0.0)).mean()),) * 2
    return {name: ends for name, ends in found.items() if np.isfinite(ends).all()}


def with_references(table: pd.DataFrame, rows: pd.DataFrame, control_method: str) -> pd.DataFrame:
    """Return a table with two further lines per protocol: the perfect signal, and the control once more.

    Their ``task`` is `REFERENCE`. A range is in ``.low`` and ``.high``, without a ``.mean``.

    Parameters
    ----------
    table
        One row per protocol and method (`msibench.leaderboard.table.leaderboard_table`).
    rows
        All rows of the board.
    control_method
        The track's.
    """
    scored = measured(rows)
    lines = []
    for protocol, part in table.groupby("protocol", sort=True):
        ends = perfect_signal(scored[scored["protocol"] == protocol])
        line: dict[str, object] = {"protocol": protocol, "method": PERFECT, "task": REFERENCE}
        for metric, (low, high) in ends.items():
            name = next((f"{metric}.{r}" for r in REGIONS if f"{metric}.{r}.mean" in part), "")
            if name and low == high:
                line[f"{name}.mean"] = low
            elif name:
                line |= {f"{name}.low": low, f"{name}.high": high}
        lines.append(line)
        control = records_of(part[part["method"] == control_method])
        for row in control[:1]:
            kept = {str(name): value for name, value in row.items() if name not in RANKS}
            lines.append({**kept, "method": f"the control, {control_method}", "task": REFERENCE})
    if not lines:
        return table
    added = pd.DataFrame(lines).reindex(columns=table.columns).astype(object)
    return pd.concat([table.astype(object), added], ignore_index=True).infer_objects()


def _variance_of_truth(image: pd.DataFrame) -> pd.Series[float]:
    """Return the variance of the truth of every ion image, in squares of the data range."""
    keys = [*IMAGE_KEY, "method", "seed"]
    sides: list[pd.Series[float]] = [
        image[image["metric"] == name].groupby(keys)["value"].first() for name in ("rmse", "r2")
    ]
    rmse, r2 = sides[0].align(sides[1], join="inner")
    missed: NDArray[np.float64] = 1.0 - r2.to_numpy(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(missed > 1e-6, rmse.to_numpy(np.float64) ** 2 / missed, np.nan)
    return pd.Series(variance, index=rmse.index).groupby(level=list(IMAGE_KEY)).median()
