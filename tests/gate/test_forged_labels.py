"""Every digest made to fit: what a label says is held against what its key, problem and track stand for."""

import shutil
from dataclasses import replace

import pytest

from msibench.gate.labels import contradictions
from msibench.gate.rerun import rerun
from msibench.gate.verify import misplaced, verify_cell
from msibench.gate.verify_board import verify_leaderboard, writer_of
from msibench.metrics.specs import builtin_metrics
from msibench.results.index import TrackIndex
from msibench.results.keys import digest_of, key_of
from msibench.results.metric_rows import rows_as_parquet
from msibench.results.rows_digest import rows_digest
from msibench.results.schema import Status
from msibench.results.store import METRICS, PREDICTION
from msibench.runner.scores.rescore import rescore


def forge(board, whose="bicubic", /, rows=None, key="", source="", **labels):
    """Write a cell again with other labels, or other rows, every digest of it made to fit."""
    old = board.keys[whose]
    record = board.store.record(old)
    table = board.store.metric_rows(record) if rows is None else rows
    work = board.store.new_work(old)
    shutil.copyfile(board.file(PREDICTION, source or whose), work / PREDICTION)
    (work / METRICS).write_bytes(rows_as_parquet(table))
    forged = replace(record, rows_digest=rows_digest(table), **{"files": {}, **labels})
    if key:
        forged = replace(forged, key=key)
    return board.store.commit(work, forged)


def faults_of(board, catalogue, key):
    wanted = [spec.name for spec in builtin_metrics() if spec.name in {"psnr", "rmse"}]
    methods = catalogue.methods
    return verify_cell(board.store, key, catalogue.metrics, wanted=wanted, methods=methods).faults


def test_what_nobody_forged_is_sound(board, catalogue):
    for key in board.keys.values():
        assert faults_of(board, catalogue, key) == []
    assert misplaced(board.store, board.index) == []


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"method": "nearest"}, "method is 'nearest'; its key stands for 'bicubic'"),
        ({"section": "synthetic-2"}, "section is"),
        ({"dataset": "bladder"}, "data set is"),
        ({"mz_set": "lipids"}, "m/z set is"),
        ({"device": "cuda"}, "device is 'cuda'"),
        ({"seed": 7}, "seed is 7"),
        ({"seed": False}, "seed is False"),
        ({"precision": "float16"}, "precision is"),
        ({"control": "noise"}, "wrong guide is"),
        ({"protocol": "area-x2@1"}, "protocol 'area-x2@1' is not the one"),
        ({"problem_key": "0" * 64}, "problem key is"),
        ({"status": Status.FAILED, "reason": "it crashed"}, "ended as failed, and yet"),
        ({"pixel_size_um": 2.5}, "pixel size is 2.5"),
        ({"channel_names": ("a", "b")}, "channel names are not those of its problem"),
        ({"method_facts": {"task": "guided", "control": False}}, "task of bicubic is 'guided'"),
    ],
)
def test_a_label_that_its_key_or_problem_gainsays_is_found(board, catalogue, labels, said):
    record = forge(board, **labels)
    faults = faults_of(board, catalogue, record.key)
    assert any(said in fault for fault in faults), faults


def test_methods_exchanged_between_two_records_are_found_in_both(board, catalogue):
    forge(board, "bicubic", method="nearest")
    forge(board, "nearest", method="bicubic")
    for key in board.keys.values():
        assert any("method is" in fault for fault in faults_of(board, catalogue, key))


def test_masses_shifted_in_rows_and_record_alike_are_found(board, catalogue):
    record = board.store.record(board.keys["bicubic"])
    rows = board.store.metric_rows(record)
    rows["mz"] += 5
    forged = forge(board, rows=rows)
    assert any("mz of" in fault for fault in faults_of(board, catalogue, forged.key))
    both = forge(board, rows=rows, mz=tuple(value + 5 for value in record.mz))
    assert any("m/z are not those" in fault for fault in faults_of(board, catalogue, both.key))


@pytest.mark.parametrize("also_from_the_record", [False, True])
def test_a_metric_that_was_dropped_is_found(board, catalogue, also_from_the_record):
    record = board.store.record(board.keys["bicubic"])
    rows = board.store.metric_rows(record)
    scores = {name: key for name, key in record.scores.items() if not name.startswith("rmse")}
    labels = {"scores": scores} if also_from_the_record else {}
    forged = forge(board, rows=rows[rows["metric"] != "rmse"], **labels)
    faults = faults_of(board, catalogue, forged.key)
    assert any("rmse@" in fault for fault in faults), faults


def test_a_cell_that_the_track_lists_under_another_name_is_found(board):
    places = dict.fromkeys(board.index.cells, board.keys["nearest"])
    (found,) = misplaced(board.store, TrackIndex(places, board.index.track_facts))
    assert "it is" in found.faults[0]


