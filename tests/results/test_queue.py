"""Tickets of cells that a batch system has."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from msibench.results.queue import (
    KEPT_S,
    TICKET,
    batch_folder,
    queue_folder,
    read_ticket,
    sweep_queue,
    tickets,
)
from msibench.results.store import Store
from tests.results.test_store import KEY, put

SOUND = {"batch": "7", "task": "7_3", "place": 3, "tries": 1, "key": "k"}


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "results")


def queued(store, name, **changes):
    folder = queue_folder(store, name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TICKET).write_text(json.dumps(SOUND | {"key": name} | changes))
    return folder


@pytest.mark.parametrize(
    "odd", [{"batch": 7}, {"task": None}, {"place": "3"}, {"tries": 1.5}, {"key": "other"}]
)
def test_a_ticket_is_read_only_where_every_field_is_sound(store, odd):
    assert read_ticket(queued(store, "k")) == SOUND
    assert read_ticket(queued(store, "k", **odd)) is None
    for text in ("", "[]", "{}"):
        (queue_folder(store, "k") / TICKET).write_text(text)
        assert read_ticket(queue_folder(store, "k")) is None


def test_tickets_are_told_in_the_order_of_their_keys(store):
    assert list(tickets(store)) == []
    for key in ("b", "a", "c"):
        queued(store, key)
    queued(store, "d", place="x")
    assert [ticket["key"] for ticket in tickets(store)] == ["a", "b", "c"]


def test_recorded_cells_and_old_arrays_that_nobody_refers_to_are_swept(store):
    sweep_queue(store)
    done, waiting = queued(store, KEY), queued(store, "other", batch="8")
    put(store)
    now = time.time()
    ages = {"7": 2 * KEPT_S, "8": 2 * KEPT_S, "9": KEPT_S - 600}
    for batch, age in ages.items():
        folder = batch_folder(store, batch)
        folder.mkdir(parents=True)
        os.utime(folder, (now - age, now - age))
    lease = store.lease(KEY)
    sweep_queue(store)
    assert done.is_dir()  # a run is at work on it
    assert waiting.is_dir()
    assert [batch_folder(store, batch).is_dir() for batch in ages] == [True, True, True]
    lease.release()
    sweep_queue(store)
    assert not done.exists()
    assert waiting.is_dir()
    assert [batch_folder(store, batch).is_dir() for batch in ages] == [False, True, True]


def test_what_another_run_sweeps_in_the_same_moment_is_no_error(store, monkeypatch):
    real = shutil.rmtree

    def twice(folder, **options):
        real(folder)
        real(folder, **options)

    done = queued(store, KEY)
    put(store)
    old = batch_folder(store, "7")
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    monkeypatch.setattr(shutil, "rmtree", twice)
    sweep_queue(store)
    assert not done.exists()
    assert not old.exists()


def test_an_array_that_vanishes_while_it_is_looked_at_hides_no_other(store, monkeypatch):
    for batch in ("7", "8"):
        batch_folder(store, batch).mkdir(parents=True)
        os.utime(batch_folder(store, batch), (0, 0))
    stat, gone = Path.stat, []

    def vanishing(path, **options):
        if path.parent.name == "batches" and not gone:
            gone.append(path.name)
            raise FileNotFoundError(path)
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", vanishing)
    sweep_queue(store)
    monkeypatch.undo()
    assert [one.name for one in batch_folder(store, "7").parent.iterdir()] == gone
