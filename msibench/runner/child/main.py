"""The child process: one method, one problem, one prediction. ``python -m msibench.runner.child.main DIR``.

Reads ``cell.json`` and ``problem.h5`` in DIR, writes ``prediction.h5`` and last ``result.json``. It
never sees the truth. Whatever it prints goes to the log that its supervisor keeps.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msibench.contracts.method import Method, Reporting, Restorable, Trainable, Uncertain
from msibench.contracts.progress import heard
from msibench.errors import StoreError
from msibench.image import Budget, Interval, Pair, Problem
from msibench.plugin_manager import resolve_target
from msibench.results.arrays import read_arrays, write_arrays
from msibench.results.files import write_atomically
from msibench.results.keys import changed_code, plain
from msibench.results.problems import read_pairs, read_problem
from msibench.results.told_intervals import NOT_CALIBRATED
from msibench.runner.child.child_folder import FIT
from msibench.runner.child.in_groups import (
    Upscaled,
    WrongResultError,
    cuts_of,
    groups_of,
    upscale_in_groups,
)
from msibench.runner.child.outcome import reason_of, status_of
from msibench.runner.child.prediction_file import PredictionFile, prediction_file
from msibench.runner.child.progress_file import progress_writer
from msibench.runner.child.sandbox.forbidden_calls import INSIDE, forbid_calls

if TYPE_CHECKING:
    from msibench.runner.child.calibration import Calibrated

PREDICTION_SCHEMA = 1
INTERVAL_LEVEL = 0.9
"""Share of the true pixels that a method's own interval is asked to hold."""


def main(folder: Path) -> int:
    """Run the cell in `folder` and return the process's exit status."""
    _die_with_parent()
    _say_that_it_began()
    if INSIDE in os.environ:
        forbid_calls()
    _show_where_it_stands()
    task = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
    timings: dict[str, float] = {}
    outcome: dict[str, Any] = {"status": "failed", "reason": "", "timings": timings}
    try:
        with heard(progress_writer(folder)):
            outcome.update(_work(folder, task, timings))
    except Exception as error:
        outcome.update(status=str(status_of(error)), reason=reason_of(error))
        traceback.print_exc()
    if changed := changed_code(task["target"], task.get("code", {})):
        outcome.update(
            changed=changed,
            reason=f"the code of the method changed since the run was planned ({changed[0]}): "
            "what it gives belongs to another key; run again",
        )
    outcome["peaks"] = _peaks()
    with suppress(OSError, ValueError):  # a method may have closed them
        sys.stdout.flush()
        sys.stderr.flush()
    try:
        text = json.dumps(plain(outcome), sort_keys=True)
        write_atomically(folder / "result.json", text, flushed=False)
    except StoreError as error:
        print(f"{outcome['status']}: {outcome['reason']}\n{error}", file=sys.__stderr__, flush=True)
        return 1
    return 0 if outcome["status"] in {"ok", "not-applicable"} else 1


def _work(folder: Path, task: dict[str, Any], timings: dict[str, float]) -> dict[str, Any]:
    every = read_problem(folder / "problem.h5", task, scratch=folder / "scratch")
    present = every.low.present()
    if not present:
        return {"status": "not-applicable", "reason": "nothing is present in any ion image"}
    # an ion that is nowhere is 0 in the prediction; no fit and no normalisation ever sees it
    problem = replace(every, low=every.low.select(present)) if _some(present, every) else every
    with _clock(timings, "import"):
        make = resolve_target(task["target"])
    weights = {name: Path(path) for name, path in task["weights"].items()}
    with _clock(timings, "build"):
        method = make(**task["config"], **({"weights": weights} if weights else {}))
    if isinstance(method, Trainable):
        with _clock(timings, "fit"):
            _fit(method, folder, task)
    cuts = cuts_of(task.get("each_ion_alone", False), problem)
    warm_up = getattr(method, "warm_up", None)
    if callable(warm_up):
        _, first = next(groups_of(problem, cuts))
        with _clock(timings, "warm_up"):
            warm_up(first)
    path = folder / "prediction.h5"
    done = _predict(method, problem, every, present, cuts, path, timings, task)
    timings["upscale"] = done.seconds
    if done.skip is not None:
        if len(cuts) > 1:
            path.unlink()
        return {"status": "not-applicable", "reason": done.skip.reason, "report": done.report}
    return {"status": "ok", "report": done.report}


def _predict(
    method: Method,
    problem: Problem,
    every: Problem,
    present: list[int],
    cuts: list[slice],
    path: Path,
    timings: dict[str, float],
    task: Mapping[str, Any],
) -> Upscaled:
    """Write a prediction group by group, each ion in its place among all; absent ones are 0.

    Of one group what a method gives is written whatever its shape and type: the supervisor says what is
    wrong with it.
    """
    about = {
        "schema_version": PREDICTION_SCHEMA,
        "factor": problem.factor,
        "unit": problem.low.unit,
        "pixel_size_um": problem.low.pixel_size_um / problem.factor,
    }
    shape = (every.low.channels, *every.fine_shape)
    whole = len(cuts) == 1
    with prediction_file(path, shape, present, every.low.mz, about, whole=whole) as file:
        try:
            done = upscale_in_groups(method, problem, file, cuts)
        except WrongResultError as wrong:
            if wrong.values is None or not whole:
                raise
            file[cuts[0]] = wrong.values
            report = dict(method.report()) if isinstance(method, Reporting) else {}
            done = Upscaled(wrong.seconds, report)
        if done.skip is None and isinstance(method, Uncertain):
            with _clock(timings, "interval"):
                about |= _told(method, problem, cuts, file)
        if done.skip is None and task.get("intervals"):
            with _clock(timings, "calibration"):
                done.report |= _calibrate(method, every, file, about, path.parent, task)
    return done


