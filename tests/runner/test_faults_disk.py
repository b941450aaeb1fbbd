"""A disk that is full or read-only: a clear word, an exit code, nothing that was finished is lost."""

import errno
import gc
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from msibench.errors import MSIBenchError, StoreError
from msibench.leaderboard.page import write_page
from msibench.leaderboard.render import write_leaderboard
from msibench.results.arrays import read_arrays, write_arrays
from msibench.results.files import advice, explained, write_atomically, write_together
from msibench.results.index import index_path, update_index
from msibench.results.problems import read_problem
from msibench.results.schema import Status
from msibench.results.store import METRICS, PREDICTION, Store
from msibench.runner import executors
from msibench.runner.child.job import Outcome
from msibench.runner.scores.rescore import rescore
from msibench.runner.track_facts import collect_track_facts, index_cells

WRITES = {
    "fsync": (os, "fsync"),
    "make a folder": (Path, "mkdir"),
    "rename": (Path, "rename"),
    "replace": (Path, "replace"),
    "write": (Path, "write_bytes"),
    "copy": (shutil, "copyfile"),
    "link": (os, "link"),
    "HDF5": (h5py, "File"),
}


class Instant:
    """Runs cells in this process, so that a sweep over every write costs seconds."""

    def __init__(self, **_):
        pass

    def run(self, jobs):
        for job in jobs:
            low = read_problem(job.folder / "problem.h5", {}).low
            values = low.values.repeat(4, 1).repeat(4, 2)
            write_arrays(job.folder / PREDICTION, {"prediction": values, "mz": low.mz})
            yield job, Outcome(status=Status.OK, timings={"upscale": 1.0})


@pytest.fixture
def instant(monkeypatch, tmp_path):
    place = tmp_path / "instant.py"
    place.write_text(f"import sys\nInstant = sys.modules[{__name__!r}].Instant\n")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.setattr(executors, "BUILT_IN", {"local": f"{place}:Instant"})
    monkeypatch.setattr("msibench.runner.supervisor.BUILT_IN", {"local": f"{place}:Instant"})


@contextmanager
def failing(monkeypatch, write, number, nth):
    """Let the `nth` call of one kind of write fail, and all after it; yield how many there were."""
    owner, name = WRITES[write]
    real, calls = getattr(owner, name), []

    def maybe(*arguments, **options):
        if write == "HDF5" and "w" not in {*arguments[1:2], options.get("mode")}:
            return real(*arguments, **options)
        calls.append(arguments)
        if len(calls) >= nth:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, maybe)
        yield calls


def error_of(function):
    """Return the error that a function ends with; None without one."""
    try:
        function()
    except MSIBenchError as error:
        return error
    return None


def stored_bytes(store):
    return {r.key: (r.status, r.files[PREDICTION], r.files[METRICS]) for r in store.records()}


def everything(bench, plan):
    """Index and run as the command line does."""
    update_index(
        bench.store, "tiny", index_cells(plan.cells), collect_track_facts(plan, bench.catalogue)
    )
    bench.run("Sound", "bicubic")


@pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.slow, id="each")])
@pytest.mark.parametrize("write", sorted(WRITES))
def test_any_single_write_may_be_the_one_that_fails(
    instant, make_bench, tmp_path, monkeypatch, write, step
):
    bench = make_bench(tmp_path / "undisturbed")
    plan = bench.plan("Sound", "bicubic")
    everything(bench, plan)
    expected = stored_bytes(bench.store)
    failed = 0
    for nth in range(1, 200, step):
        root = tmp_path / str(nth)
        bench = make_bench(root)
        with failing(monkeypatch, write, errno.ENOSPC, nth) as calls:
            error = error_of(lambda bench=bench: everything(bench, plan))
        if error is not None:
            failed += 1
            assert str(root) in str(error)
            assert "the disk is full: free some space" in str(error)
            assert error.exit_code == 2
        for record in bench.store.records():
            bench.store.check_files(record)
            assert expected[record.key][1] == record.files[PREDICTION]
        assert not list((root / "leases").glob("*.json"))
        everything(bench, plan)
        assert stored_bytes(bench.store) == expected
        shutil.rmtree(root)
        if len(calls) < nth:
            break
    else:
        pytest.fail("there is no end to the writes of a run")
    assert failed or write == "link"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full: free some space"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EFBIG, "the disk is full"),
        (errno.EROFS, "choose another folder with --results"),
        (errno.EACCES, "choose another folder with --results"),
        (errno.ENOENT, "put the results folder back"),
        (errno.ESTALE, "put the results folder back"),
        (errno.EIO, "run again when it can be written"),
    ],
)
def test_each_fault_of_a_disk_has_its_advice(number, said):
    with (
        pytest.raises(StoreError, match=r"/some/folder") as caught,
        explained(Path("/some/folder")),
    ):
        raise OSError(number, os.strerror(number))
    assert said in str(caught.value)
    hdf5 = OSError(f"Can't write data (file write failed: errno = {number}, error message = '')")
    if number in {errno.ENOSPC, errno.EROFS, errno.EACCES}:
        assert said in advice(hdf5)


def test_an_error_that_explains_itself_is_not_explained_again():
    from msibench.errors import MissingDataError

    with pytest.raises(MissingDataError), explained(Path("/some/folder")):
        raise MissingDataError("fetch it")


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_set_of_files_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch, nth):
    old = {tmp_path / name: name.encode() for name in "abc"}
    write_together(old)
    with failing(monkeypatch, "fsync", errno.ENOSPC, nth):
        error = error_of(lambda: write_together(dict.fromkeys(old, b"new")))
    if error is None:
        assert nth == 4  # flushing the folder itself may fail: the files are there
    else:
        assert {path: path.read_bytes() for path in old} == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


@pytest.fixture(scope="module")
def ranked(tmp_path_factory, make_bench):
    bench = make_bench(tmp_path_factory.mktemp("ranked"))
    plan = bench.plan("Sound", "bicubic")
    everything(bench, plan)
    return bench, plan


@pytest.mark.parametrize(
    ("write", "nth"),
    [
        ("board", 2),
        ("page", 1),
        *(pytest.param("board", nth, marks=pytest.mark.slow) for nth in (1, 3)),
    ],
)
def test_a_leaderboard_or_page_that_stood_before_stays_whole(
    ranked, tmp_path, monkeypatch, write, nth
):
    bench, plan = ranked
    folder = tmp_path / "board"

    def make():
        if write == "board":
            write_leaderboard(bench.store, plan.track, folder)
        else:
            write_page(bench.store, plan.track, folder, max_images=1)

    make()
    for path in folder.iterdir():  # an older one: every file must be written anew
        if path.suffix == ".parquet":
            pd.read_parquet(path).to_parquet(path, compression=None)
        else:
            path.write_bytes(path.read_bytes() + b" ")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with (
        failing(monkeypatch, "fsync", errno.ENOSPC, nth),
        pytest.raises(StoreError, match=str(folder)),
    ):
        make()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_index_that_stood_before_stays_whole(ranked, monkeypatch):
    bench, _ = ranked
    before = index_path(bench.store, "tiny").read_bytes()
    with failing(monkeypatch, "fsync", errno.ENOSPC, 1), pytest.raises(StoreError):
        update_index(bench.store, "tiny", {"x": "y"}, {})
    assert index_path(bench.store, "tiny").read_bytes() == before
    assert not list((bench.store.root / "leases").iterdir())


