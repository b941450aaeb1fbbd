"""What a child says, prints and leaves behind is bounded, and read with suspicion."""

import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.results.schema import Status
from msibench.runner.child import disk_use
from msibench.runner.child.bounded_log import LOG_HEAD, LOG_TAIL
from msibench.runner.child.job import Job
from msibench.runner.child.outcome import (
    MOST_NUMBERS,
    SAYABLE,
    classify,
    numbers,
    read_result,
    reason_of,
    status_of,
    telling_lines,
)
from msibench.runner.child.watch import run_child
from msibench.runner.options import RunOptions

OK = '{"status": "ok", "timings": {"upscale": 0.1}}'
DEEP = '{"status": "ok", "report": ' + "[" * 700 + "]" * 700 + "}"
VERY_DEEP = '{"status": "ok", "report": ' + "[" * 100_000 + "]" * 100_000 + "}"
STRANGE = (
    '{"status": "failed", "reason": "half a letter: \\ud83d", '
    '"report": {"loss": [NaN, Infinity, 1e999], "\\udc80": 1}, '
    '"timings": {"upscale": NaN, "fit": -5, "build": 1e300, "import": true, "x": "1"}, '
    '"peaks": {"rss": 1e30, "vram": -1}}'
)


# -- a child's word ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def liars(tmp_path_factory, make_bench):
    """Return the record of every liar, run side by side."""
    bench = make_bench(tmp_path_factory.mktemp("liars"))
    wanted = {
        "no prediction": {"result": OK},
        "link": {"result": OK, "prediction": "link"},
        "pipe": {"result": OK, "prediction": "pipe"},
        "folder": {"result": OK, "prediction": "folder"},
        "second name": {"result": OK, "prediction": "second name"},
        "words": {"result": OK, "prediction": "words"},
        "holes": {"result": OK, "prediction": "holes"},
        "strange": {"result": STRANGE},
        "deep": {"result": DEEP},
        "very deep": {"result": VERY_DEEP},
        "killed": {"result": '{"status": "killed"}'},
        "cancelled": {"result": '{"status": "cancelled"}'},
        "list": {"result": '{"status": ["ok"], "reason": {"a": 1}, "report": 7}'},
        "no json": {"result": '{"status": "ok"'},
        "array": {"result": "[1, 2]"},
    }
    entries = [bench.entry("Lies", label, **config) for label, config in wanted.items()]
    _, records = bench.run(*entries, options=RunOptions(jobs=6, threads=1))
    assert not list((bench.store.root / "work").iterdir())
    return bench, records


@pytest.mark.parametrize(
    ("label", "status", "said"),
    [
        ("no prediction", Status.INVALID_OUTPUT, "left no prediction"),
        ("link", Status.INVALID_OUTPUT, "left no prediction"),
        ("pipe", Status.INVALID_OUTPUT, "left no prediction"),
        ("folder", Status.INVALID_OUTPUT, "left no prediction"),
        ("second name", Status.INVALID_OUTPUT, "left no prediction"),
        ("words", Status.INVALID_OUTPUT, "prediction.h5 cannot be read as HDF5"),
        ("holes", Status.INVALID_OUTPUT, "prediction.h5 is 1048576 MiB long; a prediction of"),
        ("strange", Status.FAILED, "half a letter: ?"),
        ("deep", Status.FAILED, "left no result"),
        ("very deep", Status.FAILED, "left no result"),
        ("killed", Status.FAILED, "left no result"),
        ("cancelled", Status.FAILED, "left no result"),
        ("list", Status.FAILED, "left no result"),
        ("no json", Status.FAILED, "left no result"),
        ("array", Status.FAILED, "left no result"),
    ],
)
def test_a_lie_costs_its_own_cell(liars, label, status, said):
    bench, records = liars
    assert records[label].status is status
    assert said in records[label].reason
    folder = bench.store.cell_folder(records[label].key)
    assert {path.name for path in folder.iterdir()} == {"record.json", "log.txt"}


def test_numbers_that_cannot_be_are_not_kept(liars):
    _, records = liars
    record = records["strange"]
    assert set(record.timings) == {"wall"}
    assert set(record.peaks) == {"rss"}
    assert record.peaks["rss"] < 1e5
    assert record.report["loss"] == ["nan", "inf", "inf"]


@given(
    st.dictionaries(
        st.text(max_size=80),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        max_size=100,
    )
)
def test_what_is_kept_of_numbers_is_sound(found):
    kept = numbers(found, at_most=60.0)
    assert len(kept) <= MOST_NUMBERS
    assert all(0 <= value <= 60 and isinstance(value, float) for value in kept.values())
    assert all(len(name) <= 64 for name in kept)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


