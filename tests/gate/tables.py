"""Tables of rows for the tests of the gates."""

import hashlib
from functools import lru_cache

import numpy as np
import pandas as pd

from msibench.leaderboard.rows import tidy
from msibench.results.metric_rows import rows_as_parquet

DIRECTIONS = {
    "psnr": "higher", "ssim": "higher", "rmse": "lower", "sd_ratio": "one", "odd": "higher",
    "detail_precision": "one", "input_error": "lower", "guide_leakage": "lower", "shift": "lower",
}  # fmt: skip
USUAL = {
    "psnr": 23.0, "ssim": 0.7, "rmse": 0.08, "sd_ratio": 0.9, "odd": 1.0,
    "detail_precision": 0.9, "input_error": 0.05, "guide_leakage": 0.02, "shift": 0.1,
}  # fmt: skip


def rows_of(*arguments, **options):
    """Rows of a track, see `make_rows`; made once for the same arguments."""
    return _kept_rows(*arguments, **options).copy()


def make_rows(
    methods=("bicubic", "net"),
    *,
    metrics=("psnr", "ssim"),
    sections=6,
    channels=6,
    seeds=(0,),
    noise=0.0,
    rng=0,
    **facts,
):
    """Rows of a track: values that depend on the image and the method, plus noise of a rerun."""
    fixed, again = np.random.default_rng(99), np.random.default_rng(rng)
    lines = []
    for method in methods:
        for section in range(sections):
            for seed in seeds:
                name = hashlib.sha256(f"{method}{section}{seed}{rng}".encode()).hexdigest()
                cell = {
                    "method": method, "dataset": "toy", "section": f"s{section}",
                    "protocol": "area-x4@1", "mz_set": "all", "seed": seed, "control": "",
                    "device": "cpu", "precision": "float32", "cell": name, "status": "ok",
                    "status_reason": "", "origin": "measured", "task": "single-image",
                    "is_control": method == "bicubic", "images": channels,
                    "seconds_per_image": 0.5, "fit_seconds": 0.0, "rss_mib": 200.0,
                    "vram_mib": np.nan,
                }  # fmt: skip
                for channel in range(channels):
                    for metric in metrics:
                        scale = 1.0 if metric == "psnr" else min(0.02, USUAL[metric] / 4)
                        value = USUAL[metric] + scale * (fixed.normal() + noise * again.normal())
                        line = {
                            "channel": channel, "mz": 400.0 + channel, "metric": metric,
                            "metric_version": 1, "region": "image",
                            "direction": DIRECTIONS[metric], "value": value, "reason": "",
                        }  # fmt: skip
                        lines.append({**cell, **line, **facts})
    return tidy(pd.DataFrame(lines))


_kept_rows = lru_cache(64)(make_rows)


def changed(rows, change, **where):
    """Add to the values of some rows."""
    hits = [rows[name] == value for name, value in where.items()]
    chosen = np.logical_and.reduce([np.ones(len(rows), dtype=bool), *hits])
    return rows.assign(value=rows["value"] + np.where(chosen, change, 0.0))


def saved(rows, folder):
    """Write rows as a leaderboard folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.parquet").write_bytes(rows_as_parquet(rows))
    return str(folder)
