"""Without what only Unix has: reading, sharpening and scoring work, a run says what it needs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BOARD = Path(__file__).parents[2] / "leaderboards" / "bladder-x4"
SERVER = """
import json, os, signal, sys
import asyncio, multiprocessing, subprocess, tempfile  # the interpreter's own, as they are here
import h5py, matplotlib.figure, matplotlib.backends.backend_agg, numba, numpy as np, pandas, psutil
import PIL.Image, pyarrow.parquet, pyimzml.ImzMLParser, scipy.optimize, scipy.stats, tifffile
import platformdirs  # later it would ask Windows' own ctypes where caches lie
if os.environ.get("MSIBENCH_SLOW_TESTS"): import torch
import rich.console, rich.progress, click

for line in sys.stdin:  # every script has a fork of its own, which goes on below without what only Unix has
    script, folder = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        for number, name in ((1, "out.txt"), (2, "err.txt")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        break
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
else:
    sys.exit()

class NotHere:
    def find_spec(self, name, path=None, target=None):
        if name in {"fcntl", "resource", "pwd", "grp", "termios"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, NotHere())
for name in ("fork", "killpg", "setsid", "getuid", "geteuid", "getgid", "sched_getaffinity", "statvfs",
             "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "posix_fadvise"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGALRM", "SIGCHLD", "SIGUSR1", "pthread_sigmask"):
    delattr(signal, name)
import threadpoolctl
import types
threadpoolctl.sys = types.SimpleNamespace(**vars(sys))  # it would look for Windows' own libraries
sys.platform = "win32"
exec(script)
"""


@pytest.fixture(scope="module")
def server():
    made = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield made
    made.communicate(timeout=30)


@pytest.fixture
def windows(server, tmp_path):
    rng = np.random.default_rng(0)
    cube = rng.poisson(30, (2, 24, 20)).astype(np.float32)
    np.savez(tmp_path / "section.npz", cube=cube, mz=[400.0, 500.0], pixel_size_um=10.0)

    def run(script):
        server.stdin.write(json.dumps([script, str(tmp_path)]) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        out, err = ((tmp_path / name).read_text() for name in ("out.txt", "err.txt"))
        return subprocess.CompletedProcess([], code, out, err)

    return run


@pytest.mark.parametrize(
    "method", ["bicubic", pytest.param("mosr-msi-tiny", marks=pytest.mark.slow)]
)
def test_the_documented_lines_work_in_process(windows, method):
    done = windows(
        f"""
import msibench as mb
from msibench.io import write_imzml
write_imzml("section.imzML", mb.read("section.npz"))
section = mb.read("section.imzML", mz=[400.0, 500.0])
problem = mb.degrade(section, "area-x4@1")
table = mb.evaluate(mb.upscale(problem, {method!r}), section, problem, metrics=["psnr", "skill"])
done = mb.confidence(mb.Problem(low=section, factor=2), "bicubic")
advice = mb.advise(section, 2, methods=["bicubic"])
print(len(table), done.prediction.shape, advice.recommended, len(section._repr_html_()) > 1000)
"""
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split("\n")[0] == "6 (48, 40) keep True"


def test_a_committed_board_is_opened_and_a_run_says_what_it_needs(windows):
    done = windows(
        f"""
import msibench as mb
print(len(mb.load_board({str(BOARD)!r}).methods) > 5)
try:
    mb.run("quickstart", methods=["bicubic"], results="out")
except mb.MSIBenchError as error:
    print(error)
"""
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("True\n")
    assert "needs Linux or macOS" in done.stdout
    assert "WSL" in done.stdout
    assert "mb.upscale" in done.stdout


def test_the_command_line_says_it_too(windows):
    done = windows(
        """
from msibench.cli.main import main
for words in (
    ["run", "quickstart", "--methods", "bicubic", "--results", "out"],
    ["upscale", "bicubic", "section.npz", "--factor", "2", "-o", "fine.npz"],
):
    try:
        main(words)
    except SystemExit as end:
        print("ended", end.code or 0)
"""
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ended = [line for line in done.stdout.splitlines() if line.startswith("ended")]
    assert ended == ["ended 2", "ended 0"]
    assert "needs Linux or macOS" in done.stderr
