"""Refusals: on purpose, explained, inside a stated memory and without hanging."""

import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bounded import Server

HANG_S = 60.0
"""Far above what any refusal takes: it tells a hang from a slow machine, and measures nothing."""


@pytest.fixture(scope="session")
def server():
    made = Server()
    yield made
    made.close()


@pytest.fixture
def bounded(server, request):
    """Return a function that calls a reader under limits and tells how it ended."""

    def call(target, *args, memory_mib=256, seconds=HANG_S, **options):
        ended = server.call(target, *args, memory_mib=memory_mib, seconds=seconds, **options)
        _note(request.node.nodeid, memory_mib, ended)
        return ended

    return call


@pytest.fixture
def refused(bounded):
    """Return a function that asserts a refusal with an explained error, and gives its message."""

    def check(target, *args, names="", **options):
        ended = bounded(target, *args, **options)
        assert ended.error, f"was read: {ended.value}"
        assert ended.on_purpose, f"{ended.error}: {ended.message}"
        assert names in ended.message, ended.message
        assert len(ended.message) < 4000
        return ended.message

    return check


def _note(test, memory_mib, ended):
    """Keep the figures for bench/RESULTS.md where they are asked for."""
    if path := os.environ.get("MSIBENCH_SECURITY_FIGURES"):
        row = {"test": test, "limit_mib": memory_mib, "error": ended.error}
        row |= {"peak_mib": round(ended.peak_mib, 1), "seconds": round(ended.seconds, 3)}
        with Path(path).open("a") as figures:
            figures.write(json.dumps(row) + "\n")
