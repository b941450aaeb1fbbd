"""Processor time that a cell costs beyond its method's work, warm and cold, in one run.

``python bench/measure_starts.py [CELLS]``: a method that repeats pixels, alone and with PyTorch imported, in the
sandbox of namespaces. Counted are the supervisor's own time and that of all its children, servers included.
"""

import os
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil

from msibench.metrics.specs import builtin_metrics
from msibench.plugin_manager import discover
from msibench.results.store import Store
from msibench.runner.child import warm_start
from msibench.runner.child.watch import run_child
from msibench.runner.options import RunOptions
from msibench.runner.plan import make_plan
from msibench.runner.supervisor import Supervisor
from msibench.tracks import Entry, ProblemSet, Track

BODY = """
class Trivial:
    def upscale(self, problem):
        return problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2)
"""


def jobs_of(folder, imports, cells, catalogue, *, cold):
    source = folder / f"trivial_{len(imports)}_{cold}.py"
    source.write_text(imports + BODY)
    track = Track(
        name="trivial",
        entries=(Entry(method=f"{source}:Trivial", label="trivial"),),
        problems=(
            ProblemSet(dataset="phantom", protocols=("area-x4@1",), sections=("synthetic-1",)),
        ),
        metrics=("psnr",),
        seeds=tuple(range(cells)),
    )
    plan = make_plan(track, catalogue)
    store = Store.open(folder / f"results-{len(imports)}-{cold}")
    supervisor = Supervisor(store, catalogue, RunOptions(threads=1, cold=cold))
    return [
        replace(
            supervisor._prepare(cell, plan), threads=1, environment={"CUDA_VISIBLE_DEVICES": ""}
        )
        for cell in plan.cells
    ]


def processor_s():
    own, below = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime, below.ru_utime + below.ru_stime


def end_servers_in_turn():
    """End the servers that others forked first, so that these count their time as their own children's."""
    servers = sorted(warm_start._servers.items(), key=lambda item: -item[0][1])
    programs = [psutil.Process(one._process.pid) for _, one in servers if one._process]
    for _, server in servers:
        if server._process is None:
            below = [fork for program in programs for fork in program.children(recursive=True)]
            last = [fork for fork in below if not _children(fork)]
            server.end()
            psutil.wait_procs(last, timeout=30)
    warm_start.end_servers()


def _children(process):
    try:
        return process.children()
    except psutil.NoSuchProcess:
        return []


def measure(imports, cells, catalogue, *, cold):
    """Return processor milliseconds a cell: the supervisor's, and its children's; and wall milliseconds."""
    with tempfile.TemporaryDirectory() as name:
        jobs = jobs_of(Path(name), imports, cells, catalogue, cold=cold)
        warm_start.end_servers()
        before, wall = processor_s(), time.perf_counter()
        outcomes = [run_child(job) for job in jobs]
        wall = time.perf_counter() - wall
        end_servers_in_turn()
        after = processor_s()
    assert {(str(o.status), o.provenance["start"]) for o in outcomes} == {
        ("ok", "cold" if cold else "warm")
    }
    return [1e3 * (b - a) / cells for a, b in zip(before, after, strict=True)] + [
        1e3 * wall / cells
    ]


def main():
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    catalogue = discover(builtin_metrics=builtin_metrics())
    print(f"{cells} cells, load {os.getloadavg()[0]:.1f}; milliseconds a cell")
    for what, imports in (("NumPy", ""), ("PyTorch", "import torch\n")):
        for cold in (False, True):
            own, below, wall = measure(imports, cells, catalogue, cold=cold)
            start = "cold" if cold else "warm"
            print(
                f"{what:8} {start}: supervisor {own:6.1f}, children {below:7.1f}, wall {wall:7.1f}"
            )


if __name__ == "__main__":
    main()