@pytest.mark.parametrize("nth", [1, 2, 4, 6])
def test_scoring_again_on_a_full_disk_keeps_the_old_scores(ranked, monkeypatch, tmp_path, nth):
    bench, plan = ranked
    shutil.copytree(bench.store.root, tmp_path / "copy")
    store = Store.open(tmp_path / "copy")
    key = plan.cells[0].key
    before = store.record(key)
    metrics = [bench.catalogue.metric("rmse")]
    with failing(monkeypatch, "fsync", errno.ENOSPC, nth):
        error = error_of(lambda: rescore(store, [key], metrics, force=True))
    assert error is None or "free some space" in str(error)
    store.check_files(store.record(key))
    assert np.isfinite(store.metric_rows(store.record(key))["value"]).all()
    assert store.record(key).files[PREDICTION] == before.files[PREDICTION]


# -- a real file system ------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """Mount 1.5 MiB of memory; skip where that is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1536k", "msibench-test", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def remount(place, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def fill(place, room):
    """Leave `room` bytes."""
    facts = os.statvfs(place)
    free = facts.f_bavail * facts.f_frsize
    with (place / "ballast").open("wb") as stream:
        stream.write(bytes(max(0, free - room)))


def run_apart(results, *extra):
    """Run the command line in a process of its own: HDF5 is not sound after a write that failed."""
    what = ["run", "quickstart", "--methods", "nearest", "--sections", "synthetic-1", "--json"]
    command = [sys.executable, "-m", "msibench.cli.main", *what, "--results", str(results), *extra]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "room",
    [
        pytest.param(n, marks=pytest.mark.slow)
        for n in (0, 30_000, 100_000, 600_000, 1_700_000, 2_200_000)
    ],
)  # the short version is a fork: tests/cli/test_full_disks.py
def test_a_disk_that_really_fills_up(small_disk, room):
    remount(small_disk, "size=64m")
    results = small_disk / "results"
    fill(small_disk, room)
    first = run_apart(results)
    assert first.returncode in {2, 3}, first.stderr
    assert "the disk is full: free some space" in first.stderr + first.stdout
    assert str(small_disk) in first.stderr + first.stdout
    (small_disk / "ballast").unlink()
    again = run_apart(results, "--retry", "failed")
    assert again.returncode == 0, again.stderr
    store = Store.open(results)
    for record in store.records():
        assert record.status is Status.OK
        store.check_files(record)


@pytest.mark.parametrize(
    "room", [0, 40_000, *(pytest.param(n, marks=pytest.mark.slow) for n in (4096, 200_000))]
)
def test_hdf5_is_sound_after_a_write_that_found_no_room(small_disk, tmp_path, room):
    """Left alone it warns while arrays are let go, and crashes at the next file or at the end."""
    arrays = {
        name: np.random.default_rng(0).random((8, 90, 100), dtype=np.float32) for name in "abc"
    }
    fill(small_disk, room)
    for number in range(4):
        with pytest.raises(OSError, match="No space left") as caught:
            write_arrays(small_disk / f"{number}.h5", arrays, {"facts": "x" * 5000})
        assert caught.value.errno == errno.ENOSPC
    gc.collect()
    write_arrays(tmp_path / "sound.h5", arrays)
    np.testing.assert_array_equal(read_arrays(tmp_path / "sound.h5")[0]["c"], arrays["c"])


def test_a_file_system_that_turns_read_only(make_bench, small_disk):
    remount(small_disk, "size=64m")
    bench = make_bench(small_disk / "results")
    bench.run("Sound")
    before = stored_bytes(bench.store)
    remount(small_disk, "ro")
    with pytest.raises(StoreError, match="choose another folder with --results"):
        bench.run("Sound", "bicubic")
    with pytest.raises(StoreError, match="choose another folder with --results"):
        Store.open(small_disk / "other")
    with pytest.raises(StoreError, match="choose another folder with --results"):
        write_atomically(small_disk / "page.html", "x")
    assert stored_bytes(bench.store) == before
    summary, _ = bench.run("Sound")  # what is stored can still be read
    assert summary.cached == 1
    remount(small_disk, "rw")
    assert bench.run("Sound", "bicubic")[0].counts == {"ok": 2}
