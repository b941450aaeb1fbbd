"""Seconds on the clock of a whole run, with one slot and with two: ``python bench/measure_slots.py [SECONDS]``.

Twenty cells that repeat pixels, scored by PSNR, and eight cells that compute for SECONDS (3), scored by four metrics. Only
on idle cores do these say anything.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from measure_starts import BODY, processor_s

from msibench.metrics.specs import builtin_metrics
from msibench.plugin_manager import discover
from msibench.results.store import Store
from msibench.runner.child import warm_start
from msibench.runner.options import RunOptions
from msibench.runner.plan import make_plan
from msibench.runner.supervisor import Supervisor
from msibench.tracks import Entry, ProblemSet, Track

BUSY = """
import time
class Busy:
    def upscale(self, problem):
        while time.process_time() < {seconds}:
            pass
        return problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2)
"""


def measure(folder, body, method, cells, metrics, jobs, catalogue):
    """Return the seconds of a run on the clock, and the supervisor's processor seconds."""
    source = folder / f"{method.lower()}.py"
    source.write_text(body)
    track = Track(
        name="slots",
        entries=(Entry(method=f"{source}:{method}", label=method.lower()),),
        problems=(
            ProblemSet(dataset="phantom", protocols=("area-x4@1",), sections=("synthetic-1",)),
        ),
        metrics=metrics,
        seeds=tuple(range(cells)),
    )
    plan = make_plan(track, catalogue)
    store = Store.open(folder / f"results-{method}-{jobs}")
    warm_start.end_servers()
    before, wall = processor_s()[0], time.perf_counter()
    summary = Supervisor(store, catalogue, RunOptions(jobs=jobs, threads=1)).run(plan)
    assert summary.counts == {"ok": cells}, summary.counts
    return time.perf_counter() - wall, processor_s()[0] - before


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    catalogue = discover(builtin_metrics=builtin_metrics())
    print(f"load {os.getloadavg()[0]:.1f}")
    for what, body, method, cells, metrics in (
        ("20 trivial cells, PSNR", BODY, "Trivial", 20, ("psnr",)),
        (
            f"8 cells of {seconds:g} s, four metrics",
            BUSY.format(seconds=seconds),
            "Busy",
            8,
            ("psnr", "ssim", "vif", "nqm"),
        ),
    ):
        with tempfile.TemporaryDirectory() as name:
            (one, own), (two, own_two) = (
                measure(Path(name), body, method, cells, metrics, jobs, catalogue)
                for jobs in (1, 2)
            )
        print(
            f"{what}: one slot {one:.2f} s, two {two:.2f} s, {one / two:.2f} times as fast; "
            f"supervisor {own:.2f} and {own_two:.2f} s of processor"
        )


if __name__ == "__main__":
    main()
