"""What a method may not do, it cannot do; what it may, gives the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from msibench.results.schema import Status
from msibench.runner.child import watch
from msibench.runner.child.guard import guarded
from msibench.runner.child.job import Job
from msibench.runner.child.sandbox import command as sandbox
from msibench.runner.child.sandbox import sandbox_mounts
from msibench.runner.child.sandbox.forbidden_calls import MACHINES
from msibench.runner.child.sandbox.namespaces import SYS_CLONE
from msibench.runner.child.watch import command_of
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
    (found,) = run_side_by_side(
        bench, kind, (method, config), timeout_s=timeout_s, memory_gb=memory_gb
    )
    return found


def run_side_by_side(bench, kind, *methods, timeout_s=90.0, memory_gb=None):
    """Run (class, options) each in a cell of its own; return the record and the log of each."""
    entries = tuple(
        Entry(method=f"{SNEAKY}:{name}", label=f"{name}-{number}", config=config)
        for number, (name, config) in enumerate(methods)
    )
    problems = (ProblemSet(dataset="small", protocols=("area-x4@1",), sections=("synthetic-1",)),)
    track = Track(
        name="tiny",
        entries=entries,
        problems=problems,
        metrics=("psnr",),
        limits=Limits(timeout_s=timeout_s, grace_s=0.5),
    )
    plan = make_plan(track, bench.catalogue, cards={"small": bench.card})
    options = RunOptions(sandbox=kind, memory_gb=memory_gb, jobs=len(methods), threads=1)
    Supervisor(bench.store, bench.catalogue, options).run(plan)
    cells = {cell.label: cell.key for cell in plan.cells}
    records = [bench.store.record(cells[entry.label]) for entry in entries]
    logs = [bench.store.cell_folder(record.key) / "log.txt" for record in records]
    return [
        (record, log.read_text(errors="replace")) for record, log in zip(records, logs, strict=True)
    ]


def test_the_same_bytes_come_from_inside_and_from_outside(bench, one_kind, tmp_path):
    assert not Path("/tmp/note").exists()
    inside, log = run(bench, one_kind, "Sound")
    assert not Path("/tmp/note").exists()
    assert inside.status is Status.OK, log
    assert inside.provenance["sandbox"] == one_kind
    folder = bench.store.cell_folder(inside.key)
    names = ("prediction.h5", "metrics.parquet")
    before = {name: (folder / name).read_bytes() for name in names}
    bench.store.set_aside(inside.key)

    outside, _ = run(bench, "none", "Sound")

    assert outside.key == inside.key, "a sandbox is not a part of a key"
    assert outside.provenance["sandbox"] == "none"
    assert {name: (folder / name).read_bytes() for name in names} == before
    Path("/tmp/note").unlink()  # the run outside made it, the one inside had its own /tmp


def test_there_is_no_network_inside(bench, kind):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        near, far = ({"host": "127.0.0.1", "port": port}, {"host": "203.0.113.1", "port": 80})
        (record, _), (far, _) = run_side_by_side(bench, kind, ("CallsOut", near), ("CallsOut", far))
        assert record.status is Status.FAILED
        assert "ConnectionRefused" in record.reason
        assert far.status is Status.FAILED
        assert "unreachable" in far.reason


def test_only_the_cells_folder_can_be_written(bench, one_kind, tmp_path):
    places = (tmp_path, Path.home(), SNEAKY.parent, Path("/usr"), Path("/"))
    paths = [place / f"made-by-{one_kind}" for place in places]
    tries = (("WritesOutside", {"path": str(path)}) for path in paths)
    found = run_side_by_side(bench, one_kind, *tries)
    for path, (record, _) in zip(paths, found, strict=True):
        place = path.parent
        assert not path.exists()
        if not path.is_relative_to("/tmp"):  # its own /tmp may be written, and goes with it
            assert record.status is Status.FAILED, place
            assert "Read-only" in record.reason or "No such file" in record.reason


def test_truths_secrets_and_other_cells_are_not_there(bench, one_kind, tmp_path):
    secret = tmp_path / "home" / ".ssh" / "id_ed25519"
    secret.parent.mkdir(parents=True)
    secret.write_text("a private key")
    paths = (secret, bench.store.root / "store.json", "/etc/shadow")
    *found, (truths, log) = run_side_by_side(
        bench,
        one_kind,
        *(("Reads", {"path": str(path)}) for path in paths),
        ("LooksForTruths", {"path": str(bench.store.root.parent)}),
    )
    for path, (record, _) in zip(paths, found, strict=True):
        assert record.status is Status.FAILED, path
        assert "No such file" in record.reason
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
    what = sandbox.enclosed(
        ["/usr/bin/env", "python3", "-I", "-S", "-c", script],
        cell,
        kind,
        readable=[str(checkout)],
        hidden=[str(checkout / "results"), str(checkout / "mine.csv")],
    )
    command = guarded(what.command, what.inside)
    done = subprocess.run(command, cwd=cell, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['cell'] ['work'] answer = 42\n ''", done.stderr


def test_todays_readers_of_the_truth_find_nothing(bench, kind, tmp_path, monkeypatch):
    """The mirror, the results folder, other cells, the generator, the home and the environment."""
    mirror, home = tmp_path / "mirror", Path.home() / f".msibench-test-{kind}"
    data = mirror / "data" / "bladder" / "bladder.npz"
    for path in (data, home):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a truth")
    monkeypatch.setenv("MSIBENCH_MIRROR", str(mirror))
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    monkeypatch.setenv("MSIBENCH_RESULTS", str(bench.store.root))
    bench.run("Sound")  # another cell, with a prediction
    store = bench.store.root
    truth = next(store.glob("problems/*/*/section.h5"))
    other = next(store.glob("cells/*/*/prediction.h5"))
    try:
        record, log = run(
            bench,
            kind,
            "LooksAround",
            paths="|".join(map(str, (data, mirror, home, truth, other, store / "store.json"))),
            modules="msibench_datasets.phantom.generator|msibench_datasets.phantom.reader",
            variables="MSIBENCH_MIRROR|MSIBENCH_RESULTS|GITHUB_TOKEN|SSH_AUTH_SOCK|AWS_SECRET_ACCESS_KEY",
        )
    finally:
        home.unlink()
    assert record.reason == "LookupError: nothing was found", log


def test_results_and_data_of_others_below_a_listed_place_are_looked_up_and_hidden(
    bench, one_kind, tmp_path, monkeypatch
):
    """An editable checkout on PYTHONPATH that holds an older results folder and a data set."""
    checkout = tmp_path / f"checkout-{one_kind}"
    old = checkout / "deep" / "results"
    truth = old / "problems" / "ab" / "abc" / "section.h5"
    data = (checkout / "data" / "liver.imzML", checkout / "data" / "liver.ibd")
    stray = checkout / "kept" / "section.h5"
    history = checkout / ".git" / "HEAD"
    for path in (truth, *data, stray, history):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a truth")
    (old / "store.json").write_text('{"schema_version": 1}')
    (checkout / "theirs.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(str(checkout))
    monkeypatch.setenv("PYTHONPATH", str(checkout))
    others = {
        "paths": f"{truth}|{old / 'store.json'}|{history}",
        "files": "|".join(map(str, (*data, stray))),
    }
    (record, log), (found, _) = run_side_by_side(
        bench, one_kind, ("LooksAround", others), ("LooksAround", {"modules": "theirs"})
    )
    assert record.reason == "LookupError: nothing was found", log
    assert "found theirs" in found.reason, "the code beside them is in reach"


def test_a_checkout_inside_a_folder_of_the_system_is_searched_too(tmp_path, monkeypatch):
    """In a container the code often lies in /usr/src or /usr/local, which are listed as a whole."""
    system = tmp_path / "usr"
    checkout, cell = system / "local" / "lab", tmp_path / "cell"
    truth = checkout / "results" / "problems" / "ab" / "section.h5"
    truth.parent.mkdir(parents=True)
    cell.mkdir()
    truth.write_text("a truth")
    (checkout / "results" / "store.json").write_text('{"schema_version": 1}')
    monkeypatch.setattr(sandbox_mounts, "SYSTEM", (str(system),))
    found = sandbox_mounts.mounts(cell, [str(checkout)], [])
    covered = {mount.target for mount in found if mount.kind == "cover"}
    assert str(checkout / "results") in covered
    assert str(system) in {mount.target for mount in found if mount.kind == "read"}


def test_what_appears_between_two_cells_is_seen_and_hidden_like_the_rest(tmp_path):
    """What cells have in common is worked out once, from what is there when each begins."""
    weights, secret = tmp_path / "weights", tmp_path / "lab" / "data"
    results = tmp_path / "lab" / "results"
    (results / "cells").mkdir(parents=True)
    (results / "store.json").write_text("{}")

    def seen(number):
        cell = tmp_path / f"cell-{number}"
        cell.mkdir()
        places = [str(weights), str(tmp_path / "lab")]
        found = sandbox_mounts.mounts(cell, places, [str(secret)])
        assert [mount.target for mount in found if mount.kind == "write"] == [str(cell)]
        return {(mount.kind, mount.target) for mount in found}

    before = seen(0)
    weights.write_text("fetched")
    assert seen(1) - before == {("read", str(weights)), ("write", str(tmp_path / "cell-1"))}
    assert ("cover", str(results)) in before
    assert str(secret) not in {target for _, target in before}, (
        "nothing can be put on what is not there"
    )
    secret.mkdir()
    assert ("cover", str(secret)) in seen(2)
    shutil.rmtree(results)
    assert str(results) not in {target for _, target in seen(3)}


def test_no_door_to_other_processes_is_open(bench, one_kind, monkeypatch):
    """Roots, memory, environments and descriptors of others; shared memory; sockets without a file."""
    monkeypatch.setenv("A_SECRET", "rosebud")
    monkeypatch.setitem(os.environ, "TOKEN", "the truth of another")
    name = f"msibench-test-{one_kind}"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(f"\0{name}")
        door.listen()
        record, log = run(
            bench,
            one_kind,
            "TriesDoors",
            secret="rose[b]ud|the t[r]uth of another",
            socket_name=name,
            folder=str(bench.store.root),
        )
    assert "every door is shut" in record.reason, log
    assert record.provenance["start"] == ("warm" if one_kind == "namespaces" else "cold")


def test_memory_that_no_resident_set_shows_is_counted(bench, one_kind):
    hoards = (("HoardsMemory", {"where": where}) for where in ("memfd", "/dev/shm", "/tmp"))
    for record, log in run_side_by_side(bench, one_kind, *hoards, memory_gb=0.4):
        assert record.status is Status.OOM, (record.reason, log)
        assert "--memory" in record.reason


def test_memory_that_belongs_to_no_process_cannot_be_had(bench, one_kind):
    record, log = run(bench, one_kind, "HoardsMemory", where="segment")
    assert "no segment: Operation not permitted" in record.reason, log


@pytest.mark.skipif(os.uname().machine not in MACHINES, reason="no filter for this processor")
def test_the_filter_refuses_what_it_names_and_nothing_else():
    text = (
        "import ctypes, multiprocessing.shared_memory as m, os\n"
        "from msibench.runner.child.sandbox.forbidden_calls import MACHINES, forbid_calls\n"
        "assert forbid_calls()\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "for number in MACHINES[os.uname().machine].calls:\n"
        "    ctypes.set_errno(0)\n"
        "    assert libc.syscall(number, 0, 0, 0, 0) == -1 and ctypes.get_errno() == 1, number\n"
        "memory = m.SharedMemory(create=True, size=100); memory.unlink(); memory.close()\n"
        "os.close(os.memfd_create('mine')); os.pipe(); os.system('exit 7')\n"
    )
    subprocess.run([sys.executable, "-c", text], check=True)


@pytest.mark.skipif("namespaces" not in WORKING, reason="no namespaces here")
@pytest.mark.skipif(os.uname().machine not in SYS_CLONE, reason="no older call on this processor")
def test_namespaces_are_made_where_a_filter_does_not_know_the_newer_call():
    """A filter cannot see what `clone3` is asked for, so many answer that there is no such call."""
    text = (
        "import ctypes, errno, os, struct\n"
        "from msibench.runner.child.sandbox import namespaces\n"
        "allowed, refused = 0x7FFF0000, 0x50000 | errno.ENOSYS\n"
        "steps = [(0x20, 0, 0, 0), (0x15, 0, 1, namespaces.SYS_CLONE3), (6, 0, 0, refused), (6, 0, 0, allowed)]\n"
        "code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *step) for step in steps))\n"
        "program = struct.pack('HxxxxxxP', len(steps), ctypes.addressof(code))\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0\n"
        "assert libc.syscall(namespaces.SYS_CLONE3, 0, 0) == -1 and ctypes.get_errno() == errno.ENOSYS\n"
        "pid = namespaces.fork_inside()\n"
        "if not pid:\n"
        "    os._exit(7 if os.getpid() == 1 else 8)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7\n"
    )
    subprocess.run([sys.executable, "-c", text], check=True)


def test_memory_in_a_file_of_memory_is_counted_outside_of_a_sandbox_too(bench):
    record, _ = run(bench, "none", "HoardsMemory", where="memfd", memory_gb=0.4)
    assert record.status is Status.OOM


def test_no_further_namespace_can_be_made_inside(bench, one_kind):
    """With one a method could mount memory of its own, or look for faults of the kernel."""
    record, log = run(bench, one_kind, "HoardsMemory", where="own tmpfs")
    assert "no namespace" in record.reason, log


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
    hung, _ = run(bench, one_kind, "Hangs", timeout_s=2.0)
    assert hung.status is Status.TIMEOUT
    (fat, _), (shot, _) = run_side_by_side(
        bench, one_kind, ("EatsMemory", {}), ("DiesInside", {}), memory_gb=0.5
    )
    assert fat.status is Status.OOM
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


def test_a_run_is_isolated_without_being_asked(bench):
    _, records = bench.run("Sound")
    assert records["Sound"].provenance["sandbox"] == (WORKING or ["none"])[0]


def test_where_the_system_allows_none_a_run_says_so_once_and_its_records_carry_it(
    bench, monkeypatch
):
    monkeypatch.setattr(sandbox, "why_not", lambda kind: "not allowed")
    sandbox.choose_sandbox.cache_clear()
    events = []
    try:
        _, records = bench.run("Sound", "Raises", events=events.append)
    finally:
        sandbox.choose_sandbox.cache_clear()
    said = [event.reason for event in events if "not isolated" in event.reason]
    assert len(said) == 1
    assert "apt install bubblewrap" in said[0]
    assert {record.provenance["sandbox"] for record in records.values()} == {"none"}


@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
def test_a_cell_whose_sandbox_fails_is_no_failure_of_its_method(bench, monkeypatch, cold):
    """What the harness did wrong is never kept as a method's result."""
    real = watch.enclosed

    def broken(command, *args, **kwargs):
        what = real(command, *args, **kwargs)
        inside = what.inside and json.dumps({**json.loads(what.inside), "folder": "/no/such/place"})
        return replace(what, command=["/no/such/python"], inside=inside)

    monkeypatch.setattr(watch, "enclosed", broken)
    plan = bench.plan("Sound")
    with pytest.raises(sandbox.SandboxError, match="could not start in the sandbox"):
        Supervisor(bench.store, bench.catalogue, RunOptions(cold=cold)).run(plan)
    assert list(bench.store.keys()) == []


