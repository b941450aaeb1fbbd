"""What it costs to begin a cell: warm (a fork of a process that holds the libraries) and cold, in one run.

``pytest bench/test_bench_starts.py --benchmark-only -s``
"""

import time

import pytest

from msibench.metrics.specs import builtin_metrics
from msibench.plugin_manager.discovery import discover
from msibench.results.schema import Status
from msibench.results.store import Store
from msibench.runner.options import RunOptions
from msibench.runner.plan import make_plan
from msibench.runner.supervisor import Supervisor
from msibench.tracks import Entry, ProblemSet, Track

CELLS = 20
METHODS = {
    "trivial": "class Trivial:\n",
    "torch": "import torch\nclass Trivial:\n",
}
BODY = """
    def upscale(self, problem):
        return problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2)
"""


def run(folder, plan, catalogue, **options):
    start, cpu = time.perf_counter(), time.process_time()
    store = Store.open(folder)
    Supervisor(store, catalogue, RunOptions(threads=1, **options)).run(plan)
    wall = time.perf_counter() - start
    records = list(store.records())
    assert [record.status for record in records] == [Status.OK] * CELLS, records[0].reason
    assert {record.provenance["sandbox"] for record in records} == {"namespaces"}
    return wall, time.process_time() - cpu


@pytest.mark.parametrize("kind", METHODS)
def test_twenty_cells_warm_and_cold(benchmark, tmp_path, capsys, kind):
    source = tmp_path / "trivial.py"
    source.write_text(METHODS[kind] + BODY)
    track = Track(
        name="trivial",
        entries=(Entry(method=f"{source}:Trivial", label="trivial"),),
        problems=(
            ProblemSet(dataset="phantom", protocols=("area-x4@1",), sections=("synthetic-1",)),
        ),
        metrics=("psnr",),
        seeds=tuple(range(CELLS)),
    )
    catalogue = discover(builtin_metrics=builtin_metrics())
    plan = make_plan(track, catalogue)
    found = {}

    def all_ways():
        number = len(found)
        for jobs in (1, 2):
            for cold in (False, True):
                folder = tmp_path / f"{number}-{jobs}-{cold}"
                found.setdefault((jobs, cold), []).append(
                    run(folder, plan, catalogue, jobs=jobs, cold=cold)
                )

    benchmark.pedantic(all_ways, rounds=2, iterations=1, warmup_rounds=0)
    with capsys.disabled():
        for (jobs, cold), walls in found.items():
            wall, cpu = min(walls)
            name = "cold" if cold else "warm"
            print(
                f"\n{CELLS} {kind} cells, {jobs} slots, {name}: {wall:.2f} s; supervisor's own {cpu:.2f} s"
            )
