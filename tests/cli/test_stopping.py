"""Ctrl-C and SIGTERM: what is finished is kept, the exit is 130, and it does not take long."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from msibench.cli import _stop
from msibench.cli.main import cli, main
from msibench.results.schema import Status
from msibench.results.store import METRICS, PREDICTION, Store

SLOW_S = 120.0
"""What is interrupted takes so long: whoever waits for it fails the test."""
BEFORE = """
import time
from pathlib import Path
mark = Path({mark!r})

def slow(*args, **kwargs):
    mark.touch()
    time.sleep({slow})

{patch}
"""
RUN = ["run", "quickstart", "--methods", "nearest", "--metrics", "psnr", "--results", "results"]
PLACES = {
    "planning": "import msibench.cli.run as r; r.planned = slow",
    "scoring": "import msibench.runner.scores.prediction_scores as r; r.score = slow",
    "the board": "import msibench.run_track as r; r.write_leaderboard = slow",
    "a computation that holds no interpreter lock": (
        "import ctypes, msibench.run_track as r\n"
        "def deep(*a, **k): mark.touch(); ctypes.CDLL(None).usleep(100_000_000)\n"
        "r.write_leaderboard = deep"
    ),
}


def wait_for(path, process):
    end = time.monotonic() + 100
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("place", "number"),
    [
        ("scoring", signal.SIGTERM),
        ("a computation that holds no interpreter lock", signal.SIGINT),
        pytest.param("scoring", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("planning", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("the board", signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_one_signal_ends_a_run_soon_and_keeps_what_is_finished(
    server, bench_of_main, tmp_path, place, number
):
    mark, results, output = tmp_path / "mark", tmp_path / "results", tmp_path / "said.txt"
    before = BEFORE.format(mark=str(mark), slow=SLOW_S, patch=PLACES[place])
    pid = server.start([*RUN, "--no-sandbox"], tmp_path, before=before)
    while not mark.exists():
        assert psutil.Process(pid).status() != psutil.STATUS_ZOMBIE, output.read_text()
        time.sleep(0.02)
    os.kill(pid, number)
    code, said = server.wait(pid), output.read_text()
    assert code == 130, said
    assert "finished cells are kept" in said
    assert "Traceback" not in said
    if place == "scoring":
        store = Store.open(results, create=False)
        kept = list(store.records())
        assert kept
        for record in kept:
            assert record.status is Status.OK
            assert PREDICTION in record.files
            assert METRICS not in record.files, "scores are computed by the next run"
        assert not list((results / "work").iterdir())
        assert not list((results / "leases").glob("*.json"))
        words = ("quickstart", "--methods", "nearest", "--metrics", "psnr", "--results", results)
        assert bench_of_main("run", *words) == 0
        for record in Store.open(results, create=False).records():
            assert METRICS in record.files, "the next run scores what a stopped one kept"
            assert record.scores


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("run", "the same command continues"),
        ("import", "the same command continues"),
        ("fetch", "the same command continues"),
        ("finetune", "continue with --resume"),
        ("advise", None),
        ("upscale", None),
    ],
)
def test_a_stopped_command_says_what_is_kept_and_no_more(command, kept, capsys, monkeypatch):
    def stopped(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", stopped)
    with pytest.raises(SystemExit) as exit_:
        main(["--traceback", command])
    said = capsys.readouterr().err
    assert exit_.value.code == 130
    assert kept in said if kept else said == "stopped\n"


def test_a_stopped_command_waits_for_nothing_that_python_ends(tmp_path):
    """Libraries wait at the end of Python, for threads that never come to theirs."""
    mark = tmp_path / "mark"
    text = (
        "import sys, threading, time\n"
        "from pathlib import Path\n"
        "import msibench.cli.run as run\n"
        "from msibench.cli.main import main\n"
        "def slow(*args, **kwargs):\n"
        f"    threading.Thread(target=time.sleep, args=({SLOW_S},)).start()\n"
        f"    Path({str(mark)!r}).touch()\n"
        f"    time.sleep({SLOW_S})\n"
        "run.planned = slow\n"
        f"sys.argv[1:] = ['run', 'quickstart', '--results', {str(tmp_path / 'results')!r}]\n"
        "main()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", text], stderr=subprocess.PIPE, text=True)
    wait_for(mark, process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=SLOW_S / 2)[1]
    assert process.returncode == 130, said
    assert said.count("finished cells are kept") == 1


@pytest.fixture
def bench_of_main():
    """Return a function that runs the command line here and returns its exit status."""

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        return ended.value.code

    return run


def test_a_second_signal_ends_at_once():
    text = (
        "import time\n"
        "from msibench.cli import _stop\n"
        "_stop.WITHIN_S = 100\n"
        "with _stop.orderly(), _stop.told(lambda: print('asked', flush=True), 100):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(120)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    process.stdout.close()


def test_handlers_are_restored():
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with _stop.orderly():
        assert [signal.getsignal(number) for number in numbers] != before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_an_interrupt_during_imports_leaves_no_traceback(tmp_path):
    """The command's first lines take signals before anything heavy is imported."""
    mark = tmp_path / "mark"
    (tmp_path / "click.py").write_text(
        f"import time; open({str(mark)!r}, 'w').close(); time.sleep({SLOW_S})"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "msibench.cli.start", "list"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parent,
    )
    wait_for(mark, process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=SLOW_S / 2)[1]
    assert process.returncode == 130
    assert said == "stopped\n"