@given(content=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_result_file_gives_a_verdict_that_can_be_written(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "result.json"
    path.write_bytes(content)
    result = read_result(path)
    status, reason = classify(0, result, "")
    assert status in SAYABLE | {Status.CANCELLED}
    json.dumps([result, reason], allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "device", "missing", "large"])
def test_a_result_that_is_no_plain_file_is_not_read(tmp_path, kind):
    path = tmp_path / "result.json"
    if kind == "link":
        (tmp_path / "other").write_text(OK)
        path.symlink_to(tmp_path / "other")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "large":
        path.write_bytes(b" " * (17 << 20) + OK.encode())
    assert read_result(path) == {}


# -- how errors are called ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("cannot allocate"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be …"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …"),
        RuntimeError("cudaErrorMemoryAllocation: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes"),
        RuntimeError("std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_every_librarys_word_for_no_memory_is_known(error):
    assert status_of(error) is Status.OOM
    wrapped = ValueError("the tile failed")
    wrapped.__cause__ = error
    assert status_of(wrapped) is Status.OOM


def test_torchs_own_errors_are_known():
    torch = pytest.importorskip("torch")
    assert status_of(torch.cuda.OutOfMemoryError("CUDA out of memory.")) is Status.OOM
    assert status_of(torch.OutOfMemoryError("out of memory")) is Status.OOM


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the matrix is singular"),
        ValueError("out of memory of the parser's table"),  # words alone do not make it one
        OSError(errno.ENOENT, "No such file"),
        KeyError("memory"),
    ],
)
def test_other_errors_are_failures(error):
    assert status_of(error) is Status.FAILED


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_so_also_by_way_of_hdf5(number):
    plain = OSError(number, os.strerror(number))
    hdf5 = OSError(f"Can't write data (errno = {number}, error message = 'x')")
    wrapped = RuntimeError("tiles")
    wrapped.__cause__ = plain
    for error in (plain, hdf5, wrapped):
        assert reason_of(error).startswith("the disk is full: free some space")
    assert not reason_of(OSError(errno.EIO, "x")).startswith("the disk is full")


def test_an_error_that_causes_itself_is_called_once():
    error = RuntimeError("a")
    error.__context__ = RuntimeError("b")
    error.__context__.__context__ = error
    assert status_of(error) is Status.FAILED


def test_a_crash_is_told_by_its_name_and_its_line_not_by_its_stack():
    log = (
        "loading\nbad thing ahead\nFatal Python error: Segmentation fault\n\n"
        "Current thread 0x1 (most recent call first):\n"
        '  File "m.py", line 3 in upscale\n  File "cell.py", line 9 in main\n'
        "Extension modules: numpy\n"
    )
    told = telling_lines(log)
    assert told.startswith("loading | bad thing ahead | Fatal Python error: Segmentation fault | ")
    assert told.endswith('File "m.py", line 3 in upscale')


# -- output and disk ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "megabytes", [200, pytest.param(10_000, marks=pytest.mark.slow, id="10 GB")]
)
def test_output_without_end_is_drained_and_bounded(bench, megabytes):
    entry = bench.entry("PrintsMuch", megabytes=megabytes)
    _, records = bench.run(entry, limits={"timeout_s": 600.0})
    record = records["PrintsMuch"]
    assert record.status is Status.OK
    log = bench.store.cell_folder(record.key) / "log.txt"
    assert log.stat().st_size < LOG_HEAD + 2 * LOG_TAIL
    text = log.read_text()
    assert text.startswith("no line ends here")
    assert text.endswith("the end\n")
    dropped = int(text.partition("… ")[2].partition(" bytes left out")[0])
    assert dropped > megabytes * 1_000_000 - LOG_HEAD - 2 * LOG_TAIL


@pytest.fixture(scope="module")
def untidy(tmp_path_factory, make_bench):
    bench = make_bench(tmp_path_factory.mktemp("untidy"))
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "log.txt").write_text("precious")
    entries = [
        "ClosesItsOutput", "FillsItsScratch", "RewritesItsCell", "RemovesItsFolder",
        bench.entry("PutsALinkInItsPlace", elsewhere=str(elsewhere)),
    ]  # fmt: skip
    _, records = bench.run(
        *entries, options=RunOptions(jobs=5, threads=1, disk_gb=0.05, sandbox="none")
    )
    return bench, records, elsewhere


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("ClosesItsOutput", Status.OK, ""),
        (
            "FillsItsScratch",
            Status.KILLED,
            "where 0.05 GiB are allowed; raise the limit with --disk",
        ),
        ("RewritesItsCell", Status.OK, ""),
        ("RemovesItsFolder", Status.FAILED, "its own folder was missing or a link"),
        ("PutsALinkInItsPlace", Status.FAILED, "its own folder was missing or a link"),
    ],
)
def test_a_method_that_leaves_a_mess_pays_for_it_alone(untidy, name, status, said):
    bench, records, _ = untidy
    assert records[name].status is status
    assert said in records[name].reason
    bench.store.check_files(records[name])


def test_a_link_in_a_folders_place_is_not_followed(untidy):
    _, _, elsewhere = untidy
    assert (elsewhere / "log.txt").read_text() == "precious"
    assert [path.name for path in elsewhere.iterdir()] == ["log.txt"]


def test_what_a_method_moved_out_of_its_folder_is_swept_once_its_run_is_over(untidy, monkeypatch):
    bench, _, _ = untidy
    (left,) = (bench.store.root / "work").iterdir()
    assert left.name.endswith(".moved")
    bench.store.sweep()
    assert left.exists()  # its run is this process, which lives
    left.rename(left.with_name(left.name.replace(f"-{os.getpid()}-", "-4194303-")))
    bench.store.sweep()
    assert not list((bench.store.root / "work").iterdir())


def test_a_methods_last_words_are_stored_without_escape_sequences(tmp_path):
    (tmp_path / "cell.json").write_text('{"target": "msibench.\\u001b[31m:x"}')
    ended = run_child(Job(key="k", folder=tmp_path, timeout_s=60.0))
    assert "\x1b" not in ended.reason


def test_many_small_files_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_use, "MOST_FILES", 50)
    for number in range(60):
        (tmp_path / str(number)).touch()
    assert disk_use.too_much(tmp_path, 1 << 30) == "wrote more than 50 files"


def test_disk_use_counts_blocks_below_and_follows_no_link(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "file").write_bytes(bytes(100_000))
    (tmp_path / "loop").symlink_to(tmp_path)
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    held, files = disk_use.disk_use(tmp_path)
    assert 100_000 <= held < 1_000_000
    assert files == 5
