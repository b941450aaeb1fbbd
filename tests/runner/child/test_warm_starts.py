"""Cells that begin as forks are what cells that begin as processes are."""

import json
import os
import signal
import threading
import time

import numpy as np
import psutil
import pytest

from msibench.results.arrays import read_arrays
from msibench.results.schema import Status
from msibench.results.store import PREDICTION
from msibench.runner.child import warm_start
from msibench.runner.child.libraries import LIBRARIES, libraries_of
from msibench.runner.child.sandbox import command as sandbox
from msibench.runner.options import RunOptions
from msibench.runner.supervisor import Supervisor
from msibench.tracks import Entry

pytestmark = pytest.mark.skipif(
    bool(sandbox.why_not(sandbox.NAMESPACES)), reason="this system allows no namespaces"
)

TELLS = """
import gc, json, os, resource, signal, sys, threading
LOADED = sorted(sys.modules)
{imports}

def what_it_sees():
    signals = [n for n in signal.valid_signals() if n not in (signal.SIGKILL, signal.SIGSTOP)]
    ours = os.getcwd()
    return {{
        "environment": {{k: v.replace(ours, "HERE") for k, v in os.environ.items()}},
        "tag": [t.decode() for t in open("/proc/self/environ", "rb").read().split(b"\\0")
                if t.startswith(b"MSIBENCH_CELL=")],
        "arguments": [a.replace(ours, "HERE") for a in sys.argv],
        "path": [p.replace(ours, "HERE") for p in sys.path],
        "handlers": [str(signal.getsignal(n)).split(" at ")[0] for n in signals],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "limits": [resource.getrlimit(n) for n in range(16)],
        "descriptors": sorted(os.readlink(f"/proc/self/fd/{{n}}").split(":")[0]
                              for n in os.listdir("/proc/self/fd") if int(n) < 3),
        "open": len(os.listdir("/proc/self/fd")),
        "threads": [len(os.listdir("/proc/self/task")), threading.active_count()],
        "flags": str(sys.flags),
        "collector": [gc.isenabled(), gc.get_threshold(), gc.get_debug()],
        "umask": os.umask(0o22),
        "user": [os.getuid(), os.getgid(), os.getgroups()],
        "session": os.getsid(0) == os.getpid(),
        "roots": sorted(os.listdir("/")) if "inner" in os.environ.get("HOME", "") else [],
        "plugins": [name for name in LOADED if name.startswith("msibench_")
                    and not name.startswith("msibench_file_")],
        "cores": sorted(os.sched_getaffinity(0)),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "capabilities": [line for line in open("/proc/self/status") if line[:3] in ("Cap", "NoN", "Sec")],
    }}

class Tells:
    def upscale(self, problem):
        {body}
        print("SEES", json.dumps(what_it_sees()))
        return problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2)
"""


def source_of(folder, name="tells", imports="", body="pass"):
    path = folder / f"{name}.py"
    path.write_text(TELLS.format(imports=imports, body=body))
    return Entry(method=f"{path}:Tells", label=name)


def run(bench, *entries, seeds=(0,), events=None, **options):
    """Run methods; return their records, logs and predictions, cell by cell."""
    plan = bench.plan(*entries, seeds=tuple(seeds))
    summary = Supervisor(bench.store, bench.catalogue, RunOptions(**options), events).run(plan)
    found = []
    for cell in plan.cells:
        folder = bench.store.cell_folder(cell.key)
        record = bench.store.record(cell.key) if bench.store.has(cell.key) else None
        log = (folder / "log.txt").read_text() if record else ""
        found.append((record, log, folder / PREDICTION))
    return summary, found


def seen(log):
    return json.loads(log.partition("SEES ")[2].partition("\n")[0])


@pytest.fixture
def benches(tmp_path, make_bench):
    return make_bench(tmp_path / "warm"), make_bench(tmp_path / "cold")