def test_a_method_under_the_name_of_another_installed_one_is_found(board, catalogue):
    """Label, description, key and file names all changed: nothing contradicts itself any more."""
    record = board.store.record(board.keys["bicubic"])
    document = {
        **record.key_document,
        "method": {**record.key_document["method"], "label": "nearest"},
    }
    key = key_of(document)
    forged = forge(board, key=key, key_document=document, method="nearest")
    assert contradictions(forged) == []
    faults = faults_of(board, catalogue, key)
    assert any("called 'nearest' and is 'bicubic'" in fault for fault in faults)


def test_a_consistent_forgery_is_found_by_running_it_again(board, catalogue, small_card):
    """The cell of `nearest`, honest in every label, with the prediction of `bicubic`."""
    forged = forge(board, "nearest", source="bicubic", scores={})
    metrics = [spec for spec in builtin_metrics() if spec.name in {"psnr", "rmse"}]
    rescore(board.store, [forged.key], metrics, force=True)
    assert faults_of(board, catalogue, forged.key) == []
    checked = rerun(board.store, forged.key, catalogue, cards={"small": small_card})
    assert "differs from the prediction made again" in checked.faults[0]


def test_a_failure_that_never_was_is_found_by_running_it_again(board, catalogue, small_card):
    key = board.keys["bicubic"]
    work = board.store.new_work(key)
    record = board.store.record(key)
    facts = {"status": Status.FAILED, "reason": "it crashed", "files": {}, "scores": {}}
    board.store.commit(work, replace(record, **facts, rows_digest=""))
    assert faults_of(board, catalogue, key) == []
    checked = rerun(board.store, key, catalogue, cards={"small": small_card})
    assert checked.faults == ["it ended as failed, and ends as ok now"]


def test_times_memory_and_device_are_printed_as_claims(board, catalogue):
    record = board.store.record(board.keys["bicubic"])
    forged = forge(board, timings={**record.timings, "upscale": 1e-9})
    checked = verify_cell(board.store, forged.key, catalogue.metrics)
    assert checked.faults == []
    assert any("upscale 1e-09 s" in claim for claim in checked.claims)
    assert "device cpu" in checked.claims


# -- rows as values ----------------------------------------------------------------------------


def by_another_version(raw):
    """Return a Parquet file as another version of pyarrow would have signed it."""
    name = writer_of(raw).encode()
    digits = name.rpartition(b" ")[2]
    other = bytes(
        ord("9") - (letter - ord("0")) if letter != ord(".") else letter for letter in digits
    )
    assert raw.count(name) == 1
    return raw.replace(name, name.replace(digits, other))


def test_rows_written_by_another_version_of_a_library_are_compared_as_values(board):
    path = board.folder / "rows.parquet"
    path.write_bytes(by_another_version(path.read_bytes()))
    checked = verify_leaderboard(board.folder, board.track, board.store, board.index)
    assert checked.faults == []
    assert "compared as values" in checked.notes[0]


def test_a_byte_changed_in_the_file_of_this_version_is_a_fault_although_the_values_stand(board):
    path = board.folder / "rows.parquet"
    raw = path.read_bytes()
    rows = board.store.metric_rows(board.store.record(board.keys["bicubic"]))
    assert rows_digest(rows) == rows_digest(rows.copy())
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(raw))
    pq.write_table(table, path, compression="gzip")
    checked = verify_leaderboard(board.folder, board.track, board.store, board.index)
    assert any("was changed after it was written" in fault for fault in checked.faults)


def test_the_digest_of_rows_is_that_of_docs_formats():
    """Written out by hand as ``docs/formats.md`` says it, so that others can compute it, too."""
    import hashlib
    import struct

    import pandas as pd

    rows = pd.DataFrame({"value": [1.5, float("nan")], "metric": ["psnr", ""], "channel": [0, -1]})
    parts = [
        (b"channel", b"i", struct.pack("<2q", 0, -1)),
        (b"metric", b"t", struct.pack("<2Q", 4, 0) + b"psnr"),
        (b"value", b"f", struct.pack("<d", 1.5) + bytes.fromhex("000000000000f87f")),
    ]
    content = b"rows-1" + struct.pack("<Q", 2)
    for part in parts:
        for piece in part:
            content += struct.pack("<Q", len(piece)) + piece
    assert rows_digest(rows) == f"rows-1:{hashlib.sha256(content).hexdigest()}"
    assert rows_digest(rows.astype({"channel": "int32"})) == rows_digest(rows)
    assert rows_digest(rows.assign(value=[1.5, -0.0])) == rows_digest(rows.assign(value=[1.5, 0.0]))
    assert rows_digest(rows[::-1]) != rows_digest(rows)
    assert digest_of({}) != rows_digest(rows)
