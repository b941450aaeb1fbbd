"""Whatever a method does costs its own cell and nothing else."""

import psutil
import pytest

from msibench.results.schema import Status
from msibench.runner.child import watch
from msibench.runner.child.bounded_log import LOG_HEAD, LOG_TAIL
from msibench.runner.options import RunOptions


@pytest.mark.parametrize(
    ("method", "status", "said"),
    [
        ("Raises", Status.FAILED, "RuntimeError: the matrix is singular"),
        ("FailsToBuild", Status.FAILED, "ValueError: no such activation"),
        ("ExitsQuietly", Status.FAILED, "left no result; last output: leaving"),
        ("Segfaults", Status.KILLED, "SIGSEGV"),
        (
            "KilledFromOutside",
            Status.KILLED,
            "SIGKILL (often the kernel's out-of-memory killer), and it printed nothing",
        ),
        ("RunsOutOfMemory", Status.OOM, "MemoryError: cannot allocate"),
        ("WritesNaN", Status.INVALID_OUTPUT, "1 of"),
        ("WrongShape", Status.INVALID_OUTPUT, "expected (channel, row, column) = (14, 48, 56)"),
        ("WrongType", Status.INVALID_OUTPUT, "expected float32, got float64"),
        ("Negative", Status.INVALID_OUTPUT, "negative intensities down to -1"),
        ("ReturnsNothing", Status.FAILED, "has no native HDF5"),
        ("Declines", Status.NOT_APPLICABLE, "needs a larger section"),
    ],
)
def test_how_a_cell_ended_is_told(bench, method, status, said):
    _, records = bench.run(method)
    assert records[method].status is status
    assert said in records[method].reason
    assert records[method].scores == {}
    folder = bench.store.cell_folder(records[method].key)
    assert not (folder / "prediction.h5").exists()


def test_a_method_that_hangs_is_ended_at_its_limit(bench):
    _, records = bench.run(
        "Hangs", "IgnoresSigterm", limits={"timeout_s": 2.0}, options=RunOptions(jobs=2)
    )
    assert records["Hangs"].status is Status.TIMEOUT
    assert records["IgnoresSigterm"].status is Status.TIMEOUT
    assert "longer than 2 s" in records["Hangs"].reason


def test_a_method_that_eats_all_memory_is_ended_before_the_machine_is(bench):
    _, records = bench.run("EatsMemory", options=RunOptions(memory_gb=0.5))
    assert records["EatsMemory"].status is Status.OOM
    assert "--memory" in records["EatsMemory"].reason
    assert records["EatsMemory"].peaks["rss"] < 1500


def test_a_bad_method_does_not_touch_its_neighbours(bench):
    summary, records = bench.run("Raises", "Sound", "Segfaults", "bicubic")
    assert records["Sound"].status is Status.OK
    assert records["bicubic"].status is Status.OK, records["bicubic"].reason
    assert summary.counts == {"failed": 1, "ok": 2, "killed": 1}


def test_a_cell_that_ends_before_it_is_watched_keeps_its_seconds(bench, monkeypatch):
    """As on a busy machine, where the supervisor waits for its turn while the cell works."""
    begin = watch._begin

    def begin_and_wait(*arguments):
        process = begin(*arguments)
        process.wait(30)
        return process

    monkeypatch.setattr(watch, "_begin", begin_and_wait)
    _, records = bench.run("TakesAMoment")
    assert records["TakesAMoment"].timings["upscale"] >= 0.3


def test_the_log_tells_what_happened(bench):
    _, records = bench.run("Raises", "Sound")
    log = (bench.store.cell_folder(records["Raises"].key) / "log.txt").read_text()
    assert "Traceback" in log
    assert "the matrix is singular" in log
    sound = (bench.store.cell_folder(records["Sound"].key) / "log.txt").read_text()
    assert sound == "all is well\n"


def test_a_flood_of_output_keeps_its_start_and_its_end(bench):
    _, records = bench.run("FloodsTheLog")
    assert records["FloodsTheLog"].status is Status.OK
    log = (bench.store.cell_folder(records["FloodsTheLog"].key) / "log.txt").read_text()
    assert len(log) < LOG_HEAD + 2 * LOG_TAIL
    assert "bytes left out" in log
    assert log.endswith("the last line\n")


def test_no_process_is_left_behind(bench):
    before = {process.pid for process in psutil.process_iter()}
    _, records = bench.run("LeavesAProcessBehind", "DeadlocksAtExit")
    assert {record.status for record in records.values()} == {Status.OK}
    keys = {record.key for record in records.values()}
    for process in psutil.process_iter():
        if process.pid in before:
            continue
        try:
            assert process.environ().get("MSIBENCH_CELL", "").partition(":")[0] not in keys
        except psutil.Error:
            continue


def test_the_truth_is_not_where_a_method_runs(bench):
    _, records = bench.run("LooksForTheTruth")
    assert records["LooksForTheTruth"].status is Status.OK
    log = (bench.store.cell_folder(records["LooksForTheTruth"].key) / "log.txt").read_text()
    assert "problem.h5" in log


def test_slots_share_the_cores(bench):
    _, records = bench.run("SaysItsThreads", options=RunOptions(jobs=2, threads=1))
    log = (bench.store.cell_folder(records["SaysItsThreads"].key) / "log.txt").read_text()
    assert log.startswith("threads 1 key")
