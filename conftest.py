"""Settings for the whole test suite."""

from __future__ import annotations

import gc
import os
import sys
from collections import defaultdict
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

# Workers of pytest-xdist share the cores already: two threads of a BLAS in each wait for one another, which
# takes five times as long. Before NumPy and PyTorch are imported, so it holds in every worker and every child.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What one process compiles, hundreds of others read: also where a container forbids to keep it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
ALL = os.environ.get("MSIBENCH_SLOW_TESTS") == "1"
# No test asserts a time: by default hypothesis fails an example that takes longer than 200 ms.
settings.register_profile("msibench", deadline=None, max_examples=100 if ALL else 25)
settings.load_profile("msibench")

FIRST = ("tests/runner/executors/slurm/test_slurm.py", "tests/io/imzml/")
"""Begun first: what takes longest, so that no worker waits for another at the end, and what compiles the
inner loops that tests of other folders use, too."""
CONTRACT = "test_contract"
"""What every subclass of MethodContract has: over the methods of one folder, a plugin's, it is a sweep."""
TOGETHER = ("tests/browser/", "tests/io/imzml/", "tests/runner/child/")
"""Folders whose files share what is costly to make; of the others each file is by itself."""


def pytest_configure(config: pytest.Config) -> None:
    """Let each worker of ``-n`` begin to collect elsewhere: what one has compiled, the next one reads."""
    worker = getattr(config, "workerinput", None)
    if worker is None or config.args != config.getini("testpaths"):
        return
    places = [place for name in config.args for place in sorted((config.rootpath / name).iterdir())]
    places = [str(place) for place in places if place.is_dir() or place.match("test_*.py")]
    at = len(places) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    config.args[:] = places[at:] + places[:at]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave what is collected, half a million objects that stay, out of every search for garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put some tests first; skip the minutes-long ones unless they are asked for."""
    items.sort(key=lambda item: (not item.nodeid.startswith(FIRST), item.path))
    if ALL:
        return
    skip = pytest.mark.skip(reason="minutes long; set MSIBENCH_SLOW_TESTS=1 to run it")
    sweeps = defaultdict(list)
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(skip)
        elif item.originalname == CONTRACT:
            sweeps[item.path.parent, CONTRACT].append(item)
        elif item.get_closest_marker("sweep"):
            sweeps[item.path, item.originalname].append(item)
    skip = pytest.mark.skip(
        reason="all combinations take minutes; set MSIBENCH_SLOW_TESTS=1 to run them"
    )
    for sweep in sweeps.values():
        share = each_value_once(sweep)
        for item in sweep:
            if item not in share:
                item.add_marker(skip)


def each_value_once(sweep: list[Any]) -> list[Any]:
    """Return tests of a sweep in which every value of every parameter occurs, few of them more than once."""
    values = {
        item: {("", item.cls)}
        | {(name, repr(value)) for name, value in item.callspec.params.items()}
        for item in sweep
    }
    share: list[Any] = []
    missing = set().union(*values.values())
    while missing:
        share.append(max(sweep, key=lambda item: len(values[item] & missing)))
        missing -= values[share[-1]]
    return share


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call() -> None:
    """Leave pytest's own variable out of what tests start: cells are forks of one process while theirs agree."""
    os.environ.pop("PYTEST_CURRENT_TEST", None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto``: one worker more than cores, as tests that wait for processes leave some of them idle."""
    return 1 + (len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker of ``-n`` whole files, so that what their tests share is made once."""
    if config.option.dist != "load":
        return None
    from xdist.scheduler import LoadFileScheduling

    class WholeFiles(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return next((folder for folder in TOGETHER if path.startswith(folder)), path)

    config.option.loadscopereorder = False
    return WholeFiles(config, log)
