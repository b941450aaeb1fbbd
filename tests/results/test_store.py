import errno
import json
import os
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest

from msibench.errors import IntegrityError, SchemaError, StoreError
from msibench.io import whole_files
from msibench.owners import owned_name
from msibench.results import files
from msibench.results.identity import CellIdentity
from msibench.results.index import (
    TrackIndex,
    index_path,
    read_index,
    set_index_aside,
    update_index,
)
from msibench.results.metric_rows import empty_rows, rows_as_parquet
from msibench.results.queue import sweep_queue, tickets
from msibench.results.schema import SCHEMA_VERSION, CellRecord, Status, record_from_json
from msibench.results.store import METRICS, Store, _link_or_copy, check_store_schema

KEY = "ab" + "0" * 62


def record(key=KEY, **changes):
    facts = {
        "key": key,
        "key_document": {"method": "m"},
        "status": Status.OK,
        "method": "bicubic",
        "dataset": "phantom",
        "section": "synthetic-1",
        "protocol": "area-x4@1",
        "mz_set": "all",
        "seed": 0,
        "mz": (400.0, None),
    }
    return CellRecord(**{**facts, **changes})


def rows(value=1.0):
    row = {
        "channel": 0, "mz": 400.0, "metric": "psnr", "metric_version": 1, "region": "image",
        "direction": "higher", "value": value, "reason": "",
    }  # fmt: skip
    return pd.DataFrame([row]).astype(empty_rows().dtypes.to_dict())


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "results")


def put(store, key=KEY, value=1.0, **changes):
    work = store.new_work(key)
    (work / METRICS).write_bytes(rows_as_parquet(rows(value)))
    (work / "log.txt").write_text("done\n")
    (work / "leftover.tmp").write_text("not kept")
    return store.commit(work, record(key, **changes))


def test_a_committed_cell_comes_back_as_it_was(store):
    put(store)
    found = store.record(KEY)
    assert found.mz == (400.0, None)
    assert found.status is Status.OK
    assert set(found.files) == {METRICS, "log.txt"}
    store.check_files(found)
    pd.testing.assert_frame_equal(store.metric_rows(found), rows())
    folder = store.cell_folder(KEY)
    assert not (folder / "leftover.tmp").exists()
    assert list(store.keys()) == [KEY]


def test_running_a_cell_again_replaces_it_in_one_step(store):
    put(store, value=1.0)
    put(store, value=2.0)
    assert store.metric_rows(store.record(KEY))["value"].tolist() == [2.0]
    assert not list((store.root / "work").iterdir())


def test_a_record_that_was_edited_is_found(store):
    put(store)
    path = store.cell_folder(KEY) / "record.json"
    path.write_text(path.read_text().replace('"bicubic"', '"mine"'))
    with pytest.raises(IntegrityError, match="was changed after it was written"):
        store.record(KEY)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema_version": 1}'])
def test_a_damaged_record_is_named(store, text):
    put(store)
    path = store.cell_folder(KEY) / "record.json"
    path.write_text(text)
    with pytest.raises((IntegrityError, SchemaError), match=r"record\.json"):
        store.record(KEY)


@pytest.mark.parametrize("name", [METRICS, "log.txt"])
def test_every_flipped_bit_beside_a_record_is_found(store, name):
    put(store)
    path = store.cell_folder(KEY) / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)
    with pytest.raises(IntegrityError, match=name):
        store.check_files(store.record(KEY))


def test_damaged_metric_rows_are_not_read(store):
    found = put(store)
    (store.cell_folder(KEY) / METRICS).write_bytes(b"")
    with pytest.raises(IntegrityError, match="msibench score"):
        store.metric_rows(found)


def test_a_record_in_the_wrong_folder_is_refused(store):
    put(store)
    other = "cd" + "0" * 62
    store.cell_folder(other).parent.mkdir(parents=True)
    store.cell_folder(KEY).rename(store.cell_folder(other))
    with pytest.raises(IntegrityError, match=rf"another cell \({KEY[:12]}…\)"):
        store.record(other)


