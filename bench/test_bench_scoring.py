"""Scoring 100,000 rows with 10,000 bootstrap draws: goal at most 10 s and 1 GB on one thread."""

import resource

import numpy as np
import pandas as pd
import pytest

from msibench.scoring import composite, load_scheme, summarise

METRICS = ("psnr", "ssim", "vif", "sd_ratio", "nqm", "dists", "rmse", "r2", "mse", "vifp")
DIRECTIONS = {"sd_ratio": "one", "dists": "lower", "rmse": "lower", "mse": "lower"}
USUAL = {"psnr": 20.0, "sd_ratio": 0.9, "nqm": 8.0}


def rows_of(methods, sections, channels, metrics):
    rng = np.random.default_rng(0)
    section, channel, method, metric = np.indices((sections, channels, methods, metrics)).reshape(
        4, -1
    )
    names = np.array(METRICS)[metric]
    usual = np.array([USUAL.get(name, 0.4) for name in METRICS])[metric]
    return pd.DataFrame(
        {
            "method": np.char.add("m", method.astype(str)),
            "dataset": "d",
            "section": np.char.add("s", section.astype(str)),
            "protocol": "area-x4@1",
            "mz_set": "all",
            "seed": 0,
            "control": "",
            "channel": channel,
            "mz": 100.0 + channel,
            "metric": names,
            "metric_version": 1,
            "region": "image",
            "direction": [DIRECTIONS.get(name, "higher") for name in names],
            "value": usual * (1 + rng.normal(0, 0.02, len(names)) + 0.02 * method / methods),
            "reason": "",
        }
    )


SHAPES = [(10, 25, 50, 8), (20, 6, 84, 10), (2, 500, 20, 5)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_summary_of_100_000_rows_with_10_000_draws(benchmark, shape):
    rows = rows_of(*shape)
    benchmark.pedantic(
        summarise,
        args=(rows, load_scheme("anchored")),
        kwargs={"control_method": "m0", "draws": 10_000},
        rounds=3,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    benchmark.extra_info |= {"rows": len(rows), "peak_mib": round(peak / 1024)}


def test_composite_of_100_000_rows(benchmark):
    rows = rows_of(*SHAPES[0])
    benchmark.pedantic(
        composite, args=(rows, load_scheme("anchored")), kwargs={"control_method": "m0"}, rounds=3
    )