def test_without_a_sandbox_nothing_runs(monkeypatch):
    monkeypatch.setattr(sandbox, "why_not", lambda kind: "not allowed")
    sandbox.choose_sandbox.cache_clear()
    with pytest.raises(sandbox.SandboxError, match=r"allows no sandbox.*apt install bubblewrap"):
        sandbox.choose_sandbox()


def test_a_sandbox_that_does_not_exist_is_refused(tmp_path):
    assert "unknown sandbox" in sandbox.why_not("chroot")
    job = Job(key="k", folder=tmp_path, timeout_s=1.0, sandbox="chroot")
    with pytest.raises(sandbox.SandboxError, match="unknown sandbox 'chroot'"):
        command_of(job)


def test_links_lead_to_nothing_that_is_hidden(tmp_path):
    """Data sets, mirrors and results reached by a link are hidden where they really lie."""
    checkout, cell, far = tmp_path / "checkout", tmp_path / "cell", tmp_path / "far"
    for folder in (checkout / "truths", checkout / "cards", cell, far):
        folder.mkdir(parents=True)
    (far / "section.h5").write_text("a truth")
    (tmp_path / "mirror").symlink_to(checkout / "truths")
    (tmp_path / "card").symlink_to(checkout / "cards")
    (checkout / "data").symlink_to(far)
    (tmp_path / "lab").symlink_to(checkout)
    hidden = [str(tmp_path / "mirror"), str(tmp_path / "card")]
    found = sandbox_mounts.mounts(cell, [str(tmp_path / "lab")], hidden)
    covered = {mount.target for mount in found if mount.kind == "cover"}
    assert {str(checkout / "truths"), str(checkout / "cards")} <= covered
    shown = [mount.source for mount in found if mount.kind == "read"]
    assert str(checkout) in shown
    assert not any(
        str(far).startswith(f"{place.rstrip('/')}/") or place == str(far) for place in shown
    )
