"""The processes below a process, found in two ways."""

import os
import subprocess
import sys

import psutil
import pytest

from msibench.runner.child import processes

GRANDPARENT = (
    "import subprocess, sys, threading, time\n"
    "child = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
    "made = []\n"
    "threads = [threading.Thread(target=lambda: made.append(subprocess.Popen(child))) for _ in range(2)]\n"
    "[t.start() for t in threads]; [t.join() for t in threads]\n"
    "made.append(subprocess.Popen(child))\n"
    "print('ready', flush=True)\n"
    "time.sleep(60)\n"
)


@pytest.fixture
def family():
    process = subprocess.Popen(
        [sys.executable, "-c", GRANDPARENT], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    yield process.pid
    for one in psutil.Process(process.pid).children(recursive=True):
        one.kill()
    process.kill()
    process.communicate()


@pytest.mark.parametrize("files", [True, False])
def test_all_are_found_also_those_that_threads_started(family, files, monkeypatch):
    if files and not processes.has_children_files():
        pytest.skip("this kernel lists no children")
    monkeypatch.setattr(processes, "has_children_files", lambda: files)
    known = {}
    found = {one.pid for one in processes.below(os.getpid(), known)}
    assert family in found
    assert {p.pid for p in psutil.Process(family).children(recursive=True)} <= found
    assert set(known) == found


def test_nothing_is_below_a_process_that_is_gone():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert processes.below(process.pid, {}) == []


@pytest.mark.parametrize("files", [True, False])
def test_a_process_that_ends_after_it_was_listed_is_left_out(family, files, monkeypatch):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setattr(processes, "has_children_files", lambda: files)
    listing = "_from_threads" if files else "_from_all"
    monkeypatch.setattr(processes, listing, lambda root: [gone.pid, family])
    known = {}
    assert [one.pid for one in processes.below(os.getpid(), known)] == [family]
    assert set(known) == {family}


def test_a_process_that_is_known_is_not_looked_up_again(family):
    known = {}
    first = processes.below(os.getpid(), known)
    again = processes.below(os.getpid(), known)
    assert all(one is known[one.pid] for one in (*first, *again))
    assert family in known