def test_a_newer_store_is_left_alone(tmp_path):
    Store.open(tmp_path)
    (tmp_path / "store.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(SchemaError, match="written by a newer msibench"):
        Store.open(tmp_path)


def test_a_newer_record_asks_for_a_newer_msibench():
    text = json.dumps({"schema_version": 99})
    with pytest.raises(SchemaError, match="install a newer msibench"):
        record_from_json(text, "record.json")


def test_a_folder_that_is_no_store_is_named(tmp_path):
    with pytest.raises(StoreError, match="run something first"):
        Store.open(tmp_path / "none", create=False)


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "--results DIR"), (errno.EIO, "run again")],
)
def test_a_disk_that_cannot_be_written_says_what_to_do(store, monkeypatch, number, advice):
    put(store)

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(whole_files.os, "fsync", fail)
    with pytest.raises(StoreError, match=advice):
        files.write_atomically(store.root / "tracks.json", "{}")
    assert not (store.root / "tracks.json").exists()
    assert not list(store.root.glob(".*part"))
    monkeypatch.undo()
    store.check_files(store.record(KEY))


def test_what_a_dead_run_left_is_swept_and_the_living_stays(store):
    mine = store.new_work(KEY)
    dead = mine.with_name(mine.name.replace(f"-{os.getpid()}-", "-4194303-"))
    dead.mkdir()
    foreign = mine.with_name(f"{KEY[:16]}-otherhost-4194303-abcdef00")
    foreign.mkdir()
    store.sweep()
    assert mine.exists()
    assert foreign.exists()
    assert not dead.exists()


def test_rescoring_replaces_rows_and_keeps_the_rest(store):
    found = put(store)
    again = store.rescore(found, rows_as_parquet(rows(5.0)), {"psnr@image": "k"})
    assert store.record(KEY) == again
    store.check_files(again)
    assert store.metric_rows(again)["value"].tolist() == [5.0]


def test_a_damaged_cell_is_set_aside_and_not_lost(store):
    put(store)
    aside = store.set_aside(KEY)
    assert not store.has(KEY)
    assert (aside / "record.json").is_file()


def test_an_index_grows_and_replaces(store):
    name = str(
        CellIdentity(method="m", dataset="d", section="s", protocol="p", mz_set="all", seed=0)
    )
    update_index(store, "t", {name: "1"}, {"a": 1})
    update_index(store, "t", {"other": "2"}, {"b": 2})
    found = update_index(store, "t", {name: "3"}, {})
    assert dict(found.cells) == {name: "3", "other": "2"}
    assert read_index(store, "t").track_facts == {"a": 1, "b": 2}
    (store.root / "tracks" / "t.json").write_text("{")
    with pytest.raises(StoreError, match="is damaged"):
        read_index(store, "t")


def test_the_digest_covers_every_field():
    plain = record().to_json()
    changed = replace(record(), reason="x").to_json()
    assert json.loads(plain)["record_digest"] != json.loads(changed)["record_digest"]


def test_every_kind_of_thing_has_a_folder_of_its_own(store):
    assert store.problem_folder(KEY) == store.root / "problems" / "ab" / KEY
    assert store.cell_folder(KEY) == store.root / "cells" / "ab" / KEY
    assert store.lease_path(KEY) == store.root / "leases" / f"{KEY}.json"
    assert store.fit_path(KEY) == store.root / "fits" / f"{KEY}.h5"
    assert store.new_work(KEY).parent == store.root / "work"


def test_a_fit_is_kept_and_replaced(store, tmp_path):
    for content in (b"first", b"second"):
        (tmp_path / "fit.h5").write_bytes(content)
        store.keep_fit("k", tmp_path / "fit.h5")
        assert store.fit_path("k").read_bytes() == content


@pytest.mark.parametrize("place", ["tracks", "leases", "seen", "differences", "."])
def test_halves_of_files_that_a_dead_run_left_are_swept(store, place):
    folder = store.root / place
    folder.mkdir(exist_ok=True)
    mine = folder / f".{owned_name('a.json')}.part"
    mine.write_text("{")
    dead = folder / mine.name.replace(f"-{os.getpid()}-", "-4194303-")
    dead.write_text("{")
    store.sweep()
    assert mine.exists()
    assert not dead.exists()


def test_a_store_that_was_moved_away_is_not_made_again(store):
    store.root.rename(store.root.with_name("moved"))
    with pytest.raises(StoreError, match="moved or removed"):
        store.new_work(KEY)
    assert not store.root.exists()


def test_a_cell_that_was_being_replaced_when_its_run_died_is_put_back(store):
    put(store)
    work = store.root / "work"
    name = owned_name("old").replace(f"-{os.getpid()}-", "-4194303-")
    store.cell_folder(KEY).rename(work / name)
    assert not store.has(KEY)
    store.sweep()
    assert store.record(KEY).key == KEY
    assert not list(work.iterdir())
    put(store, value=2.0)
    (work / name).mkdir()
    (work / name / "record.json").write_text("damaged")
    store.sweep()
    assert store.metric_rows(store.record(KEY))["value"].tolist() == [2.0]
    assert not list(work.iterdir())


