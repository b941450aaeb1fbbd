"""What the harness itself costs: planning, leaderboards, starting, and a run's overhead.

``pytest bench/test_bench_harness.py --benchmark-only``
"""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from msibench.contracts.method import MethodSpec, Task
from msibench.datasets import load_card
from msibench.leaderboard.board import Board
from msibench.leaderboard.render import leaderboard_files
from msibench.leaderboard.rows import Collected, tidy
from msibench.metrics.specs import builtin_metrics
from msibench.plugin_manager.discovery import discover
from msibench.results.index import TrackIndex
from msibench.runner.plan import make_plan
from msibench.tracks import Entry, ProblemSet, Track, load_track


def test_planning_ten_thousand_cells(benchmark):
    catalogue = discover(builtin_metrics=builtin_metrics())
    card = load_card(catalogue.dataset("phantom"))
    sections = tuple(f"synthetic-{i}" for i in range(1, 101))
    big = replace(card, test=sections)
    methods = {
        f"m{i}": MethodSpec(
            name=f"m{i}",
            target="msibench_interpolation.method:Interpolation",
            task=Task.SINGLE_IMAGE,
            config={"kernel": "bicubic", "clip": True, "number": i},
            citation="none",
            licence="none",
        )
        for i in range(20)
    }
    track = Track(
        name="big",
        entries=tuple(Entry(method=name) for name in methods),
        problems=(ProblemSet(dataset="phantom", protocols=("area-x4@1",)),),
        seeds=tuple(range(5)),
    )
    catalogue = replace(catalogue, methods=methods)
    plan = benchmark.pedantic(
        lambda: make_plan(track, catalogue, cards={"phantom": big}), rounds=3, iterations=1
    )
    assert len(plan.cells) == 10_000


def simulated_rows(methods, sections, images, metrics=("psnr", "ssim", "vif", "nqm", "sd_ratio")):
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [range(methods), range(sections), range(images), metrics],
        names=["method", "section", "channel", "metric"],
    )
    frame = index.to_frame(index=False)
    effect = rng.normal(0, 1, (methods, sections))
    frame["value"] = 20 + effect[frame["method"], frame["section"]] + rng.normal(0, 1, len(frame))
    frame["method"] = "m" + frame["method"].astype(str)
    frame["section"] = "s" + frame["section"].astype(str)
    constants = {
        "dataset": "toy", "protocol": "area-x4@1", "mz_set": "all", "seed": 0, "control": "",
        "device": "cpu", "precision": "float32", "status": "ok", "status_reason": "",
        "origin": "measured", "task": "single-image", "is_control": False, "images": images,
        "seconds_per_image": 0.1, "fit_seconds": 0.0, "rss_mib": 100.0, "vram_mib": np.nan,
        "metric_version": 1, "region": "image", "direction": "higher", "reason": "",
    }  # fmt: skip
    frame = frame.assign(**constants, mz=400.0 + frame["channel"])
    return tidy(frame.assign(cell=frame["method"] + frame["section"]))


def test_a_leaderboard_of_a_hundred_thousand_rows(benchmark):
    rows = simulated_rows(methods=20, sections=20, images=50)
    assert len(rows) == 100_000
    track = replace(
        load_track("quickstart"), name="big", control_method="m0", metrics=("psnr", "ssim")
    )
    benchmark.pedantic(
        lambda: leaderboard_files(Board(Collected(rows, {}), track, TrackIndex())),
        rounds=3,
        iterations=1,
    )


@pytest.mark.parametrize("arguments", [("--help",), ("list", "methods"), ("list", "datasets")])
def test_a_command_starts_quickly(benchmark, arguments):
    command = [sys.executable, "-m", "msibench.cli.main", *arguments]
    benchmark.pedantic(
        lambda: subprocess.run(command, check=True, capture_output=True), rounds=5, iterations=1
    )


def test_the_overhead_of_a_run(benchmark, tmp_path, capsys):
    """Wall time of a run, against its methods' own time and one bare process start per cell."""
    source = tmp_path / "slow.py"
    source.write_text(
        "import time\n"
        "class Slow:\n"
        "    def __init__(self, number=0): ...\n"
        "    def upscale(self, p):\n"
        "        time.sleep(5)\n"
        "        return p.low.values.repeat(p.factor, 1).repeat(p.factor, 2)\n"
    )
    command = [
        sys.executable, "-m", "msibench.cli.main", "run", "--results", str(tmp_path / "results"),
        "--methods", "slow", "--method", f"{source}:Slow", "--metrics", "psnr", "--json",
    ]  # fmt: skip
    bare = [sys.executable, "-c", "import msibench.runner.child.main"]
    start = time.perf_counter()
    subprocess.run(bare, check=True)
    one_start = time.perf_counter() - start
    benchmark.pedantic(
        lambda: subprocess.run(command, check=False, capture_output=True), rounds=1, iterations=1
    )
    wall = benchmark.stats["mean"]
    benchmark.extra_info["overhead_s"] = wall - 5 - 2 * one_start
    with capsys.disabled():
        print(f"\nrun {wall:.2f} s: method 5 s, process start {one_start:.2f} s (cell and control)")
    assert Path(tmp_path / "results").is_dir()
