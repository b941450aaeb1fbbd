"""Starts commands for tests: imports once, then forks one for every command that it is asked for.

Without an argument each line that it reads is a JSON object: ``words`` of the command line, ``place`` to run it in.
The answer is the process number; the line ``wait NUMBER`` is answered with its exit status. What a command prints
goes into ``said.txt`` of its place, or into the files ``out`` and ``err`` where the object names them. Python code
under ``before`` is run first, in the command's process. A command leads a session of its own.
The line ``read FILE`` makes what reading such a file needs ready for all commands, and is answered with how many ion
images it has.

With the path of a socket it answers there, until its standard input ends: a connection brings its three streams and a
line of JSON, ``words``, ``place`` and ``environment``, and gets the exit status. `CALL` is a program that does so, for
shell scripts that call ``msibench``.
"""

import json
import os
import select
import signal
import socket
import sys
import traceback
from importlib import import_module

LOADED = (
    "msibench.cli.bundle", "msibench.cli.compare", "msibench.cli.convert", "msibench.cli.import_",
    "msibench.cli.leaderboard", "msibench.cli.new", "msibench.cli.report", "msibench.cli.run",
    "msibench.cli.score", "msibench.cli.upscale", "msibench.cli.verify", "pandas", "h5py", "pyarrow.parquet",
    "scipy.ndimage", "msibench.run_track", "msibench.leaderboard.page", "msibench.io",
)  # fmt: skip
LOG = os.O_CREAT | os.O_APPEND | os.O_WRONLY
CALL = """#!{python} -IS
import json, os, socket, sys
asked = {{"words": sys.argv[1:], "place": os.getcwd(), "environment": dict(os.environ)}}
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [json.dumps(asked).encode() + b"\\n"], [0, 1, 2])
    sys.exit(int(server.recv(16)))
"""


def run(words):
    """Run one command line in this process, which ends with it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    sys.argv = ["msibench", *words]
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115 - the server's own are its pipes
    from msibench.cli.main import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def command(words, place, out="said.txt", err="said.txt", before=""):
    """Run one that prints into files."""
    os.setsid()
    os.chdir(place)
    for name, descriptor in ((out, 1), (err, 2)):
        log = os.open(name, LOG)
        os.dup2(log, descriptor)
        os.close(log)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    exec(before, {})
    return run(words)


def called(streams, words, place, environment):
    """Run one that a program was called for."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    return run(words)


def forked(work, *arguments, **named):
    """Do some work in a process of its own, and return its number."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = work(*arguments, **named)
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return pid


def status_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


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


def serve_lines():
    """Serve until standard input ends."""
    for line in sys.stdin:
        if line.startswith("wait "):
            answer = status_of(int(line.split()[1]))
        elif line.startswith("read "):
            answer = ready_to_read(line.removeprefix("read ").strip())
        else:
            answer = forked(command, **json.loads(line))
        print(answer, flush=True)


def serve_calls(listening):
    """Serve at a socket until standard input ends."""
    while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
        connection, _ = listening.accept()
        with connection:
            line, streams, *_ = socket.recv_fds(connection, 1 << 16, 3)
            while not line.endswith(b"\n"):
                line += connection.recv(1 << 16)
            code = status_of(forked(called, streams, **json.loads(line)))
            for stream in streams:
                os.close(stream)
            connection.sendall(str(code).encode())


def main():
    """Import, say so, and serve."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in LOADED:
        import_module(name)
    if not sys.argv[1:]:
        print("ready", flush=True)
        serve_lines()
        return
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(sys.argv[1])
        listening.listen()
        print("ready", flush=True)
        serve_calls(listening)


if __name__ == "__main__":
    main()