def test_a_cell_that_was_not_scored_has_no_rows(store):
    work = store.new_work(KEY)
    (work / "log.txt").write_text("done")
    found = store.commit(work, record())
    assert store.metric_table(found) is None
    assert list(store.metric_rows(found).columns) == list(empty_rows().columns)
    assert [one.key for one in store.records()] == [KEY]


def test_digests_that_are_known_are_not_computed_again(store):
    work = store.new_work(KEY)
    (work / "log.txt").write_text("done")
    found = store.commit(work, record(), known={"log.txt": "told"})
    assert found.files == {"log.txt": "told"}
    with pytest.raises(IntegrityError, match="digest differs"):
        store.check_files(found)
    (store.cell_folder(KEY) / "log.txt").unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        store.check_files(found)


@pytest.mark.parametrize(("length", "cut"), [(198, False), (199, True)])
def test_what_a_damaged_record_holds_is_told_in_two_hundred_signs(length, cut):
    text = json.dumps({"schema_version": "x" * length})  # two more are its quotes
    with pytest.raises(SchemaError) as caught:
        record_from_json(text, "record.json")
    said = str(caught.value).split("schema ")[1].split(", this")[0]
    assert len(said.removesuffix("…")) == 200
    assert said.endswith("…") is cut


def test_an_index_is_one_text_whatever_the_order_of_its_entries(store):
    update_index(store, "a", {"x": "1", "y": "2"}, {"p": {"q": 1, "r": 2}, "o": 3})
    update_index(store, "b", {"y": "2", "x": "1"}, {"o": 3, "p": {"r": 2, "q": 1}})
    texts = [(store.root / "tracks" / f"{name}.json").read_bytes() for name in "ab"]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cells": {"x": "a b"}}, "not a key"),
        ({"cells": {"x": "a" * 129}}, "not a key"),
        ({"cells": {"x": ""}}, "not a key"),
        ({"cells": {"x": "k", "y": 3}}, "not a key"),
        ({"facts": {"o": 4}}, "its digest differs"),
    ],
)
def test_an_index_that_was_changed_is_set_aside_and_an_intact_one_is_not(store, change, said):
    update_index(store, "t", {"x": "a" * 128}, {"o": 3})
    assert set_index_aside(store, "t") is None
    path = index_path(store, "t")
    found = json.loads(path.read_text())
    if "cells" in change:
        del found["digest"]
    path.write_text(json.dumps(found | change))
    with pytest.raises(StoreError, match=said):
        read_index(store, "t")
    aside = set_index_aside(store, "t")
    assert aside.parent == store.root / "set-aside"
    assert json.loads(aside.read_text()) == found | change
    assert read_index(store, "t") == TrackIndex()


def test_an_index_that_says_the_same_is_not_written_again(store):
    update_index(store, "t", {"x": "k"}, {})
    before = index_path(store, "t").stat()
    update_index(store, "t", {"x": "k"}, {})
    assert index_path(store, "t").stat().st_ino == before.st_ino
    update_index(store, "t", {"x": "l"}, {})
    assert index_path(store, "t").stat().st_ino != before.st_ino


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (SCHEMA_VERSION + 1, "newer"), (SCHEMA_VERSION - 1, "older"), (0, "older"), (-1, "newer"),
        ("1", "newer"), (None, "newer"), (True, "newer"), (float(SCHEMA_VERSION), "newer"),
    ],
)  # fmt: skip
def test_a_store_of_another_schema_is_left_alone(tmp_path, schema, said):
    check_store_schema(SCHEMA_VERSION, tmp_path)
    with pytest.raises(SchemaError, match=f"written by an? {said} msibench"):
        check_store_schema(schema, tmp_path)


def test_a_marker_that_is_damaged_is_named(tmp_path):
    Store.open(tmp_path)
    for text in ("", "{", "[]", "{}", "[" * 100_000):
        (tmp_path / "store.json").write_text(text)
        with pytest.raises(StoreError, match="remove that file alone"):
            Store.open(tmp_path)


def test_a_store_without_cells_has_no_keys_and_files_beside_cells_are_passed_over(store):
    assert list(store.keys()) == []
    put(store)
    (store.root / "cells" / "a.txt").write_text("")
    (store.root / "cells" / "ab" / "b.txt").write_text("")
    assert list(store.keys()) == [KEY]


