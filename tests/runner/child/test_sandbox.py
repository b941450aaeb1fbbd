"""What a method may not do, it cannot do; what it may, gives the same bytes."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from msibench.results.schema import Status
from msibench.runner.child.sandbox import command as sandbox
from msibench.runner.child.watch import Job, command_of
from msibench.runner.options import RunOptions
from msibench.runner.plan import make_plan
from msibench.runner.supervisor import Supervisor
from msibench.tracks import Entry, Limits, ProblemSet, Track

SNEAKY = Path(__file__).with_name("sneaky.py")
REASONS = {kind: sandbox.why_not(kind) for kind in sandbox.KINDS}


@pytest.fixture(params=sandbox.KINDS)
def kind(request):
    if REASONS[request.param]:
        pytest.skip(f"no {request.param} here: {REASONS[request.param]}")
    return request.param


WORKING = [kind for kind in sandbox.KINDS if not REASONS[kind]]


@pytest.fixture(
    params=[
        pytest.param(kind, marks=[pytest.mark.slow] if kind in WORKING[1:] else [])
        for kind in sandbox.KINDS
    ]
)
def one_kind(request):
    """The first kind that works here; the others only among the slow tests."""
    if REASONS[request.param]:
        pytest.skip(f"no {request.param} here: {REASONS[request.param]}")
    return request.param


def run(bench, kind, method, *, timeout_s=90.0, memory_gb=None, **config):
    entry = Entry(method=f"{SNEAKY}:{method}", label=method, config=config)
    problems = (ProblemSet(dataset="small", protocols=("area-x4@1",), sections=("synthetic-1",)),)
    track = Track(
        name="tiny",
        entries=(entry,),
        problems=problems,
        metrics=("psnr",),
        limits=Limits(timeout_s=timeout_s, grace_s=0.5),
    )
    plan = make_plan(track, bench.catalogue, cards={"small": bench.card})
    options = RunOptions(sandbox=kind, memory_gb=memory_gb)
    Supervisor(bench.store, bench.catalogue, options).run(plan)
    record = bench.store.record(plan.cells[0].key)
    log = bench.store.cell_folder(record.key) / "log.txt"
    return record, log.read_text(errors="replace")


def test_the_same_bytes_come_from_inside_and_from_outside(bench, kind, tmp_path):
    assert not Path("/tmp/note").exists()
    inside, log = run(bench, kind, "Sound")
    assert not Path("/tmp/note").exists()
    assert inside.status is Status.OK, log
    assert inside.provenance["sandbox"] == kind
    folder = bench.store.cell_folder(inside.key)
    names = ("prediction.h5", "metrics.parquet")
    before = {name: (folder / name).read_bytes() for name in names}
    bench.store.set_aside(inside.key)

    outside, _ = run(bench, "none", "Sound")

    assert outside.key == inside.key, "a sandbox is no part of a key"
    assert outside.provenance["sandbox"] == "none"
    assert {name: (folder / name).read_bytes() for name in names} == before
    Path("/tmp/note").unlink()  # the run outside made it, the one inside had its own /tmp


def test_there_is_no_network_inside(bench, kind):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        record, _ = run(bench, kind, "CallsOut", host="127.0.0.1", port=port)
        assert record.status is Status.FAILED
        assert "ConnectionRefused" in record.reason
        far, _ = run(bench, kind, "CallsOut", host="203.0.113.1", port=80)
        assert far.status is Status.FAILED
        assert "unreachable" in far.reason


def test_only_the_cells_folder_can_be_written(bench, one_kind, tmp_path):
    for place in (tmp_path, Path.home(), SNEAKY.parent, Path("/usr"), Path("/")):
        path = place / f"made-by-{one_kind}"
        record, _ = run(bench, one_kind, "WritesOutside", path=str(path))
        assert not path.exists()
        if not path.is_relative_to("/tmp"):  # its own /tmp may be written, and goes with it
            assert record.status is Status.FAILED, place
            assert "Read-only" in record.reason or "No such file" in record.reason


def test_truths_secrets_and_other_cells_are_not_there(bench, kind, tmp_path, monkeypatch):
    secret = tmp_path / "home" / ".ssh" / "id_ed25519"
    secret.parent.mkdir(parents=True)
    secret.write_text("a private key")
    for path in (secret, bench.store.root / "store.json", "/etc/shadow"):
        record, _ = run(bench, kind, "Reads", path=str(path))
        assert record.status is Status.FAILED, path
        assert "No such file" in record.reason
    truths, log = run(bench, kind, "LooksForTruths", path=str(bench.store.root.parent))
    assert truths.status is Status.FAILED, log
    assert "no truth in reach" in truths.reason


def test_a_results_folder_inside_the_checkout_is_covered(tmp_path, kind, monkeypatch):
    """The checkout of an editable install is listed, and a results folder often lies in it."""
    checkout = tmp_path / "checkout"
    cell = checkout / "results" / "work" / "cell"
    cell.mkdir(parents=True)
    (checkout / "code.py").write_text("answer = 42\n")
    (checkout / "results" / "section.h5").write_text("the truth")
    (checkout / "mine.csv").write_text("my own section")
    script = (
        "import os; print(sorted(os.listdir('..')), sorted(os.listdir('../..')), "
        "open('../../../code.py').read(), repr(open('../../../mine.csv').read()))"
    )
    command = sandbox.enclosed(
        ["/usr/bin/env", "python3", "-I", "-S", "-c", script],
        cell,
        kind,
        readable=[str(checkout)],
        hidden=[str(checkout / "results"), str(checkout / "mine.csv")],
    )
    done = subprocess.run(command, cwd=cell, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['cell'] ['work'] answer = 42\n ''", done.stderr


def test_other_processes_are_out_of_reach(bench, one_kind):
    record, log = run(bench, one_kind, "SignalsItsSupervisor")
    assert "no other process in reach" in record.reason, log


def test_a_sandbox_cannot_be_undone_from_inside(bench, kind):
    record, log = run(bench, kind, "UndoesTheSandbox", path=str(bench.store.root))
    assert "nothing could be undone" in record.reason, log


@pytest.mark.parametrize("where", ["none", "inside"])
def test_planted_links_and_pipes_do_not_move_the_supervisors_pen(bench, one_kind, tmp_path, where):
    target = tmp_path / "outside.txt"
    target.write_text("untouched")
    chosen = one_kind if where == "inside" else "none"
    record, log = run(bench, chosen, "PlantsLinks", path=str(target))
    assert record.status is Status.FAILED
    assert "left no result" in record.reason
    assert target.read_text() == "untouched"
    assert log == "words for a file outside\n"
    assert not (bench.store.cell_folder(record.key) / "log.txt").is_symlink()


def test_a_folder_nested_three_thousand_deep_is_removed(bench, one_kind):
    record, log = run(bench, one_kind, "DigsDeep")
    assert record.status is Status.OK, log
    names = {path.name for path in bench.store.cell_folder(record.key).iterdir()}
    assert names == {"record.json", "metrics.parquet", "prediction.h5", "log.txt"}
    assert list((bench.store.root / "work").iterdir()) == []


def test_limits_hold_inside_and_nothing_is_left_running(bench, one_kind):
    before = {process.pid for process in psutil.process_iter()}
    hung, _ = run(bench, one_kind, "Hangs", timeout_s=4.0)
    assert hung.status is Status.TIMEOUT
    fat, _ = run(bench, one_kind, "EatsMemory", memory_gb=0.5)
    assert fat.status is Status.OOM
    shot, _ = run(bench, one_kind, "DiesInside")
    assert shot.status is Status.KILLED
    assert "SIGKILL" in shot.reason
    deadline = time.monotonic() + 20
    keys = {hung.key, fat.key, shot.key}
    while left := _tagged(keys, before):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def _tagged(keys, before):
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.pid not in before
                and process.environ().get("MSIBENCH_CELL", "").partition(":")[0] in keys
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_without_a_sandbox_nothing_runs(monkeypatch):
    monkeypatch.setattr(sandbox, "why_not", lambda kind: "not allowed")
    with pytest.raises(sandbox.SandboxError, match=r"nothing was run.*apt install bubblewrap"):
        sandbox.choose_sandbox()


def test_a_sandbox_that_does_not_exist_is_refused(tmp_path):
    assert "no such sandbox" in sandbox.why_not("chroot")
    job = Job(key="k", folder=tmp_path, timeout_s=1.0, sandbox="chroot")
    with pytest.raises(sandbox.SandboxError, match="no sandbox 'chroot'"):
        command_of(job)
