"""Small tables of rows for the tests of scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from msibench.scoring import COLUMNS

DIRECTIONS = {
    "psnr": "higher",
    "ssim": "higher",
    "vif": "higher",
    "sd_ratio": "one",
    "nqm": "higher",
    "dists": "lower",
    "rmse": "lower",
    "skill": "higher",
}
SIX = ("psnr", "ssim", "vif", "sd_ratio", "nqm", "dists")
USUAL = {
    "psnr": 22.0,
    "ssim": 0.6,
    "vif": 0.3,
    "sd_ratio": 0.9,
    "nqm": 8.0,
    "dists": 0.3,
    "rmse": 0.1,
    "skill": 0.2,
}


def row(method: str, metric: str, value: float, **facts: object) -> dict[str, object]:
    """One row; facts override the usual ones."""
    usual: dict[str, object] = {
        "method": method,
        "dataset": "bladder",
        "section": "s0",
        "protocol": "area-x4@1",
        "mz_set": "all",
        "seed": 0,
        "control": "",
        "channel": 0,
        "mz": 100.0,
        "metric": metric,
        "metric_version": 1,
        "region": "image",
        "direction": DIRECTIONS[metric],
        "value": value,
        "reason": "" if np.isfinite(value) else "undefined on purpose",
    }
    return usual | facts


def table(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))


def simulated(
    methods: Mapping[str, float],
    *,
    sections: int = 6,
    channels: int = 3,
    metrics: Sequence[str] = SIX,
    noise: float = 0.01,
    seed: int = 0,
) -> pd.DataFrame:
    """Methods that are better than the usual values by a share of them, image by image the same."""
    rng = np.random.default_rng(seed)
    rows = []
    for section in range(sections):
        for channel in range(channels):
            for metric in metrics:
                hardness = rng.normal(0, 0.02)
                for method, gain in methods.items():
                    sign = -1 if DIRECTIONS[metric] == "lower" else 1
                    factor = 1 + hardness + sign * gain + rng.normal(0, noise)
                    place = {"section": f"s{section}", "channel": channel, "mz": 100.0 + channel}
                    rows.append(row(method, metric, USUAL[metric] * factor, **place))
    return table(rows)
