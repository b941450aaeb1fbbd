"""What a second slot brings: wall time of CPU-bound cells in one slot and in two, in the same run.

``pytest bench/test_bench_executors.py --benchmark-only``
"""

import time
from pathlib import Path

import pytest

from msibench.metrics.specs import builtin_metrics
from msibench.plugin_manager.discovery import discover
from msibench.results.schema import Status
from msibench.results.store import Store
from msibench.runner.executors.local import usable_cores
from msibench.runner.options import RunOptions
from msibench.runner.plan import make_plan
from msibench.runner.supervisor import Supervisor
from msibench.tracks import Entry, ProblemSet, Track

CELLS, SECONDS = 8, 3.0
BUSY = """
class Busy:
    '''So many steps on one core: work is counted, not time.'''

    def upscale(self, problem):
        total = 0.0
        for step in range(STEPS):
            total += step % 7
        return problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2)
"""


def steps_of(seconds):
    """Return how many steps of `Busy` take so long here."""
    start, total = time.perf_counter(), 0.0
    for step in range(2_000_000):
        total += step % 7
    return int(2_000_000 * seconds / (time.perf_counter() - start))


def run(folder, plan, catalogue, jobs):
    start = time.perf_counter()
    store = Store.open(folder)
    Supervisor(store, catalogue, RunOptions(jobs=jobs, threads=1)).run(plan)
    wall = time.perf_counter() - start
    records = list(store.records())
    assert [record.status for record in records] == [Status.OK] * CELLS
    return wall


@pytest.mark.skipif(usable_cores() < 2, reason="one core")
@pytest.mark.parametrize(
    "metrics", [("psnr",), ("psnr", "ssim", "vif", "nqm")], ids=["psnr", "four"]
)
def test_two_slots_against_one_on_cpu_bound_cells(benchmark, tmp_path, capsys, metrics):
    source = tmp_path / "busy.py"
    source.write_text(BUSY.replace("STEPS", str(steps_of(SECONDS))))
    track = Track(
        name="busy",
        entries=(Entry(method=f"{source}:Busy", label="busy"),),
        problems=(
            ProblemSet(dataset="phantom", protocols=("area-x4@1",), sections=("synthetic-1",)),
        ),
        metrics=metrics,
        seeds=tuple(range(CELLS)),
    )
    catalogue = discover(builtin_metrics=builtin_metrics())
    plan = make_plan(track, catalogue)
    one, two = [], []

    def both():
        number = len(one)
        one.append(run(tmp_path / f"one-{number}", plan, catalogue, 1))
        two.append(run(tmp_path / f"two-{number}", plan, catalogue, 2))

    benchmark.pedantic(both, rounds=2, iterations=1, warmup_rounds=0)
    ratio = min(one) / min(two)
    benchmark.extra_info["one_slot_s"], benchmark.extra_info["two_slots_s"] = min(one), min(two)
    benchmark.extra_info["ratio"] = ratio
    with capsys.disabled():
        print(
            f"\n{CELLS} cells of {SECONDS:g} s, {len(metrics)} metrics: one slot {min(one):.1f} s, two slots "
            f"{min(two):.1f} s, {ratio:.2f} times as fast; staging and scoring included"
        )
    assert Path(tmp_path / "two-0" / "store.json").is_file()
