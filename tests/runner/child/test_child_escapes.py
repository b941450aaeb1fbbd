"""Nothing that a method starts outlives its cell, and whatever hangs or dies is told why."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from msibench.results.schema import Status
from msibench.runner.child import guard
from msibench.runner.options import RunOptions

WAITS = {"timeout_s": 3.0}


def running(mark):
    """Return the processes with an argument that holds `mark`, zombies apart."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line, status = process.info["cmdline"] or [], process.info["status"]
        if status != psutil.STATUS_ZOMBIE and any(mark in part for part in line):
            found.append(process)
    return found


def run_together(bench, *names, **facts):
    """Run methods side by side; return their records and logs."""
    _, records = bench.run(
        *names, options=RunOptions(jobs=len(names), threads=1, sandbox="none"), **facts
    )
    logs = {
        name: (bench.store.cell_folder(record.key) / "log.txt").read_text()
        for name, record in records.items()
    }
    assert not running(str(bench.store.root))
    assert not list((bench.store.root / "work").iterdir())
    return records, logs


@pytest.fixture(scope="module")
def hanging(tmp_path_factory, make_bench):
    bench = make_bench(tmp_path_factory.mktemp("hanging"))
    names = [
        "DeadlocksInPython",
        "DeadlocksInC",
        "StopsItself",
        "StopsItsGroup",
        "HangsWithDaemons",
    ]
    return run_together(bench, *names, limits=WAITS)


@pytest.fixture(scope="module")
def dying(tmp_path_factory, make_bench):
    bench = make_bench(tmp_path_factory.mktemp("dying"))
    names = [
        "KillsItsParent", "Aborts", "HasNoMemoryOnTheGpu", "DiesOfBadAlloc", "FindsTheDiskFull",
        "Daemonises", "Respawns",
    ]  # fmt: skip
    found = run_together(bench, *names)
    cores = [path for path in bench.store.root.rglob("core*") if path.is_file()]
    return (*found, cores)


@pytest.mark.parametrize(
    "name",
    ["DeadlocksInPython", "DeadlocksInC", "StopsItself", "StopsItsGroup", "HangsWithDaemons"],
)
def test_what_hangs_is_ended_at_its_limit(hanging, name):
    records, _ = hanging
    assert records[name].status is Status.TIMEOUT
    assert "longer than 3 s" in records[name].reason
    assert records[name].timings["wall"] < 30


@pytest.mark.parametrize(
    ("name", "line"), [("DeadlocksInPython", "in take"), ("DeadlocksInC", "in upscale")]
)
def test_the_log_of_a_deadlock_shows_where_every_thread_stood(hanging, name, line):
    _, logs = hanging
    assert "misbehaving.py" in logs[name]
    assert line in logs[name]


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("KillsItsParent", Status.KILLED, "ended by SIGKILL"),
        ("Aborts", Status.KILLED, "ended by SIGABRT; last output: Fatal Python error: Aborted"),
        ("HasNoMemoryOnTheGpu", Status.OOM, "CUDA out of memory"),
        ("DiesOfBadAlloc", Status.OOM, "ended by SIGABRT, out of memory"),
        ("FindsTheDiskFull", Status.FAILED, "the disk is full: free some space"),
        ("Daemonises", Status.OK, ""),
        ("Respawns", Status.OK, ""),
    ],
)
def test_how_a_cell_died_is_told(dying, name, status, said):
    records, _, _ = dying
    assert records[name].status is status
    assert said in records[name].reason


def test_a_crash_leaves_no_core_behind(dying):
    _, logs, cores = dying
    assert cores == []
    assert "Fatal Python error: Aborted" in logs["Aborts"]  # the stack is in the log instead


@pytest.mark.parametrize("mark", ["4711.2", "4711.3", "4711.4", "4711.5"])
def test_daemons_are_found_without_group_session_parent_and_tag(hanging, dying, mark):
    assert not running(mark)