def test_a_cell_that_another_run_put_there_in_the_same_moment_is_replaced(store, monkeypatch):
    put(store, value=1.0)
    other = store.root / "other"
    target = store.cell_folder(KEY)
    target.rename(other)
    rename = type(other).rename
    tries = []

    def taken(self, to):
        if to == target and not tries:
            tries.append(self)
            rename(other, target)
        return rename(self, to)

    monkeypatch.setattr(type(other), "rename", taken)
    put(store, value=2.0)
    assert store.metric_rows(store.record(KEY))["value"].tolist() == [2.0]
    assert not list((store.root / "work").iterdir())


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_cell_stands_again_where_its_successor_could_not_be_put(store, monkeypatch, number):
    put(store, value=1.0)
    target = store.cell_folder(KEY)
    rename = type(target).rename

    def refuse(self, to):
        if to == target and not self.name.startswith("old-"):
            raise OSError(number, os.strerror(number))
        return rename(self, to)

    monkeypatch.setattr(type(target), "rename", refuse)
    with pytest.raises(StoreError):
        put(store, value=2.0)
    assert store.metric_rows(store.record(KEY))["value"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("number", "copied"),
    [
        (errno.EPERM, True), (errno.EXDEV, True), (errno.EMLINK, True), (errno.ENOENT, False),
        (errno.ENOSPC, False), (errno.EDQUOT, False), (errno.EROFS, False),
    ],
)  # fmt: skip
def test_a_file_is_copied_where_it_cannot_have_a_second_name(tmp_path, monkeypatch, number, copied):
    (tmp_path / "a").write_text("a")
    _link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").samefile(tmp_path / "a")

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    if copied:
        _link_or_copy(tmp_path / "a", tmp_path / "c")
        assert (tmp_path / "c").read_text() == "a"
    else:
        with pytest.raises(OSError, match="Errno"):
            _link_or_copy(tmp_path / "a", tmp_path / "c")
        assert not (tmp_path / "c").exists()


def test_rows_that_cannot_be_read_or_are_no_table_are_damage(store):
    found = put(store)
    path = store.cell_folder(KEY) / METRICS
    store.check_metrics(found)
    path.write_bytes(b"no table")
    changed = replace(found, files=found.files | {METRICS: files.sha256_of(path)})
    with pytest.raises(IntegrityError, match="cannot be read"):
        store.metric_table(changed)
    path.unlink()
    with pytest.raises(IntegrityError, match="cannot be read"):
        store.check_metrics(found)


def test_an_identity_is_its_eight_names(store):
    one = CellIdentity(method="m", dataset="d", section="s", protocol="p", mz_set="z", seed=3, control="c", device="cuda")  # fmt: skip
    assert json.loads(str(one)) == ["m", "d", "s", "p", "z", 3, "c", "cuda"]
    assert str(one) == '["m","d","s","p","z",3,"c","cuda"]'
    assert CellIdentity(**one.as_dict()) == one
    assert one.problem == ("d", "s", "p", "z", "c")
    assert one.in_table == ("m", "d", "s", "p", "z", "c")
    assert one.title == "m · d/s · p [c]"
    assert replace(one, control="").title == "m · d/s · p"


def test_a_forgotten_folder_whose_name_is_no_key_is_no_pattern_for_leases(store):
    lease = store.lease(KEY)
    for name in ("*", f"{KEY[:14]}??", f"{KEY[:16]}-elsewhere-1"):
        folder = store.root / "work" / name
        folder.mkdir(parents=True)
        os.utime(folder, (0, 0))
    store.sweep()
    assert [one.name for one in (store.root / "work").iterdir()] == [f"{KEY[:16]}-elsewhere-1"]
    assert lease.held()
    lease.release()
    os.utime(store.root / "work" / f"{KEY[:16]}-elsewhere-1", (0, 0))
    store.sweep()
    assert not list((store.root / "work").iterdir())


def test_small_files_of_a_store_have_one_text(store):
    assert (store.root / "store.json").read_text() == f'{{"schema_version": {SCHEMA_VERSION}}}\n'
    update_index(store, "t", {"x": "ü"}, {"o": "µ"})
    text = index_path(store, "t").read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    assert "µ" in text


def test_names_in_a_store_begin_with_the_key_that_they_are_of(store):
    put(store)
    assert re.fullmatch(KEY + "-[0-9a-f]{8}", store.set_aside(KEY).name)
    assert store.new_work(KEY).name.startswith(f"{KEY[:16]}-")


def test_a_store_in_which_nothing_was_run_is_swept(store):
    for name in ("work", "queue", "leases", "tracks"):
        shutil.rmtree(store.root / name, ignore_errors=True)
    store.sweep()
    sweep_queue(store)
    assert list(tickets(store)) == []
    assert list(store.keys()) == []
