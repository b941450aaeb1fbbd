"""Scores from processes of their own: the same numbers, whatever happens to the processes."""

import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from msibench.errors import IntegrityError
from msibench.metrics.specs import builtin_metrics
from msibench.results.arrays import write_arrays
from msibench.results.store import METRICS
from msibench.runner.options import RunOptions
from msibench.runner.problems.stage import stage
from msibench.runner.scores import scoring_processes
from msibench.runner.scores.prediction_scores import Asked, answer
from msibench.runner.scores.scoring_processes import ScoringEndedError, ScoringProcesses, _Channel
from msibench.runner.supervisor import Supervisor

METRICS_OF_ONE_IMAGE = tuple(s for s in builtin_metrics() if s.name in {"psnr", "ssim"})


@pytest.fixture
def at_once(monkeypatch):
    """Processes are started for the first prediction, and waited for."""
    monkeypatch.setattr(ScoringProcesses, "_pays", lambda self: self._threads > 1)
    ready = _Channel.is_ready

    def waited_for(channel):
        channel._connection.poll(None) if not channel._ready else None
        return ready(channel)

    monkeypatch.setattr(_Channel, "is_ready", waited_for)


@pytest.fixture
def asked(bench, tmp_path):
    cell = bench.plan("bicubic").cells[0]
    staged = stage(cell.problem, bench.store)
    shape = (14, 48, 56)
    guess = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    write_arrays(tmp_path / "prediction.h5", {"prediction": guess})
    return Asked(tmp_path / "prediction.h5", staged, cell.spec, METRICS_OF_ONE_IMAGE, 0)


@pytest.fixture
def processes(at_once):
    made = ScoringProcesses(2, 10)
    yield made
    made.close()


def test_a_process_answers_as_this_one_does_and_ends_with_whoever_asks(asked, processes):
    here = answer(asked)
    assert here.rows
    assert processes(asked) == here
    assert processes(replace(asked, metrics=None)) == answer(replace(asked, metrics=None))
    assert not processes._seconds[1:]  # only what is checked alone was done here
    write_arrays(asked.prediction, {"prediction": np.full((14, 48, 56), np.nan, np.float32)})
    assert "NaN or infinite" in processes(asked).fault
    with pytest.raises(IntegrityError, match="section"):
        processes(replace(asked, staged=asked.staged / "nowhere"))
    assert processes(replace(asked, seed=1)).fault
    for channel in processes._free:
        channel.close()
    assert processes._group.wait(60) == 0


def test_what_a_killed_process_was_at_is_scored_here(asked, processes):
    here = answer(asked)
    processes(asked)
    os.killpg(processes._group.pid, signal.SIGKILL)
    processes._group.wait()
    assert processes(asked) == here
    assert processes(asked) == here


def test_the_end_of_a_run_waits_for_no_process(asked, processes, tmp_path):
    processes(asked)
    os.killpg(processes._group.pid, signal.SIGSTOP)
    raised = []

    def ask():
        try:
            processes(asked)
        except ScoringEndedError as error:
            raised.append(error)

    waiting = threading.Thread(target=ask)
    waiting.start()
    while len(processes._free) > 1:
        time.sleep(0.01)
    processes.close()
    waiting.join(60)
    assert raised
    assert processes._group.returncode == -signal.SIGKILL


def test_a_single_thread_and_short_work_stay_here(asked):
    alone, short = ScoringProcesses(1, 10**6), ScoringProcesses(2, 3)
    for some in (alone, short):
        some._seconds = [0.01]
        some(asked)
        assert some._group is None
    long = ScoringProcesses(2, 10**6)
    long._seconds = [0.01]
    assert long._pays()
    assert scoring_processes.PAYS_S > 0


def test_a_run_gives_the_same_bytes_with_processes_and_without(
    bench, request, make_bench, tmp_path
):
    plan = bench.plan("nearest", "bicubic")
    Supervisor(bench.store, bench.catalogue, RunOptions(threads=1)).run(plan)
    request.getfixturevalue("at_once")
    other = make_bench(tmp_path / "processes")
    Supervisor(other.store, other.catalogue, RunOptions(threads=1, jobs=2)).run(plan)
    for cell in plan.cells:
        mine, theirs = (each.store.record(cell.key) for each in (bench, other))
        assert mine.files[METRICS] == theirs.files[METRICS]
        assert (mine.scores, mine.rows_digest) == (theirs.scores, theirs.rows_digest)
        assert mine.status == theirs.status == "ok"
