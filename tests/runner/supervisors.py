"""Starts supervisors for tests of faults: imports once, then forks one for every line that it reads.

Each line is a JSON object: ``results``, ``methods``, ``retry``. The answer is the process number; the
line ``wait NUMBER`` is answered with its exit status. A supervisor leads a session of its own.
"""

import contextlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path

import h5py  # noqa: F401  - every supervisor needs it

from msibench.datasets import card_from_table
from msibench.errors import MSIBenchError
from msibench.metrics.specs import builtin_metrics
from msibench.plugin_manager.discovery import discover
from msibench.results.store import Store
from msibench.run_track import BoardOptions, run_track
from msibench.runner.options import RunOptions
from msibench.runner.plan import make_plan
from msibench.tracks import Entry, Limits, ProblemSet, Track

LOG = os.O_CREAT | os.O_APPEND | os.O_WRONLY
QUICK = Path(__file__).with_name("quick.py")
ALL = ("Near", "Far", "Dawdles")


def card():
    """Return a card of one phantom section of 48 x 56 pixels."""
    import msibench_datasets

    reader = Path(msibench_datasets.__file__).parent / "phantom" / "reader.py"
    table = {
        "schema_version": 1, "name": "speck", "title": "a speck", "pixel_size_um": 10.0,
        "unit": "counts", "counts": True, "synthetic": True, "tasks": ["single-image"],
        "sections": {"test": ["synthetic-1"]},
        "parameters": {
            "rows": 48, "columns": 56, "counts": 60.0, "guide_rotation_deg": 0.0,
            "guide_shift_px": [0.0, 0.0],
        },
    }  # fmt: skip
    return card_from_table(table, folder=reader.parent, reader=f"{reader}:read")


def track_of(methods):
    """Return a track of these methods on the speck."""
    return Track(
        name="speck",
        entries=tuple(Entry(method=f"{QUICK}:{name}", label=name) for name in methods),
        problems=(ProblemSet(dataset="speck", protocols=("area-x2@1",)),),
        metrics=("psnr",),
        limits=Limits(timeout_s=60.0, grace_s=0.2),
    )


def carry_out(catalogue, speck, results, methods, retry):
    """Run, index and rank, as the command line does; return its exit status."""
    track = track_of(methods)
    try:
        store = Store.open(Path(results))
        plan = make_plan(track, catalogue, cards={"speck": speck})
        options = RunOptions(jobs=2, threads=1, retry=frozenset(retry))
        summary = run_track(
            track, catalogue, store, options, plan=plan, board=BoardOptions(page=False)
        )
    except MSIBenchError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_code
    except Exception:
        traceback.print_exc()
        return 1
    return 0 if set(summary.counts) == {"ok"} else 3


def main():
    """Serve until standard input ends."""
    os.environ["OMP_NUM_THREADS"] = "1"
    catalogue, speck = discover(builtin_metrics=builtin_metrics()), card()
    make_plan(track_of(ALL), catalogue, cards={"speck": speck})  # reads the code behind methods
    print("ready", flush=True)
    for line in sys.stdin:
        if line.startswith("wait "):
            _, status = os.waitpid(int(line.split()[1]), 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            with contextlib.suppress(OSError):  # what it prints is for a person to read
                os.dup2(os.open(Path(asked["results"]).parent / "said.txt", LOG), 2)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os._exit(carry_out(catalogue, speck, **asked))
        print(pid, flush=True)


if __name__ == "__main__":
    main()
