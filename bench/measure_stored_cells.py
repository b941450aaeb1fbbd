"""A run that has nothing to do, with many stored cells: ``python bench/measure_stored_cells.py [CELLS] [FOLDER]``.

One scored cell each of `nearest` and `bicubic` is stored under as many seeds as are asked for, with its files
(hard links). Printed are processor seconds of planning; of a run that finds all cells stored, and makes rows,
README, CSV and page from scratch; of the next one, which has nothing to do; of one that lacks a single
cell; and of telling how each cell stands, as ``msibench status`` does.
"""

import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from msibench.cli.status import _state
from msibench.metrics.specs import builtin_metrics
from msibench.plugin_manager import discover
from msibench.results.store import METRICS, RECORD, Store
from msibench.run_track import run_track
from msibench.runner.options import RunOptions
from msibench.runner.plan import make_plan
from msibench.runner.supervisor import Supervisor
from msibench.tracks import Entry, ProblemSet, Track


def plan_of(cells, catalogue):
    track = Track(
        name="many",
        entries=(Entry(method="nearest"), Entry(method="bicubic")),
        problems=(
            ProblemSet(dataset="phantom", protocols=("area-x4@1",), sections=("synthetic-1",)),
        ),
        metrics=("psnr", "ssim", "skill"),
        seeds=tuple(range(cells // 2)),
    )
    return make_plan(track, catalogue)


def fill(store, plan, catalogue):
    """Store the first cell of each method under all seeds."""
    small = plan_of(2, catalogue)
    Supervisor(store, catalogue, RunOptions(threads=1)).run(small)
    first = {cell.spec.name: store.record(cell.key) for cell in small.cells}
    for cell in plan.cells:
        if store.has(cell.key):
            continue
        record = first[cell.spec.name]
        target = store.cell_folder(cell.key)
        target.mkdir(parents=True)
        for path in store.cell_folder(record.key).iterdir():
            if path.name == METRICS:
                shutil.copyfile(path, target / path.name)
            elif path.name != RECORD:
                os.link(path, target / path.name)
        own = {"key": cell.key, "key_document": cell.document, **cell.identity.as_dict()}
        (target / RECORD).write_text(replace(record, **own).to_json(), encoding="utf-8")


def main():
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    catalogue = discover(builtin_metrics=builtin_metrics())
    plan_of(cells, catalogue)
    start = time.process_time()
    plan = plan_of(cells, catalogue)
    planning = time.process_time() - start
    print(f"{cells} cells, load {os.getloadavg()[0]:.1f}: planning {planning:.2f} s of processor")
    with tempfile.TemporaryDirectory() as name:
        store = Store.open(Path(sys.argv[2] if len(sys.argv) > 2 else name))
        fill(store, plan, catalogue)
        shutil.rmtree(store.root / "seen", ignore_errors=True)

        def run():
            summary = run_track(plan.track, catalogue, store, plan=plan)
            assert summary.cached + summary.ran == cells

        timed("all stored, board from scratch", run)
        timed("nothing to do", run)
        shutil.rmtree(store.cell_folder(plan.cells[-1].key))
        timed("one cell lacking", run)
        timed("how each cell stands", lambda: [_state(store, c, {}, False) for c in plan.cells])


def timed(what, work):
    start, wall = time.process_time(), time.perf_counter()
    work()
    spent, wall = time.process_time() - start, time.perf_counter() - wall
    print(f"{what}: {spent:.1f} s of processor, {wall:.1f} s on the clock")


if __name__ == "__main__":
    main()
