import hashlib
import io
import json
import pickle
import shutil
import tracemalloc
import zipfile
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest

from msibench.errors import DataError, IntegrityError, MSIBenchError, SchemaError, StoreError
from msibench.gate.archive import BundleLimits, unpack
from msibench.gate.bundle import write_bundle
from msibench.gate.receive import _fine_shape, receive
from msibench.gate.verify import verify_cell
from msibench.leaderboard.figures import Choice, write_figure
from msibench.leaderboard.page import write_page
from msibench.leaderboard.render import write_leaderboard
from msibench.leaderboard.rows import collect
from msibench.results.index import read_index
from msibench.results.metric_rows import rows_as_parquet
from msibench.results.store import METRICS, Store


@pytest.fixture
def packed(board, tmp_path):
    path = tmp_path / "tiny.zip"
    assert write_bundle(board.store, "tiny", path, predictions=True) == 2
    return path


@pytest.fixture
def elsewhere(tmp_path):
    """Somebody else's empty results folder."""
    return Store.open(tmp_path / "elsewhere")


def rewritten(path, change, *, fit=True):
    """Change the members of a bundle (name → bytes), and make the manifest fit where asked."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    if fit:
        manifest = json.loads(members["bundle.json"])
        manifest["files"] = {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            for name, content in members.items()
            if name != "bundle.json"
        }
        members["bundle.json"] = json.dumps(manifest).encode()
    out = path.with_name("changed.zip")
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out


def with_record(path, cell, /, **changes):
    """Forge a record whose own digest fits."""
    from msibench.results.schema import record_from_json

    def change(members):
        name = f"cells/{cell}/record.json"
        record = record_from_json(members[name].decode(), name)
        members[name] = replace(record, **changes).to_json().encode()

    return rewritten(path, change)


def with_rows(path, board, method, change):
    """Forge metric rows and a record that names them."""
    key = board.keys[method]
    record = board.store.record(key)
    raw = rows_as_parquet(change(board.store.metric_rows(record)))
    files = {**record.files, "metrics.parquet": hashlib.sha256(raw).hexdigest()}
    forged = with_record(path, key, files=files)
    return rewritten(forged, lambda m: m.update({f"cells/{key}/metrics.parquet": raw}))


def nothing_was_added(store):
    left = sorted(path.name for path in store.root.rglob("*") if path.is_file())
    return left == ["store.json"]


def test_the_same_store_gives_the_same_bundle(board, packed, tmp_path):
    again = tmp_path / "again.zip"
    write_bundle(board.store, "tiny", again, predictions=True)
    assert again.read_bytes() == packed.read_bytes()
    names = zipfile.ZipFile(packed).namelist()
    assert len(names) == 2 + 2 * 3
    assert not [name for name in names if "log" in name or "section" in name]
    with zipfile.ZipFile(packed) as archive:
        text = archive.read("bundle.json").decode()
        rows = pd.read_parquet(io.BytesIO(archive.read("rows.parquet")))
    found = json.loads(text)
    assert text == json.dumps(found, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    assert "\\u" not in text
    assert rows.equals(collect(board.store, board.index).rows)


def test_some_methods_travel_alone_and_into_new_folders(board, tmp_path):
    path = tmp_path / "new" / "folder" / "one.zip"
    assert write_bundle(board.store, "tiny", path, methods=("bicubic",)) == 1
    with zipfile.ZipFile(path) as archive:
        rows = pd.read_parquet(io.BytesIO(archive.read("rows.parquet")))
    assert set(rows["method"]) == {"bicubic"}


def test_predictions_travel_only_on_request(board, tmp_path):
    path = tmp_path / "small.zip"
    write_bundle(board.store, "tiny", path)
    assert not [name for name in zipfile.ZipFile(path).namelist() if "prediction" in name]


def test_a_bundle_arrives_with_the_same_numbers_marked_as_self_reported(board, packed, elsewhere):
    received = receive(elsewhere, packed, board_metrics())
    assert sorted(received.added) == sorted(board.keys.values())
    before = collect(board.store, board.index).rows
    after = collect(elsewhere, read_index(elsewhere, "tiny")).rows
    assert set(after["origin"]) == {"self-reported"}
    assert after.drop(columns="origin").equals(before.drop(columns="origin"))
    page = elsewhere.root / "page"
    write_leaderboard(elsewhere, board.track, page)
    readme = (page / "README.md").read_text()
    assert "self-reported" in readme
    lines = [line for line in readme.splitlines() if line.startswith("|") and "bicubic" in line]
    assert lines
    assert all("bicubic (self-reported)" in line for line in lines)
    assert "self-reported" in (page / "leaderboard.csv").read_text()
    content = write_page(elsewhere, board.track, page).read_text("utf-8")
    assert '"marks":{"bicubic":" (self-reported)","nearest":" (self-reported)"}' in content
    assert "bicubic (self-reported)</th>" in content.replace("<small>", "</th>")
    write_figure("table", elsewhere, board.track, page / "table.md", Choice())
    assert "bicubic (self-reported)" in (page / "table.md").read_text()
    assert [path.name for path in elsewhere.root.glob("import-*")] == []


def test_a_bundle_without_predictions_arrives_and_cannot_be_verified(board, tmp_path, elsewhere):
    path = tmp_path / "small.zip"
    write_bundle(board.store, "tiny", path)
    receive(elsewhere, path, board_metrics())
    checked = verify_cell(elsewhere, board.keys["bicubic"], board_metrics())
    assert (checked.faults, checked.level) == ([], "")
    assert "prediction is not here" in checked.notes[0]


def test_an_imported_cell_is_verified_where_the_truth_is(board, packed, elsewhere):
    import shutil

    receive(elsewhere, packed, board_metrics())
    shutil.copytree(board.store.root / "problems", elsewhere.root / "problems")
    key = board.keys["bicubic"]
    assert verify_cell(elsewhere, key, board_metrics()).level == "verified"
    rows = collect(elsewhere, read_index(elsewhere, "tiny")).rows
    assert set(rows[rows["method"] == "bicubic"]["origin"]) == {"verified"}


def test_what_one_has_is_never_replaced(board, packed):
    received = receive(board.store, packed, board_metrics())
    assert received.added == []
    assert len(received.notes) == 2
    assert f"({board.keys['bicubic'][:12]}…): the store has it already" in "".join(received.notes)
    assert board.store.record(board.keys["bicubic"]).origin == "measured"


def test_a_bundle_that_lacks_the_scores_of_a_record_or_has_others_is_refused(
    board, packed, elsewhere
):
    name = f"cells/{board.keys['bicubic']}/metrics.parquet"
    with pytest.raises(IntegrityError, match=r"metrics\.parquet is in its record but not in"):
        receive(elsewhere, rewritten(packed, lambda m: m.pop(name)), board_metrics())
    higher = with_rows(packed, board, "bicubic", lambda rows: rows.assign(value=rows["value"] + 1))
    with pytest.raises(IntegrityError, match="holds values that differ from its record"):
        receive(elsewhere, higher, board_metrics())
    assert nothing_was_added(elsewhere)


def test_the_fine_grid_of_a_cell_is_known_where_its_problem_is(board, elsewhere):
    record = board.store.record(board.keys["bicubic"])
    with h5py.File(board.file("prediction.h5")) as file:
        assert _fine_shape(board.store, record) == file["prediction"].shape
    assert _fine_shape(elsewhere, record) is None
    assert _fine_shape(board.store, replace(record, protocol="none-x4@1")) is None


def other_seed(board, packed):
    """A bundle of one cell that says it is bicubic with seed 5, with a key that follows."""
    from msibench.results.keys import key_of

    key = board.keys["bicubic"]
    record = board.store.record(key)
    document = {**record.key_document, "seed": 5}
    new = key_of(document)
    forged = with_record(packed, key, key=new, key_document=document, seed=5)

    def move(members):
        for name in [name for name in members if key in name]:
            members[name.replace(key, new)] = members.pop(name)

    return new, rewritten(forged, move)


def test_a_strangers_seed_is_not_averaged_with_ones_own(board, packed):
    new, bundle = other_seed(board, packed)
    before = collect(board.store, board.index).rows
    received = receive(board.store, bundle, board_metrics())
    assert received.added == [new]
    assert any("stays there" in note for note in received.notes)
    assert collect(board.store, read_index(board.store, "tiny")).rows.equals(before)


def test_nothing_to_pack_is_an_error_and_so_is_a_spoilt_cell(board, tmp_path):
    with pytest.raises(StoreError, match="run it first"):
        write_bundle(board.store, "other", tmp_path / "x.zip")
    board.file("metrics.parquet").write_bytes(b"x")
    with pytest.raises(IntegrityError):
        write_bundle(board.store, "tiny", tmp_path / "x.zip")
    assert not list(tmp_path.glob("*x.zip*"))


@pytest.mark.parametrize(
    "name",
    [
        "../outside.txt", "/etc/outside", "cells/../../outside", "..\\outside", "C:\\outside",
        "cells/" + "a" * 64 + "/evil.pkl", "cells/" + "a" * 64 + "/../record.json",
        "cells/" + "A" * 64 + "/record.json", "notes.txt", "cells/", "bundle.json/", "bundle.json\n",
    ],
)  # fmt: skip
def test_a_member_that_no_bundle_holds_is_refused(packed, elsewhere, name):
    bundle = rewritten(packed, lambda members: members.update({name: pickle.dumps(1)}))
    with pytest.raises(MSIBenchError):
        receive(elsewhere, bundle, board_metrics())
    assert nothing_was_added(elsewhere)
    assert not (elsewhere.root.parent / "outside.txt").exists()


def test_a_link_is_refused(packed, elsewhere, board):
    key = board.keys["bicubic"]
    out = packed.with_name("link.zip")
    with zipfile.ZipFile(packed) as source, zipfile.ZipFile(out, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            if info.filename == f"cells/{key}/prediction.h5":
                info.external_attr = 0o120777 << 16
                content = b"/etc/passwd"
            target.writestr(info, content)
    with pytest.raises(IntegrityError, match="link"):
        receive(elsewhere, out, board_metrics())


def test_a_bomb_is_refused_before_it_is_unpacked(packed, elsewhere):
    def bomb(members):
        members["rows.parquet"] = b"\0" * (30 << 20)

    bundle = rewritten(packed, bomb)
    packed_tight = bundle.with_name("tight.zip")
    deflated = zipfile.ZipFile(packed_tight, "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(bundle) as source, deflated as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(IntegrityError, match="grows"):
        receive(elsewhere, packed_tight, board_metrics())
    with pytest.raises(IntegrityError, match="more than"):
        receive(elsewhere, bundle, board_metrics(), BundleLimits(total_bytes=1 << 20))
    with pytest.raises(IntegrityError, match="members"):
        receive(elsewhere, packed, board_metrics(), BundleLimits(members=2))
    assert nothing_was_added(elsewhere)


def test_a_member_that_stands_twice_is_refused(packed, elsewhere):
    with zipfile.ZipFile(packed, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("rows.parquet", b"second")
    with pytest.raises(IntegrityError, match="twice"):
        receive(elsewhere, packed, board_metrics())


@pytest.mark.parametrize("member", ["record.json", "metrics.parquet", "prediction.h5"])
def test_a_changed_byte_is_found_whether_or_not_the_manifest_was_made_to_fit(
    packed, elsewhere, board, member
):
    name = f"cells/{board.keys['nearest']}/{member}"

    def flip(members):
        content = bytearray(members[name])
        content[len(content) // 2] ^= 1
        members[name] = bytes(content)

    for fit in (False, True):
        with pytest.raises(IntegrityError):
            receive(elsewhere, rewritten(packed, flip, fit=fit), board_metrics())
        assert nothing_was_added(elsewhere)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"method": "mine"}, "does not follow"),
        ({"dataset": "bladder"}, "does not follow"),
        ({"seed": 3}, "does not follow"),
        ({"problem_key": "0" * 64}, "does not follow"),
        ({"key": "0" * 64}, "does not follow"),
        ({"key_document": {}}, "incomplete"),
        ({"method": "a\x1b[31m"}, "its names"),
        ({"method": 3}, "its names"),
        ({"timings": {"upscale": -1.0}}, "times and peaks"),
        ({"timings": {"upscale": "fast"}}, "times and peaks"),
        ({"mz": (1.0, "x")}, "m/z"),
        ({"files": {"metrics.parquet": "x"}}, "files"),
        ({"protocol": "area-x2@1"}, "defined differently"),
        ({"protocol": "invented-x4@1"}, "invented"),
    ],
)
def test_a_forged_record_is_refused_even_when_all_digests_fit(
    packed, elsewhere, board, changes, named
):
    bundle = with_record(packed, board.keys["bicubic"], **changes)
    with pytest.raises(MSIBenchError, match=named):
        receive(elsewhere, bundle, board_metrics())
    assert nothing_was_added(elsewhere)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda rows: rows.assign(metric="invented"), "not installed"),
        (lambda rows: rows.assign(metric_version=9), "version 9"),
        (lambda rows: rows.assign(direction="lower"), "must not be mixed"),
        (lambda rows: rows.assign(region="corner"), "no region"),
        (lambda rows: rows.assign(channel=99), "outside"),
        (lambda rows: rows.assign(mz=1.0), "m/z"),
        (lambda rows: rows.assign(value=np.inf), "infinite"),
        (lambda rows: rows.assign(reason="\x1b[2J"), "control"),
        (lambda rows: rows.drop(columns="reason"), "columns"),
        (lambda rows: rows.assign(value="much"), "not a table"),
        (lambda rows: rows.iloc[[0, 0]], "more than once"),
    ],
)
def test_forged_rows_are_refused_even_when_all_digests_fit(packed, elsewhere, board, change, named):
    bundle = with_rows(packed, board, "bicubic", change)
    with pytest.raises(DataError, match=named):
        receive(elsewhere, bundle, board_metrics())
    assert nothing_was_added(elsewhere)


def test_another_schema_track_name_or_manifest_is_refused(packed, elsewhere):
    def manifest(**changes):
        def change(members):
            facts = json.loads(members["bundle.json"])
            members["bundle.json"] = json.dumps({**facts, **changes}).encode()

        return rewritten(packed, change, fit=False)

    for changes, error in (
        ({"schema_version": 2}, SchemaError),
        ({"track": "../../x"}, IntegrityError),
        ({"track": ".hidden"}, IntegrityError),
        ({"track": 3}, IntegrityError),
        ({"files": {}}, IntegrityError),
        ({"files": {"rows.parquet": 3}}, DataError),
        ({"facts": []}, DataError),
        ({"facts": {"methods": {"bicubic": {"title": "\x1b[31m"}}}}, IntegrityError),
    ):
        with pytest.raises(error):
            receive(elsewhere, manifest(**changes), board_metrics())
    assert nothing_was_added(elsewhere)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x04K\x01.", b"x" * 5000])
def test_a_file_that_is_no_zip_is_refused(tmp_path, content):
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError):
        unpack(path, tmp_path / "out")
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    path.write_bytes(empty.getvalue())
    with pytest.raises(DataError, match=r"no bundle\.json"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("cut", [10, 1000, -30])
def test_a_truncated_bundle_is_refused(packed, elsewhere, cut):
    packed.write_bytes(packed.read_bytes()[:cut])
    with pytest.raises(MSIBenchError):
        receive(elsewhere, packed, board_metrics())
    assert nothing_was_added(elsewhere)


def board_metrics():
    from msibench.metrics.specs import builtin_metrics

    return {spec.name: spec for spec in builtin_metrics()}


# -- predictions of another size ---------------------------------------------------------------


def larger_prediction(board, path, shape):
    """Pack a bundle whose first cell brings a prediction of another shape, digests made to fit."""
    key = board.keys["bicubic"]
    record = board.store.record(key)
    work = board.store.new_work(key)
    (work / METRICS).write_bytes(board.file(METRICS).read_bytes())
    with h5py.File(work / "prediction.h5", "w") as file:
        file.create_dataset(
            "prediction", shape=shape, dtype="f4", chunks=(1, *shape[1:]), compression="gzip"
        )
    board.store.commit(work, replace(record, files={}))
    write_bundle(board.store, "tiny", path, predictions=True)


@pytest.mark.parametrize("staged_here", [True, False])
def test_a_small_file_with_a_large_prediction_is_refused_before_it_is_read(
    board, tmp_path, catalogue, staged_here
):
    path = tmp_path / "large.zip"
    larger_prediction(board, path, (len(board.store.record(board.keys["bicubic"]).mz), 4000, 4000))
    assert path.stat().st_size < 2 << 20
    target = Store.open(tmp_path / "theirs")
    if staged_here:
        shutil.copytree(board.store.root / "problems", target.root / "problems")
    tracemalloc.start()
    with pytest.raises((DataError, IntegrityError), match=r"prediction\.h5"):
        receive(target, path, catalogue.metrics)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20
    assert list(target.keys()) == []
    assert not list(target.root.glob("work/*"))