@pytest.mark.sweep
@pytest.mark.parametrize("inside", ["auto", "none"])
@pytest.mark.parametrize(
    "imports",
    ["", "import scipy.ndimage", pytest.param("import torch", marks=pytest.mark.slow)],
)
def test_a_fork_sees_what_a_process_sees(benches, tmp_path, inside, imports):
    warm, cold = benches
    entry = source_of(tmp_path, imports=imports)
    _, [(ours, our_log, prediction)] = run(warm, entry, sandbox=inside, threads=1)
    _, [(theirs, their_log, other)] = run(cold, entry, sandbox=inside, cold=True, threads=1)
    assert (ours.status, theirs.status) == (Status.OK, Status.OK)
    assert (ours.provenance["start"], theirs.provenance["start"]) == ("warm", "cold")
    assert ours.provenance["sandbox"] == theirs.provenance["sandbox"]
    assert ours.rows_digest == theirs.rows_digest
    np.testing.assert_array_equal(read_arrays(prediction)[0]["prediction"],
                                  read_arrays(other)[0]["prediction"])  # fmt: skip
    one, two = seen(our_log), seen(their_log)
    for facts in (one, two):
        assert facts["environment"].pop("MSIBENCH_CELL").startswith(ours.key)
        assert len(facts["tag"]) == 1
        assert facts.pop("tag")[0].startswith(f"MSIBENCH_CELL={ours.key}")
        for name in ("PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE", "PYTEST_CURRENT_TEST"):
            facts["environment"].pop(name, None)
    assert one == two
    assert one["plugins"] == []


@pytest.mark.parametrize(
    ("imports", "draws"),
    [
        (
            "import scipy.ndimage, numpy, random, uuid, tempfile",
            ("numpy.random.rand(3)", "random.random()", "uuid.uuid4()", "tempfile.mktemp()"),
        ),
        pytest.param("import torch", ("torch.rand(3)",), marks=pytest.mark.slow),
    ],
    ids=["all", "torch"],
)
@pytest.mark.parametrize(
    "compared", [False, pytest.param(True, marks=pytest.mark.slow, id="compared")]
)
def test_two_forks_draw_different_random_numbers(benches, tmp_path, imports, draws, compared):
    """A method that forgets its seed must not look as if it had one."""
    warm, cold = benches
    body = "; ".join(f"print('DRAWN', {draw})" for draw in draws)
    entry = source_of(tmp_path, imports=imports, body=body)
    drawn = []
    for bench, options in ((warm, {}), (cold, {"cold": True}))[: 2 if compared else 1]:
        _, found = run(bench, entry, seeds=(0, 1), **options)
        lines = [[x for x in log.splitlines() if x.startswith("DRAWN")] for _, log, _ in found]
        assert [len(one) for one in lines] == [len(draws)] * 2
        drawn.append([len(set(pair)) for pair in zip(*lines, strict=True)])
        start = "cold" if options else "warm"
        assert [record.provenance["start"] for record, _, _ in found] == [start, start]
    assert drawn[0] == drawn[-1]  # where libraries seed themselves alike, forks may, too
    assert set(drawn[0]) == {2} or imports == "import torch"


POOLS = (
    "np.ones((400, 400)) @ np.ones((400, 400)); "
    "print('POOLS', sorted({pool['num_threads'] for pool in threadpoolctl.threadpool_info()}))"
)


def test_threads_of_a_fork_are_those_it_was_given(bench, tmp_path):
    entry = source_of(tmp_path, imports="import numpy as np, threadpoolctl, scipy", body=POOLS)
    _, [(record, log, _)] = run(bench, entry, threads=2)
    assert record.provenance["start"] == "warm"
    assert "POOLS [2]" in log


@pytest.mark.parametrize("cold", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_torch_has_its_threads_and_is_not_initialised_where_cells_come_from(bench, tmp_path, cold):
    body = (
        "print('STATE', torch.cuda.is_initialized(), 'torch' in LOADED, torch.get_num_threads()); "
    )
    imports = "import numpy as np, threadpoolctl, torch"
    entry = source_of(tmp_path, imports=imports, body=body + POOLS)
    _, [(record, log, _)] = run(bench, entry, threads=2, cold=cold)
    assert record.provenance["start"] == ("cold" if cold else "warm")
    assert f"STATE False {not cold} 2" in log
    assert "POOLS [2]" in log


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow, id="every")])
def test_a_fork_leaves_as_a_program_leaves(benches, tmp_path, every):
    """Exits, exceptions outside of Exception and handlers at exit: told as of a process."""
    ways = {
        "exits": "sys.exit(7)",
        "words": "sys.exit('no such thing')",
        "quietly": "sys.exit()",
        "interrupts": "raise KeyboardInterrupt",
        "handlers": "import atexit; atexit.register(print, 'tidied up'); sys.exit(3)",
        "threads": "import time; threading.Thread(target=lambda: (time.sleep(0.3), "
        "print('joined', flush=True))).start(); sys.exit(5)",
    }
    chosen = ways if every else ("words", "interrupts", "threads")
    entries = [source_of(tmp_path, name, body=ways[name]) for name in chosen]
    told = []
    for bench, cold in zip(benches, (False, True), strict=True):
        _, found = run(bench, *entries, cold=cold)
        told.append([(record.method, record.status, record.reason) for record, _, _ in found])
    assert told[0] == told[1]
    assert "joined" in told[0][-1][2]


