"""Slots, cores and GPUs of one machine, shared out between cells (the GPUs are pretended)."""

import os
import threading
import time
from pathlib import Path

import pytest

from msibench.results.schema import Status
from msibench.runner.child.job import Job, Outcome
from msibench.runner.child.watch import child_environment, common_environment
from msibench.runner.executors import local
from msibench.runner.executors.gpus import GPU, GPUs, names
from msibench.runner.executors.local import LocalExecutor, fair_share, group_limits, usable_cores


class Watched:
    """Stands in for `run_child`: notes what every cell was given, and who ran beside it."""

    def __init__(self, seconds=0.05):
        self.seconds, self.seen, self.beside = seconds, [], []
        self._running, self._lock = [], threading.Lock()

    def __call__(self, job, stop=None):
        with self._lock:
            self._running.append(job)
            self.seen.append(job)
            self.beside.append([(each.environment, each.vram_gb) for each in self._running])
        time.sleep(self.seconds)
        with self._lock:
            self._running.remove(job)
        return Outcome(status=Status.OK)

    def load_of(self, gpu):
        """Return the most memory that cells on a GPU had declared at one time."""
        return max(
            sum(gb for environment, gb in now if environment["CUDA_VISIBLE_DEVICES"] == gpu)
            for now in self.beside
        )


def job(number, **facts):
    return Job(key=f"k{number}", folder=Path(), timeout_s=10.0, **facts)


@pytest.fixture
def run(monkeypatch):
    def run(jobs, *, slots, gpus=None, watched=None):
        watched = watched or Watched()
        monkeypatch.setattr(local, "run_child", watched)
        monkeypatch.setattr(local, "visible_gpus", lambda: gpus or [])
        executor = LocalExecutor(slots=slots, options={"cuda": gpus is not None})
        outcomes = [outcome for _, outcome in executor.run(iter(jobs))]
        assert len(outcomes) == len(jobs)
        return watched

    return run


def test_as_many_cells_run_side_by_side_as_there_are_slots(run):
    assert max(map(len, run([job(i) for i in range(9)], slots=3).beside)) == 3


def test_children_share_the_cores_and_the_memory(run):
    seen = run([job(0), job(1, threads=7, memory_bytes=5)], slots=2).seen
    default, told = sorted(seen, key=lambda each: each.threads == 7)
    assert default.threads == max(1, usable_cores() // 2)
    assert default.memory_bytes == fair_share(2)
    assert (told.threads, told.memory_bytes) == (7, 5)


def test_every_library_of_a_child_is_given_its_threads(tmp_path):
    job = Job(key="k", folder=tmp_path, timeout_s=1, threads=3)
    given = child_environment(job, common_environment(3, job.sandbox))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        assert given[name] == "3"


def test_a_cell_on_the_cpu_sees_no_gpu(run):
    assert run([job(0)], slots=1, gpus=[GPU("0", 24.0)]).seen[0].environment == {
        "CUDA_VISIBLE_DEVICES": ""
    }


def test_cells_share_a_gpu_by_the_memory_that_they_declare(run):
    watched = run([job(i, vram_gb=8.0) for i in range(8)], slots=8, gpus=[GPU("0", 24.0)])
    assert {each.environment["CUDA_VISIBLE_DEVICES"] for each in watched.seen} == {"0"}
    assert max(map(len, watched.beside)) == 3
    assert watched.load_of("0") == 24.0


def test_cells_spread_over_the_gpus_and_never_over_fill_one(run):
    gpus = [GPU("3", 24.0), GPU("GPU-8d1c", 16.0)]
    jobs = [job(i, vram_gb=gb) for i, gb in enumerate([10.0, 12.0, 5.0, 16.0, 3.0, 20.0] * 4)]
    watched = run(jobs, slots=6, gpus=gpus, watched=Watched(0.02))
    used = {each.environment["CUDA_VISIBLE_DEVICES"] for each in watched.seen}
    assert used == {"3", "GPU-8d1c"}
    assert watched.load_of("3") <= 24.0
    assert watched.load_of("GPU-8d1c") <= 16.0


def test_a_cell_that_wants_more_than_any_gpu_has_gets_one_to_itself(run):
    watched = run([job(i, vram_gb=80.0) for i in range(3)], slots=3, gpus=[GPU("0", 24.0)])
    assert max(map(len, watched.beside)) == 1


def test_a_late_cell_waits_for_room_even_where_little_was_free_when_it_came():
    gpus, stop = GPUs([GPU("0", 24.0)]), threading.Event()
    assert gpus.take(20.0, stop) == "0"
    late = []
    thread = threading.Thread(target=lambda: late.append(gpus.take(8.0, stop)))
    thread.start()
    time.sleep(0.4)
    assert late == []
    gpus.give_back("0", 20.0)
    thread.join(5)
    assert late == ["0"]


def test_waiting_for_a_gpu_ends_with_the_run():
    gpus, stop = GPUs([GPU("0", 24.0)]), threading.Event()
    gpus.take(24.0, stop)
    threading.Timer(0.2, stop.set).start()
    assert gpus.take(1.0, stop) is None
    assert GPUs([]).take(1.0, threading.Event()) is None


@pytest.mark.parametrize(
    ("given", "count", "expected"),
    [
        ("", 2, ["0", "1"]),
        ("2,5", 2, ["2", "5"]),
        ("GPU-8d1c, MIG-77", 2, ["GPU-8d1c", "MIG-77"]),
        ("3", 1, ["3"]),
        ("1,-1,2", 1, ["1"]),  # CUDA stops at the first that does not exist
    ],
)
def test_a_child_is_shown_a_gpu_by_the_name_that_this_process_knows_it_by(given, count, expected):
    assert names(count, {"CUDA_VISIBLE_DEVICES": given}) == expected


def test_cores_are_those_that_this_process_may_use():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("line", "file", "text", "expected"),
    [
        ("0::/job_7\n", "job_7/memory.max", "1000\n", 1000),
        ("0::/job_7\n", "job_7/memory.max", "max\n", 1 << 62),
        ("5:cpu,memory:/job_7\n", "memory/job_7/memory.limit_in_bytes", "77\n", 77),
        ("rubbish\n", "x", "1", 1 << 62),
    ],
)
def test_a_container_s_memory_is_not_the_machine_s(tmp_path, line, file, text, expected):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    (tmp_path / "own").write_text(line)
    assert min(group_limits(tmp_path, tmp_path / "own")) == expected
