"""Starts commands for tests that kill them: imports once, then forks one for every line that it reads.

Each line is a JSON object: ``words`` of the command line, ``place`` to run it in. The answer is the
process number; the line ``wait NUMBER`` is answered with its exit status. What a command prints goes into
``said.txt`` of its place, or into the files ``out`` and ``err`` where the object names them. A command
leads a session of its own. The line ``read FILE`` makes what reading such a file needs ready for all commands,
and is answered with how many ion images it has.
"""

import json
import os
import signal
import sys
from importlib import import_module

LOADED = (
    "msibench.cli.bundle", "msibench.cli.convert", "msibench.cli.import_", "msibench.cli.leaderboard",
    "msibench.cli.new", "msibench.cli.report", "msibench.cli.run", "msibench.cli.score",
    "msibench.cli.upscale", "msibench.cli.verify", "pandas", "h5py", "pyarrow.parquet", "scipy.ndimage",
    "msibench.run_track", "msibench.leaderboard.page", "msibench.io",
)  # fmt: skip
LOG = os.O_CREAT | os.O_APPEND | os.O_WRONLY


def command(words, place, out="said.txt", err="said.txt"):
    """Run one command line in this process, which ends with it."""
    os.setsid()
    os.chdir(place)
    for name, descriptor in ((out, 1), (err, 2)):
        log = os.open(name, LOG)
        os.dup2(log, descriptor)
        os.close(log)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    sys.argv = ["msibench", *words]
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - the server's own ends in its pipe
    from msibench.cli.main import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def ready_to_read(path):
    """Read a file's two strongest ion images, and import what registers and advises."""
    from msibench.io.imzml.open import open_imzml

    for name in (
        "msibench.advice",
        "msibench.cli.advise",
        "msibench.cli.register",
        "scipy.optimize",
    ):
        import_module(name)
    with open_imzml(path) as section:
        return section.ion_images(section.strongest_peaks(2).mz, 5.0).channels


def serve():
    """Serve until standard input ends."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in LOADED:
        import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        if line.startswith("wait "):
            _, status = os.waitpid(int(line.split()[1]), 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        if line.startswith("read "):
            print(ready_to_read(line.removeprefix("read ").strip()), flush=True)
            continue
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = command(**asked)
            finally:
                sys.stdout.flush()
                os._exit(code)
        print(pid, flush=True)


if __name__ == "__main__":
    serve()