def _told(
    method: Uncertain, problem: Problem, cuts: list[slice], file: PredictionFile
) -> dict[str, float]:
    """Keep the interval that a method tells, group by group; return its level, nothing where it tells none."""
    for group, part in groups_of(problem, cuts):
        told = method.interval(part, level=INTERVAL_LEVEL)
        if not isinstance(told, Interval):
            return {}
        for name, ends in (("lower", told.lower), ("upper", told.upper)):
            file.put(name, group, np.asarray(ends, dtype=np.float32), absent=np.nan)
    return {"interval_level": INTERVAL_LEVEL}


def _calibrate(
    method: Method,
    problem: Problem,
    file: PredictionFile,
    about: dict[str, Any],
    folder: Path,
    task: Mapping[str, Any],
) -> dict[str, str]:
    """Keep the harness's interval beside the prediction, or say there and in the report why there is none."""
    from msibench.runner.child.calibration import calibrated_method

    why = str(task.get("no_intervals", ""))
    try:
        if not why and file.predicted(slice(0, 1)) is None:
            why = "there is no prediction of the right shape"
        if not why:
            alone = task.get("each_ion_alone", False)
            known = calibrated_method(method, problem, folder, each_ion_alone=alone)
            about["calibrated"] = _keep_intervals(known, file, task.get("never_negative", False))
            return {"intervals": f"calibrated {known.words}"}
    except Exception as error:  # the prediction stands without it
        why = reason_of(error)
    about[NOT_CALIBRATED] = why
    return {"intervals": f"not calibrated: {why}"}


def _keep_intervals(known: Calibrated, file: PredictionFile, never_negative: bool) -> str:
    """Keep the harness's intervals, a group of ion images at a time; return what the file says of them."""
    small: dict[str, list[Any]] = {"quantiles": [], "up": []}
    for group in file.groups():
        fine = file.predicted(group)
        assert fine is not None
        found = known.interval(group, fine, never_negative=never_negative)
        for name in ("reach", "signal"):
            file.put_among_all(f"calibrated_{name}", group, getattr(found, name))
        for name, values in small.items():
            values.append(getattr(found, name))
    for name, values in small.items():
        file.keep(f"calibrated_{name}", np.concatenate(values), absent=np.nan)
    file.keep("calibrated_levels", found.levels, absent=np.nan)
    return json.dumps({"words": known.words, "never_negative": never_negative}, sort_keys=True)


def _some(present: list[int], problem: Problem) -> bool:
    """Whether ions of a problem are left out."""
    return len(present) < problem.low.channels


def _with_signal(pairs: list[Pair]) -> list[Pair]:
    """Leave out of training pairs every ion that is nowhere in its coarse image."""
    kept = []
    for pair in pairs:
        present = pair.low.present()
        if len(present) == pair.low.channels:
            kept.append(pair)
        elif present:
            low, high = pair.low.select(present), pair.high.select(present)
            kept.append(replace(pair, low=low, high=high))
    return kept


def _fit(method: Trainable, folder: Path, task: dict[str, Any]) -> None:
    """Let a method learn from the training sections, or take what it learned from them before."""
    kept, pairs = folder / FIT, folder / "training.h5"
    if kept.is_file() and isinstance(method, Restorable):
        method.restore(read_arrays(kept)[0])
    elif pairs.is_file():
        budget = Budget(name=task.get("budget") or "quick")
        method.fit(_with_signal(read_pairs(pairs)), seed=task["seed"], budget=budget)
        if isinstance(method, Restorable):
            write_arrays(kept, {name: np.asarray(v) for name, v in method.learned().items()})


@contextmanager
def _clock(timings: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        timings[name] = time.perf_counter() - start


def _peaks() -> dict[str, float]:
    """Return the peak memory in MiB: resident, and on the device where torch used one."""
    peaks = {"rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    torch = sys.modules.get("torch")
    with suppress(Exception):
        if torch is not None and torch.cuda.is_available():
            peaks["vram"] = torch.cuda.max_memory_allocated() / 2**20
    return peaks


def _die_with_parent() -> None:
    """Ask the kernel to end this process when its supervisor dies."""
    parent_death_signal = 1
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _say_that_it_began() -> None:
    """Tell the supervisor that from now on the method is responsible."""
    with suppress(KeyError, ValueError, OSError):
        descriptor = int(os.environ.pop("MSIBENCH_BEGAN"))
        os.write(descriptor, b"1")
        os.close(descriptor)


def _show_where_it_stands() -> None:
    """Write every thread's stack to the log when the time is over, in a deadlock inside C, too."""
    with suppress(RuntimeError, ValueError, OSError):
        faulthandler.register(signal.SIGTERM, all_threads=True, chain=True)


if __name__ == "__main__":
    status = main(Path(sys.argv[1]))
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    # Without the interpreter's tidying-up: a thread that a method left behind may not hold the cell.
    os._exit(status)
