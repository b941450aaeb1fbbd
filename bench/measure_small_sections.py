"""Staging and scoring of a small section, with this checkout and with an earlier one, as ratios of one run.

    git worktree add ../before COMMIT
    python bench/measure_small_sections.py --before ../before

Both take turns, each time in a process of its own; a ratio above 1 says that this checkout is slower. Processor time is
measured, on one thread, so that other work on the machine counts for little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
METRICS = ("psnr", "ssim", "rmse", "consistency", "frc", "spectral_angle", "colocalisation")
PROTOCOLS = ("area-x4@1", "area-poisson-x2@1")


def main() -> None:
    """Measure both checkouts in turn, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="Another checkout.")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure()))
        return
    found: dict[str, dict[str, list[float]]] = {"before": {}, "after": {}}
    for _ in range(options.turns):
        for side, checkout in (("before", options.before.resolve()), ("after", HERE)):
            for name, seconds in run(checkout, options).items():
                found[side].setdefault(name, []).append(seconds)
    print("| step | before (ms) | after (ms) | after / before |\n|---|---|---|---|")
    for name in found["after"]:
        before, after = (statistics.median(found[side][name]) for side in ("before", "after"))
        print(f"| {name} | {1e3 * before:.1f} | {1e3 * after:.1f} | {after / before:.2f} |")


def run(checkout: Path, options: argparse.Namespace) -> dict[str, float]:
    """Measure one checkout in a process of its own."""
    folders = [checkout, checkout / "datasets", *sorted((checkout / "plugins").glob("*"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    environment |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--one", "--before", str(options.before)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure() -> dict[str, float]:
    """Return the fastest of some rounds of each step, in seconds of processor time."""
    import numpy as np

    from msibench.datasets import Card, CardFile, MZSet, file_digest
    from msibench.degradation import protocol
    from msibench.image import MSImage
    from msibench.io.hdf5 import write_hdf5
    from msibench.metrics.specs import builtin_metrics
    from msibench.results.store import Store
    from msibench.runner.problems.stage import stage
    from msibench.runner.scores.prediction_scores import load_staged_once
    from msibench.runner.scores.score import score

    try:
        from msibench.runner.problem_plan import plan_problem
    except ImportError:  # of an earlier checkout
        from msibench.runner.plan import plan_problem

    specs = [spec for spec in builtin_metrics() if spec.name in METRICS]
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "s.h5"
        rng = np.random.default_rng(0)
        values = rng.gamma(2.0, 5.0, (14, 96, 112)).astype(np.float32)
        write_hdf5(path, MSImage(values, 400 + np.arange(14.0), pixel_size_um=10.0))
        card = Card(
            name="small", title="small", folder=Path(place), pixel_size_um=10.0, test=("s",),
            files=(CardFile(name="s.h5", role="section", sha256=file_digest(path)),),
            mz_sets={"all": MZSet(name="all")}, local_files={"s.h5": path},
        )  # fmt: skip
        for turn in range(6):  # the first warms up
            store = Store.open(Path(place) / f"results-{turn}")
            for name in PROTOCOLS:
                plan = plan_problem(card, "s", protocol(name), card.mz_set("all"))
                start = time.process_time()
                folder = stage(plan, store)
                staged_at = time.process_time()
                staged = load_staged_once(folder)
                assert staged.truth is not None
                loaded_at = time.process_time()
                score(np.asarray(staged.truth.values) * np.float32(0.9), staged, specs)
                scored_at = time.process_time()
                if turn:
                    seconds.setdefault(f"stage, {name}", []).append(staged_at - start)
                    seconds.setdefault(f"load, {name}", []).append(loaded_at - staged_at)
                    seconds.setdefault(f"score, {name}", []).append(scored_at - loaded_at)
    return {name: min(found) for name, found in seconds.items()}


if __name__ == "__main__":
    main()