def test_a_server_that_is_killed_costs_its_cells_this_run_and_nothing_else(bench, tmp_path):
    """Its cells are not recorded, nothing of them is left, and the next cell has a new server."""
    slow = source_of(tmp_path, "slow", body="import time; time.sleep(600)")

    def kill_programs():
        for server in warm_start._servers.values():
            if server._process is not None:  # the others are forks of it, and end with it
                server._process.kill()

    def kill(event):
        if event.kind == "started":
            threading.Timer(0.5, kill_programs).start()

    summary, [(record, _, _)] = run(bench, slow, events=kill)
    assert record is None
    assert summary.counts == {"cancelled": 1}
    left = [p for p in psutil.process_iter(["environ"]) if slow.label in str(p.info["environ"])]
    assert left == []
    quick = source_of(tmp_path, "quick")
    _, [(record, _, _)] = run(bench, quick)
    assert (record.status, record.provenance["start"]) == (Status.OK, "warm")


def test_a_folder_that_came_after_the_server_is_found(bench, tmp_path, monkeypatch):
    """As by a process that begins now: what is installed between two cells is there for the second."""
    later = tmp_path / "later"
    monkeypatch.setenv("PYTHONPATH", f"{later}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"))
    run(bench, source_of(tmp_path, "before"), sandbox="none")
    later.mkdir()
    (later / "came_later.py").touch()
    entry = source_of(tmp_path, "after", body="import came_later")
    _, [(record, log, _)] = run(bench, entry, sandbox="none")
    assert (record.status, record.provenance["start"]) == (Status.OK, "warm"), log


def test_a_library_that_starts_a_thread_is_not_forked(bench, tmp_path, monkeypatch):
    """Whatever an environment brings into every interpreter: where it has a thread, cells begin cold."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{site}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"))
    _, [(record, _, _)] = run(bench, source_of(tmp_path))
    assert (record.status, record.provenance["start"]) == (Status.OK, "cold")


def test_where_no_server_can_be_begun_cells_begin_cold(bench, tmp_path, monkeypatch):
    def refused(*arguments):
        raise OSError("no more processes")

    monkeypatch.setattr(warm_start, "_Server", refused)
    monkeypatch.setattr(warm_start, "_servers", {})
    _, [(record, _, _)] = run(bench, source_of(tmp_path))
    assert (record.status, record.provenance["start"]) == (Status.OK, "cold")


def test_a_server_ends_with_its_supervisor(bench, tmp_path):
    run(bench, source_of(tmp_path))
    pid = os.fork()
    if pid == 0:  # a copy of this process has no part in its servers
        os._exit(0 if not warm_start.end_servers() else 1)
    assert os.waitpid(pid, 0)[1] == 0
    alive = [s for s in warm_start._servers.values() if s.is_there]
    assert alive
    warm_start.end_servers()
    assert not any(server.is_there for server in alive)


def test_a_server_with_more_libraries_is_a_fork_of_the_one_with_fewer(bench, tmp_path):
    """What both hold is imported once; each ends by itself, and all of them with the first."""
    warm_start.end_servers()
    entries = [
        source_of(tmp_path, "plain", body="print('SCIPY', 'scipy' in LOADED, os.getppid())"),
        source_of(
            tmp_path,
            "with_scipy",
            "import scipy",
            "print('SCIPY', 'scipy' in LOADED, os.getppid())",
        ),
    ]
    _, found = run(bench, *entries, sandbox="none")
    assert [record.provenance["start"] for record, _, _ in found] == ["warm", "warm"]
    assert [log.partition("SCIPY ")[2].split()[0] for _, log, _ in found] == ["False", "True"]
    first, second = (
        server for _, server in sorted(warm_start._servers.items(), key=lambda s: s[0][1])
    )
    program = psutil.Process(first._process.pid)
    [fork] = program.children()
    assert second._process is None
    assert fork.children() == []
    second.end()
    fork.wait(30)
    _, [(record, _, _)] = run(bench, entries[1], seeds=(1,), sandbox="none")
    assert record.provenance["start"] == "warm", "it is forked anew"
    [fork] = program.children()
    warm_start.end_servers()
    fork.wait(30)


def test_a_server_whose_smaller_one_was_killed_is_begun_anew(bench, tmp_path):
    warm_start.end_servers()
    entry = source_of(tmp_path, "with_scipy", "import scipy")
    run(bench, entry)
    before = list(warm_start._servers.values())
    before[0]._process.kill()
    before[0]._process.wait()
    _, [(record, _, _)] = run(bench, entry, seeds=(1,))
    assert (record.status, record.provenance["start"]) == (Status.OK, "warm")
    assert not any(server.is_there for server in before)


def test_memory_that_is_freed_and_taken_again_is_kept(bench, tmp_path):
    """As layers of a network do it; else every layer's pages are new ones, which the kernel zeroes."""
    body = (
        "count = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt; "
        "[bytearray(8 << 20) for _ in range(3)]; before = count(); "
        "[len(bytearray(8 << 20)) for _ in range(40)]; print('FAULTS', count() - before)"
    )
    _, [(_, log, _)] = run(bench, source_of(tmp_path, imports="import resource", body=body))
    assert int(log.partition("FAULTS ")[2].split()[0]) < 40 * 2048 / 4


