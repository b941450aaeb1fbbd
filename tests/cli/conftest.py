"""Processes that start commands, so that none of them has to import what it needs."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.cli.command_server import CALL

SERVER = Path(__file__).with_name("command_server.py")


class CommandServer:
    """Forks commands one by one as a test asks for them."""

    def __init__(self, environment=None):
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"

    def start(self, words, place, **more):
        """Start a command and return its process number; `more` as ``command_server.py`` takes it."""
        return int(self._ask(json.dumps({"words": words, "place": str(place), **more})))

    def wait(self, pid):
        return int(self._ask(f"wait {pid}"))

    def read(self, path):
        return int(self._ask(f"read {path}"))

    def run(self, words, place):
        return self.wait(self.start(words, place))

    def close(self):
        self._process.communicate(timeout=30)

    def _ask(self, line):
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@pytest.fixture(scope="session")
def server():
    server = CommandServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def tools():
    """A folder with a program ``msibench`` for shell scripts: each call of it is a fork."""
    with tempfile.TemporaryDirectory(prefix="msibench-tools-") as folder:
        address = f"{folder}/socket"  # short: a socket's path has 100 letters at most
        program = Path(folder, "msibench")
        program.write_text(CALL.format(python=sys.executable, address=address))
        program.chmod(0o755)
        server = subprocess.Popen(
            [sys.executable, str(SERVER), address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout.readline() == "ready\n"
        yield Path(folder)
        server.communicate(timeout=30)