def test_a_fork_bomb_is_ended_whole(bench):
    _, records = bench.run("ForksWithoutEnd")
    assert records["ForksWithoutEnd"].status is Status.KILLED
    assert "started more than 256 processes" in records["ForksWithoutEnd"].reason
    assert not running("4711.1")


def test_another_runs_processes_at_the_same_cell_are_left_alone(bench):
    (cell,) = bench.plan("Sound").cells
    other = subprocess.Popen(["sleep", "30"], env={"MSIBENCH_CELL": f"{cell.key}:elsewhere"})
    _, records = bench.run("Sound")
    assert records["Sound"].status is Status.OK
    assert other.poll() is None
    other.kill()
    other.wait()


# -- the guard by itself -----------------------------------------------------------------------


def guarded(code):
    return subprocess.Popen(
        guard.guarded([sys.executable, "-c", code]), stdout=subprocess.PIPE, start_new_session=True
    )


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("pass", 0),
        ("import sys; sys.exit(7)", 7),
        ("import os; os._exit(255)", 255),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("import os; os.kill(os.getpid(), 15)", -15),
        ("import os; os.abort()", -6),
    ],
)
def test_a_guard_ends_as_its_cell_did(code, status):
    process = guarded(code)
    process.communicate(timeout=20)
    assert process.returncode == status


def test_a_command_that_does_not_exist_is_named():
    process = subprocess.Popen(
        guard.guarded(["/no/such/program"]), stderr=subprocess.PIPE, start_new_session=True
    )
    _, said = process.communicate(timeout=20)
    assert process.returncode == 127
    assert b"/no/such/program: No such file" in said


def test_a_cell_starts_with_no_signal_blocked_or_ignored():
    process = guarded("print(open('/proc/self/status').read())")
    out, _ = process.communicate(timeout=20)
    facts = dict(line.split(":", 1) for line in out.decode().splitlines() if ":" in line)
    blocked, ignored = int(facts["SigBlk"], 16), int(facts["SigIgn"], 16)
    python_ignores = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    own = Path("/proc/self/status").read_text(encoding="utf-8").split("SigIgn:")[1].split()[0]
    assert blocked == 0
    assert ignored & ~python_ignores & ~int(own, 16) == 0  # what `nohup` ignores, cells ignore too


@pytest.mark.parametrize(("escape", "stops"), [(False, False), (True, False), (True, True)])
def test_a_guard_whose_supervisor_is_killed_ends_the_cell_and_its_daemons(tmp_path, escape, stops):
    mark = f"4712.{int(escape) + int(stops)}"
    daemon = (
        "if os.fork() == 0:\n    os.setsid()\n"
        f"    if os.fork() == 0: os.execve('/bin/sleep', ['sleep', '{mark}'], {{}})\n"
        "    os._exit(0)\n"
    )
    cell = (
        f"import os, signal, time\n{daemon if escape else ''}\ntime.sleep(0.2)\n"
        f"{'os.kill(os.getppid(), signal.SIGSTOP)' if stops else ''}\nprint('up', flush=True)\n"
    )
    cell += f"os.execv('/bin/sleep', ['sleep', '{mark}'])\n"
    supervisor = (
        "import subprocess, sys, time\nfrom msibench.runner.child import guard\n"
        f"command = guard.guarded([sys.executable, '-c', {cell!r}])\n"
        "subprocess.Popen(command, start_new_session=True)\ntime.sleep(60)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", supervisor], stdout=subprocess.PIPE)
    assert run.stdout.readline() == b"up\n"
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    end = time.monotonic() + 20
    while running(mark) and time.monotonic() < end:
        time.sleep(0.02)
    assert not running(mark)
    run.stdout.close()


def test_a_guard_that_was_orphaned_before_it_began_runs_nothing(tmp_path):
    marker = tmp_path / "ran"
    command = guard.guarded([sys.executable, "-c", f"open({str(marker)!r}, 'w')"])
    command[4] = "1"  # another parent than its own
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not marker.exists()