def test_a_bad_method_cannot_end_another_ones_cell_through_the_server(bench, tmp_path):
    """Inside the sandbox neither the server nor its other cells are there to be found."""
    body = (
        "print('FOUND', [n for n in os.listdir('/proc') if n.isdigit()], "
        "os.getppid() in (0, 1), sorted(os.listdir('/proc/self/fd'))[:4])"
    )
    _, [(record, log, _)] = run(bench, source_of(tmp_path, body=body))
    found = log.partition("FOUND ")[2]
    assert record.provenance["start"] == "warm"
    assert found.startswith("['1', '2'] True")


def test_libraries_are_seen_in_the_source(tmp_path):
    def of(text):
        path = tmp_path / f"m{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        return libraries_of(f"{path}:M")

    assert of("import numpy") == ()
    assert of("from scipy import ndimage") == ("scipy",)
    with_torch = ("scipy", "torch")
    assert of("import torch.nn as nn") == of("import torchvision") == with_torch
    assert of("import msibench.training.fitting") == with_torch
    assert of("def f():\n    import torch\n") == ()
    assert of("class M:\n    def f():\n        from spandrel import ModelLoader\n") == tuple(
        LIBRARIES
    )
    assert of("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n") == ()
    assert of("this is not Python") == ()
    assert libraries_of("msibench_interpolation.method:Interpolation") == ("scipy",)
    assert libraries_of("msibench_lcrn.method:LCRN") == ("scipy", "torch")
    assert libraries_of("msibench_swinir.method:SwinIR") == tuple(LIBRARIES)
    assert libraries_of("msibench_spandrel.method:Spandrel") == tuple(LIBRARIES)
    assert libraries_of("no_such_package.method:M") == ()


def test_a_signal_to_a_guard_that_has_ended_reaches_nothing_else(tmp_path):
    """Its number is kept until it is let go of."""
    process = warm_start.warm_start(
        warm_start.Beginning(
            folder=tmp_path,
            environment={**os.environ, "MSIBENCH_CELL": "tag"},
            server_environment=dict(os.environ),
        ),
        os.open(os.devnull, os.O_WRONLY),
        None,
    )
    assert process.wait(60) == 1  # no cell.json
    assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
    os.killpg(process.pid, signal.SIGKILL)
    process.close()
    process.stdout.close()
    end = time.monotonic() + 10
    while psutil.pid_exists(process.pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not psutil.pid_exists(process.pid)
