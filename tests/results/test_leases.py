import errno
import json
import os
import subprocess
import sys
import time

import pytest

from msibench.errors import StoreError
from msibench.owners import place, process_start
from msibench.results import leases


@pytest.fixture
def path(tmp_path):
    return tmp_path / "leases" / "cell.json"


def test_one_of_two_gets_the_lease(path):
    first = leases.acquire(path)
    assert first is not None
    assert leases.acquire(path) is None
    first.release()
    assert leases.acquire(path) is not None


def test_the_lease_of_a_process_that_died_here_is_taken_over(path):
    script = f"from msibench.results import leases; from pathlib import Path; leases.acquire(Path({str(path)!r}))"
    subprocess.run([sys.executable, "-c", script], check=True)
    assert path.exists()
    assert leases.acquire(path) is not None


def test_another_hosts_lease_is_kept_until_it_falls_silent(path):
    path.parent.mkdir()
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "t"}))
    assert leases.acquire(path) is None
    silent = time.time() - leases.STALE_S - 1
    os.utime(path, (silent, silent))
    assert leases.acquire(path) is not None


def test_a_clock_that_jumped_back_does_not_take_a_lease_away(path):
    path.parent.mkdir()
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "t"}))
    ahead = time.time() + 10_000
    os.utime(path, (ahead, ahead))
    assert leases.acquire(path) is None


def test_a_lease_that_was_taken_over_is_not_released_by_its_old_holder(path):
    old = leases.acquire(path)
    path.unlink()
    new = leases.acquire(path)
    old.release()
    assert new.held()
    assert not old.held()


def test_a_heartbeat_keeps_a_lease_young(path):
    lease = leases.acquire(path)
    past = time.time() - 1000
    os.utime(path, (past, past))
    lease.beat()
    assert time.time() - path.stat().st_mtime < 100


def test_of_many_at_once_one_wins(path):
    script = (
        "import sys; from pathlib import Path; from msibench.results import leases\n"
        f"lease = leases.acquire(Path({str(path)!r}))\n"
        "print(lease is not None, flush=True); sys.stdin.read()"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    won = [run.stdout.readline().strip() for run in runs]
    assert won.count("True") == 1
    assert won.count("False") == 3
    assert "process" in leases.holder(path)
    for run in runs:
        run.communicate()


@pytest.mark.parametrize(
    ("holder", "dropped"),
    [
        ({}, True),
        ({"place": "elsewhere"}, False),
        ({"pid": "4194303"}, False),
        ({"pid": None}, False),
    ],
)
def test_only_leases_of_dead_processes_of_this_machine_are_dropped(path, holder, dropped):
    path.parent.mkdir()
    gone = {"host": "here", "place": place(), "pid": 4_194_303, "started": 1.0, "token": "t"}
    path.write_text(json.dumps(gone | holder))
    leases.drop_orphaned(path)
    assert path.exists() is not dropped


def test_a_lease_of_this_process_is_never_dropped_nor_stale_and_one_of_its_number_before_it_is(
    path,
):
    lease = leases.acquire(path)
    assert lease is not None
    leases.drop_orphaned(path)
    assert path.exists()
    assert not leases.is_stale(path)
    for started, stale in ((process_start(os.getpid()), False), (1.0, True), ("odd", False)):
        held = json.loads(path.read_text()) | {"started": started}
        path.write_text(json.dumps(held))
        assert leases.is_stale(path) is stale


def test_waiting_for_a_lease_ends_with_it_or_without_it(path):
    with leases.waited_for(path):
        assert path.exists()
        assert leases.acquire(path) is None
        with leases.waited_for(path, patience_s=0.05):
            assert path.exists()
        assert path.exists()  # it was another's, and stays
    assert not path.exists()
    assert leases.holder(path) == "unknown host, process ?"


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK])
def test_a_folder_without_hard_links_keeps_leases_all_the_same(path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    first = leases.acquire(path)
    assert first is not None
    assert first.held()
    assert leases.acquire(path) is None
    first.release()
    assert leases.acquire(path) is not None
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_another_fault_of_linking_is_not_hidden(path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StoreError):
        leases.acquire(path)
    assert not list(path.parent.iterdir())


def test_a_lease_that_was_removed_is_released_in_silence_and_one_that_cannot_be_is_kept(
    path, monkeypatch
):
    lease = leases.acquire(path)
    path.unlink()
    lease.beat()
    lease.release()
    lease = leases.acquire(path)

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(type(path), "unlink", refuse)
    lease.release()
    assert lease.held()


def test_a_heartbeat_from_the_future_counts_anew_from_the_first_look(path):
    path.parent.mkdir()
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "t"}))
    for ahead, mended in ((leases.STALE_S / 2, False), (2 * leases.STALE_S, True)):
        then = time.time() + ahead
        os.utime(path, (then, then))
        assert leases.acquire(path) is None
        assert (path.stat().st_mtime < then - ahead / 2) is mended


def test_a_stale_lease_that_another_run_took_first_is_free(path, monkeypatch):
    path.parent.mkdir()
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "t"}))
    silent = time.time() - leases.STALE_S - 1
    os.utime(path, (silent, silent))

    def gone(self, _):
        self.unlink()
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(type(path), "rename", gone)
    lease = leases.acquire(path)
    assert lease is not None
    assert lease.held()


def test_a_lease_that_came_to_life_while_it_was_taken_is_given_back(path, monkeypatch):
    path.parent.mkdir()
    text = json.dumps({"host": "elsewhere", "pid": 1, "token": "t"})
    path.write_text(text)
    looks = iter((True, False))
    monkeypatch.setattr(leases, "is_stale", lambda _: next(looks))
    assert leases.acquire(path) is None
    assert path.read_text() == text
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_silence_is_told_where_no_clock_can_be_asked(path, monkeypatch):
    path.parent.mkdir()
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "t"}))

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(type(path), "touch", refuse)
    for ago, stale in ((leases.STALE_S - 30, False), (leases.STALE_S + 30, True)):
        silent = time.time() - ago
        os.utime(path, (silent, silent))
        assert leases.is_stale(path) is stale
    path.unlink()
    assert leases.is_stale(path)


def test_a_link_whose_answer_was_lost_is_a_lease(path, monkeypatch):
    link = os.link

    def lost(source, target):
        link(source, target)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", lost)
    lease = leases.acquire(path)
    assert lease is not None
    assert lease.held()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_disk_that_fills_while_a_lease_is_written_leaves_none(path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    opened = type(path).open

    def full(self, mode="r", *args, **options):
        if mode != "x":
            return opened(self, mode, *args, **options)
        opened(self, mode, *args, **options).close()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(type(path), "open", full)
    with pytest.raises(StoreError, match="free some space"):
        leases.acquire(path)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_a_lease_that_cannot_be_read_is_nobodys_until_it_is_silent(path, text):
    path.parent.mkdir()
    path.write_text(text)
    assert leases.holder(path) == "unknown host, process ?"
    leases.drop_orphaned(path)
    assert leases.acquire(path) is None
    silent = time.time() - leases.STALE_S - 1
    os.utime(path, (silent, silent))
    assert leases.acquire(path) is not None


def test_a_lease_of_this_process_whose_start_is_not_a_number_is_kept(path):
    path.parent.mkdir()
    path.write_text(json.dumps({"place": place(), "pid": os.getpid(), "started": "odd"}))
    leases.drop_orphaned(path)
    assert path.exists()
