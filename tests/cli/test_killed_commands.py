"""``kill -9`` of any command at any moment: what is there is whole, and the next one finishes the work."""

import json
import os
import random
import shutil
import signal
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from msibench import read
from msibench.results.store import Store

RUN = ["run", "--data", "section.npz", "--mz", "all", "--methods", "nearest", "--metrics", "psnr", "--results", "results",
       "--no-sandbox"]  # fmt: skip
COMMANDS = {
    "run": (RUN, ["results/cells"]),
    "score": (["score", "section", "--results", "results", "--all"], ["results/leaderboards"]),
    "leaderboard": (["leaderboard", "section", "--results", "results"], ["results/leaderboards"]),
    "report": (["report", "section", "--results", "results"], ["results/leaderboards"]),
    "bundle": (["bundle", "section", "--results", "results", "--predictions", "-o", "made.zip"],
               ["made.zip"]),
    "import": (["import", "theirs.zip", "--results", "mine"], ["mine/cells"]),
    "convert": (["convert", "section.npz", "made.h5", "--mz", "all"], ["made.h5"]),
    "convert to imzML": (["convert", "section.npz", "made.imzML", "--mz", "all"],
                         ["made.imzML", "made.ibd"]),
    "upscale": (["upscale", "bicubic", "section.npz", "--mz", "all", "-o", "fine.ome.tif", "-o", "fine.h5"],
                ["fine.ome.tif", "fine.h5"]),
    "new": (["new", "method", "sharpen"], ["sharpen"]),
}  # fmt: skip
"""Command → its words, and what it makes."""
STARTED = {"run", "import", "convert", "convert to imzML", "upscale", "bundle", "new"}
"""Commands that start from nothing; the others make something again that is there."""


@pytest.fixture(scope="module")
def nothing(tmp_path_factory):
    """A folder with a section, before anything was run."""
    place = tmp_path_factory.mktemp("nothing")
    cube = np.random.default_rng(0).gamma(2.0, 1.0, (6, 48, 56)).astype(np.float32)
    np.savez(place / "section.npz", cube=cube, mz=np.arange(6) + 700.5, pixel_size_um=10.0)
    return place


@pytest.fixture(scope="module")
def stored(server, nothing, tmp_path_factory):
    """The same folder with results, a board and a bundle of somebody else."""
    place = tmp_path_factory.mktemp("stored") / "place"
    shutil.copytree(nothing, place)
    for words in (RUN, [*COMMANDS["bundle"][0][:-1], "theirs.zip"]):
        assert server.run(words, place) == 0, said(place)
    return place


def said(place):
    return (place / "said.txt").read_text()


def files_below(place, names):
    """Return path → content of everything that is made."""
    found = {}
    for name in names:
        path = place / name
        below = [path] if path.is_file() else sorted(path.rglob("*"))
        found |= {str(one.relative_to(place)): one for one in below if one.is_file()}
    return {name: content(path) for name, path in found.items() if not hidden(name)}


def hidden(name):
    return any(part.startswith(".") for part in Path(name).parts)


def content(path):
    """Return what does not change from run to run: of a record, its key and status."""
    if path.name == "record.json":
        return json.loads(path.read_bytes())["key"].encode()
    if path.suffix == ".ibd" or path.name == "log.txt":
        return b""
    if path.suffix == ".imzML":  # each file has a number of its own
        image = read(path)
        return image.values.tobytes() + image.mz.tobytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            return "\n".join(sorted(archive.namelist())).encode()
    return path.read_bytes()


def check_store(folder):
    if not (folder / "store.json").exists():
        return
    store = Store.open(folder, create=False)
    for record in store.records():
        store.check_files(record)


def leftovers(place):
    """Return what only a killed command leaves behind."""
    marks = (".part", ".partial", "import-")
    return [
        str(path.relative_to(place))
        for path in place.rglob("*")
        if path.name.endswith(marks[:2]) or path.name.startswith(marks[2])
    ]


def kill_once(server, name, place, seconds, chance):
    """Kill -9 a command somewhere on its way; return whether it was still running."""
    pid = server.start(COMMANDS[name][0], place)
    time.sleep(chance.uniform(0.05, 1.0) * seconds)
    os.kill(pid, signal.SIGKILL)
    return server.wait(pid) == -signal.SIGKILL


EACH = [
    ("import", 1),
    *(pytest.param(name, 20, marks=pytest.mark.slow, id=f"{name}-20") for name in COMMANDS),
]
"""One round of the command that writes most every day, and 200 over all commands among the slow tests."""


@pytest.mark.parametrize(("name", "rounds"), EACH)
def test_a_command_that_is_killed_is_finished_by_the_next_one(
    server, nothing, stored, tmp_path, name, rounds
):
    words, made = COMMANDS[name]
    source = nothing if name in STARTED - {"bundle", "import"} else stored
    calm = tmp_path / "calm"
    shutil.copytree(source, calm)
    before = files_below(calm, made)
    start = time.monotonic()
    assert server.run(words, calm) == 0, said(calm)
    seconds = time.monotonic() - start
    whole = files_below(calm, made)
    assert whole
    chance, hit = random.Random(name), 0
    for number in range(rounds):
        place = tmp_path / str(number)
        shutil.copytree(source, place)
        hit += kill_once(server, name, place, seconds, chance)
        for path, found in files_below(place, made).items():
            assert found in {whole.get(path), before.get(path)}, (name, number, path)
        for folder in ("results", "mine"):
            check_store(place / folder)
        code = server.run(words, place)
        assert code == 0 or (code in {2, 6} and "already" in said(place)), (name, number)
        assert files_below(place, made) == whole, (name, number)
        assert leftovers(place) == [], (name, number)
        shutil.rmtree(place)
    assert hit or rounds == 1, "no round hit the command while it ran"
