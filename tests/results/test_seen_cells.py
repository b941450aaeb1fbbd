"""What was seen is believed only of the very bytes, by the code and the user that saw them."""

import os
import stat

import pytest

from msibench.results import seen_cells
from msibench.results.files import sha256_of
from msibench.results.seen_cells import SEAL_KEY, SeenCell, SeenCells, with_metrics
from msibench.results.store import Store
from tests.results.test_store import KEY, put


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path / "cache"))
    return Store.open(tmp_path / "results")


def seen(store):
    record = put(store)
    digest = sha256_of(store.cell_folder(KEY) / "record.json")
    cells = {KEY: SeenCell.of(record, digest, "twin")}
    SeenCells(store, "t").write(cells, {"board": [1, "é"]})
    return cells


def test_what_was_written_is_read_by_the_same_user_and_track(store, tmp_path):
    nothing = SeenCells.read(store, "t")
    assert not nothing.cells
    assert not (tmp_path / "cache").exists()  # to look makes no key
    cells = seen(store)
    found = SeenCells.read(store, "t")
    assert found.cells == cells
    assert found.board == {"board": [1, "é"]}
    assert "é".encode() in (store.root / "seen" / "t.json").read_bytes()
    key = tmp_path / "cache" / SEAL_KEY
    assert len(key.read_bytes()) == 32
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [entry.name for entry in key.parent.iterdir()] == [SEAL_KEY]
    before = key.read_bytes()
    SeenCells(store, "t").write({}, {"other": 1})
    assert key.read_bytes() == before


@pytest.mark.parametrize("how", ["byte", "track", "key", "short key", "code", "empty"])
def test_what_another_wrote_or_damage_changed_is_as_good_as_absent(
    store, tmp_path, monkeypatch, how
):
    seen(store)
    place, key = store.root / "seen" / "t.json", tmp_path / "cache" / SEAL_KEY
    track = "t"
    if how == "byte":
        raw = bytearray(place.read_bytes())
        raw[-10] ^= 1
        place.write_bytes(raw)
    elif how == "track":
        track = "u"
        place.rename(place.with_name("u.json"))
    elif how in {"key", "short key"}:
        key.write_bytes(b"x" * (32 if how == "key" else 31))
    elif how == "code":
        monkeypatch.setattr(seen_cells, "code_in_use", lambda: "another")
    else:
        place.write_bytes(b"")
    found = SeenCells.read(store, track)
    assert (dict(found.cells), dict(found.board)) == ({}, {})


def test_a_cell_is_sound_while_its_record_and_files_are_the_bytes_that_were_seen(store):
    seen(store)
    first = SeenCells.read(store, "t")
    assert first.sound("other") is None
    assert first.sound(KEY) == first.cells[KEY]
    log = store.cell_folder(KEY) / "log.txt"
    log.write_text("changed")
    assert SeenCells.read(store, "t").sound(KEY) is None
    log.unlink()
    assert SeenCells.read(store, "t").sound(KEY) is None
    put(store, value=2.0)
    assert first.sound(KEY) is None  # another run replaced it meanwhile


def test_a_cell_is_up_to_date_for_the_metrics_that_it_was_found_to_hold(store):
    cells = seen(store)
    marked = SeenCells(store, "t", with_metrics(cells, "m"))
    assert marked.up_to_date(KEY, "m")
    assert not marked.up_to_date(KEY, "n")
    assert not marked.up_to_date("other", "m")
    (store.cell_folder(KEY) / "log.txt").write_text("changed")
    assert not SeenCells(store, "t", with_metrics(cells, "m")).up_to_date(KEY, "m")


def test_what_has_not_changed_is_not_written_again(store):
    cells = seen(store)
    place = store.root / "seen" / "t.json"
    os.utime(place, (1, 1))
    found = SeenCells.read(store, "t")
    found.write(cells, found.board)
    assert place.stat().st_mtime == 1
    found.write(cells, {})
    assert place.stat().st_mtime > 1
    assert SeenCells.read(store, "t").board == {}
