"""``kill -9`` of supervisors, children and whole groups at any moment loses nothing that was finished."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import psutil
import pytest

from msibench.results.store import METRICS, PREDICTION, Store

METHODS = ["Near", "Far"]
TARGETS = ("supervisor", "child", "group", "supervisor and guards")
SOME = TARGETS[:2]
"""Killed every day; of a whole group too little is left to go wrong."""


class Nursery:
    """A process that forks supervisors, so that a round costs no imports."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("supervisors.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def start(self, results, methods=METHODS, retry=("killed",)):
        asked = {"results": str(results), "methods": list(methods), "retry": list(retry)}
        return int(self._ask(json.dumps(asked)))

    def wait(self, pid):
        return int(self._ask(f"wait {pid}"))

    def run(self, results, **asked):
        return self.wait(self.start(results, **asked))

    def close(self):
        self._process.communicate(timeout=30)

    def _ask(self, line):
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self):
        return self._process.stdout.readline().strip()


@pytest.fixture(scope="module")
def nursery():
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="module")
def undisturbed(nursery, tmp_path_factory):
    """Return what a run gives that nobody disturbs, and the seconds that it takes."""
    start = time.monotonic()
    folder = tmp_path_factory.mktemp("undisturbed") / "results"
    assert nursery.run(folder) == 0, said(folder)
    return stored_bytes(folder), time.monotonic() - start


def said(results):
    path = results.parent / "said.txt"
    return path.read_text() if path.exists() else ""


def stored_bytes(results):
    records = list(Store.open(results, create=False).records())
    return {r.method: (r.status, r.files.get(PREDICTION), r.files.get(METRICS)) for r in records}


def at_work(results):
    """Return the processes that are at work in a results folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line, status = process.info["cmdline"] or [], process.info["status"]
        if status != psutil.STATUS_ZOMBIE and any(str(results) in part for part in line):
            found.append(process)
    return found


def wait_until_nobody_works(results):
    end = time.monotonic() + 20
    while (left := at_work(results)) and time.monotonic() < end:
        time.sleep(0.01)
    assert not left, f"{left} outlived their supervisor"


def kill(target, pid, chance):
    """Kill -9; return whether there was anything to kill."""
    try:
        supervisor = psutil.Process(pid)
        everything, longest = below(pid), 0.1
        while target == "child" and supervisor.status() != psutil.STATUS_ZOMBIE:
            if below(pid):
                time.sleep(chance.uniform(0, longest))
                longest /= 2  # a cell that ends meanwhile is not hit: the next one, a little sooner
                if everything := below(pid):
                    break
            time.sleep(0.005)
        guards = supervisor.children()
    except psutil.NoSuchProcess:
        return False
    victims = {
        "supervisor": [supervisor],
        "child": [chance.choice(everything)] if everything else [],
        "group": [supervisor, *everything],
        "supervisor and guards": [supervisor, *guards],
    }[target]
    for victim in victims:
        try:
            os.kill(victim.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return bool(victims)


def below(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def check_whole(results):
    """Every recorded cell, index and leaderboard is whole, whatever else there is."""
    if not (results / "store.json").exists():
        return
    store = Store.open(results, create=False)
    for key in list(store.keys()):
        record = store.record(key)
        store.check_files(record)
        store.metric_rows(record)
    for path in (results / "tracks").glob("[!.]*.json"):
        json.loads(path.read_text())
    board = results / "leaderboards" / "speck"
    if (board / "rows.parquet").exists():
        pd.read_parquet(board / "rows.parquet")


def leftovers(results):
    parts = [path.name for path in results.rglob(".*.part")]
    places = [results / name for name in ("work", "leases", "set-aside")]
    return parts + [entry.name for place in places if place.is_dir() for entry in place.iterdir()]


@pytest.mark.parametrize(
    ("seed", "targets", "rounds"),
    [(9, SOME, 2), pytest.param(2, TARGETS, 200, marks=pytest.mark.slow, id="200 rounds")],
)
def test_kill_9_at_any_moment_loses_nothing(nursery, undisturbed, tmp_path, seed, targets, rounds):
    expected, seconds = undisturbed
    chance = random.Random(seed)
    hit = Counter()
    for number in range(rounds):
        target = targets[number % len(targets)]
        results = tmp_path / str(number) / "results"
        results.parent.mkdir()
        where = f"round {number}: {target}"
        for _ in range(chance.choice([1, 1, 2]) if rounds > 2 else 1):  # the resumed run, too
            pid = nursery.start(results)
            time.sleep(0 if target == "child" else chance.uniform(0, seconds))
            hit[target] += kill(target, pid, chance)
            nursery.wait(pid)
            wait_until_nobody_works(results)
            check_whole(results)
        assert nursery.run(results) == 0, f"{where}: {said(results)}"
        assert stored_bytes(results) == expected, where
        assert leftovers(results) == [], where
        check_whole(results)
    assert min(hit[target] for target in targets) >= max(1, rounds // 10), hit


@pytest.mark.parametrize("killed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_two_supervisors_share_a_folder(nursery, undisturbed, tmp_path, killed):
    expected, _ = undisturbed
    results = tmp_path / "results"
    pids = [nursery.start(results), nursery.start(results)]
    if killed:
        end = time.monotonic() + 20
        while not any(results.glob("work/*")) and time.monotonic() < end:
            time.sleep(0.005)
        os.kill(pids[0], signal.SIGKILL)
    codes = [nursery.wait(pid) for pid in pids]
    wait_until_nobody_works(results)
    if killed:
        assert codes[0] == -signal.SIGKILL
        assert nursery.run(results) == 0, said(results)
    else:
        assert set(codes) <= {0, 3}  # 3: the other one had a cell, and was not done with it yet
    assert stored_bytes(results) == expected
    assert leftovers(results) == []
    assert nursery.run(results) == 0


# -- a results folder that is moved or removed -------------------------------------------------


def away(how, results):
    if how == "removed":
        shutil.rmtree(results)
        return
    results.rename(results.with_name("moved"))
    if how == "replaced by a file":
        results.write_text("a file in its place")


@pytest.mark.parametrize(
    "how",
    [
        "moved",
        *(pytest.param(how, marks=pytest.mark.slow) for how in ("removed", "replaced by a file")),
    ],
)
def test_a_results_folder_that_goes_away_in_the_middle(nursery, undisturbed, tmp_path, how):
    results, methods = tmp_path / "results", ["Near", "Dawdles"]
    pid = nursery.start(results, methods)
    end = time.monotonic() + 30
    one_is_stored = lambda: any(results.glob("cells/*/*/record.json"))  # noqa: E731
    other_has_begun = lambda: any(results.glob("work/*/scratch"))  # noqa: E731
    while not (one_is_stored() and other_has_begun()) and time.monotonic() < end:
        time.sleep(0.02)
    away(how, results)
    assert nursery.wait(pid) == 2
    wait_until_nobody_works(results)
    assert str(results) in said(results)
    assert "put the results folder back" in said(results)
    assert not results.is_dir()  # it was not made again behind anybody's back
    if how == "removed":
        return
    moved = tmp_path / "moved"
    check_whole(moved)
    (kept,) = Store.open(moved).records()
    assert kept.method == "Near"
    assert nursery.run(moved, methods=methods) == 0, said(moved)
    after = stored_bytes(moved)
    assert after["Near"] == undisturbed[0]["Near"]
    assert after["Dawdles"][:2] == after["Near"][:2]
    assert leftovers(moved) == []
