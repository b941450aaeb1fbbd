"""A method whose result depends on the kind of device by more than its interval is marked unstable."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from msibench.gate.sources import read_rows
from msibench.gate.verify_board import verify_leaderboard
from msibench.leaderboard import twins
from msibench.leaderboard.board import read_board
from msibench.leaderboard.render import leaderboard_files, write_leaderboard
from msibench.leaderboard.rows import collect, marks
from msibench.leaderboard.table import leaderboard_table
from msibench.leaderboard.twins import TWIN, twin_key, unstable
from msibench.results.keys import key_of
from msibench.results.metric_rows import rows_as_parquet
from msibench.results.store import METRICS, PREDICTION
from msibench.tracks import ProblemSet, Track
from tests.gate.conftest import board, catalogue, measured, small_card
from tests.gate.tables import rows_of

__all__ = ["board", "catalogue", "measured", "small_card"]
TRACK = Track(
    name="toy",
    problems=(ProblemSet(dataset="toy", protocols=("area-x4@1",)),),
    metrics=("psnr", "ssim"),
)


def half_width(values):
    """Half of a 95 % t interval of a mean of 36 values; 2.030 is t's quantile for 35 degrees."""
    return 2.0301 * values.std(ddof=1) / 6


@pytest.mark.parametrize(("share", "marked"), [(0.97, False), (1.03, True)])
def test_the_line_is_the_half_width_of_the_methods_own_interval(share, marked):
    rows = rows_of(("bicubic", "net"))
    psnr = (rows["method"] == "net") & (rows["metric"] == "psnr")
    by = share * half_width(rows.loc[psnr, "value"])
    turned = np.where(np.arange(len(rows)) % 2, by, -by)  # no mean differs, every ion image does
    rows = rows.assign(**{TWIN: rows["value"] + np.where(psnr, turned, 0.0)})
    assert (("area-x4@1", "net") in unstable(rows)) == marked
    assert marks(rows) == ({"net": " (unstable)"} if marked else {})
    table = leaderboard_table(rows, TRACK, draws=100)
    assert ("unstable" in table) == marked
    if marked:
        (said,) = table.loc[table["unstable"] != "", "unstable"]
        assert said.startswith("unstable: psnr ")
        assert " on cpu and " in said


def test_no_twin_no_word():
    rows = rows_of(("bicubic", "net"))
    assert unstable(rows) == {}
    assert unstable(rows.assign(**{TWIN: np.nan})) == {}


def on_a_card(board, method, change):
    """Store the twin of a cell, with other values; return its rows."""
    record = board.store.record(board.keys[method])
    document = {**record.key_document, "device": "cuda"}
    key = key_of(document)
    assert twin_key(record) == key
    work = board.store.new_work(key)
    rows = pd.read_parquet(board.file(METRICS, method))
    rows = rows.assign(value=change(rows))
    (work / METRICS).write_bytes(rows_as_parquet(rows))
    (work / PREDICTION).write_bytes(board.file(PREDICTION, method).read_bytes())
    there = replace(record, key=key, key_document=document, device="cuda", files={})
    board.store.commit(work, there)
    return rows.assign(cell=key)


def shifted(rows):
    return rows["value"] + np.where(rows["channel"] % 2, 30.0, -30.0)


def test_a_twin_in_the_results_folder_marks_the_method_in_every_file(board):
    on_a_card(board, "nearest", shifted)
    on_a_card(board, "bicubic", lambda rows: rows["value"])
    files = leaderboard_files(read_board(board.store, board.track))
    readme, table = files["README.md"].decode(), files["leaderboard.csv"].decode()
    assert "nearest (unstable)" in readme
    assert "is unstable: psnr" in readme
    (line,) = [line for line in table.splitlines() if "unstable: psnr" in line]
    assert ",nearest," in line
    assert TWIN in read_rows(files["rows.parquet"], "rows")


def test_boards_with_and_without_twins_are_verified_wherever_the_twin_is(board):
    def faults():
        return verify_leaderboard(board.folder, board.track, board.store, board.index).faults

    assert faults() == []
    on_a_card(board, "nearest", shifted)  # came after the board was written
    assert faults() == []
    write_leaderboard(board.store, board.track, board.folder)
    assert faults() == []
    twin = twin_key(board.store.record(board.keys["nearest"]))
    board.store.set_aside(twin)  # as where the board was written elsewhere
    assert faults() == []
    on_a_card(board, "nearest", lambda rows: shifted(rows) + 1)  # gainsays what is written
    assert any(TWIN in fault for fault in faults())


def test_a_twin_of_a_committed_board_counts(board, tmp_path, monkeypatch):
    there = on_a_card(board, "nearest", shifted)
    board.store.set_aside(twin_key(board.store.record(board.keys["nearest"])))
    assert TWIN not in collect(board.store, board.index).rows
    path = tmp_path / "committed.parquet"
    path.write_bytes(rows_as_parquet(there))
    monkeypatch.setattr(twins, "shipped_rows", lambda device: (path,) if device == "cuda" else ())
    rows = collect(board.store, board.index).rows
    assert {method for _, method in unstable(rows)} == {"nearest"}
    kept = rows[rows["method"] == "nearest"]
    assert np.isfinite(kept[TWIN]).sum() == np.isfinite(kept["value"]).sum()
    assert rows.loc[rows["method"] == "bicubic", TWIN].isna().all()


def test_code_of_another_day_has_no_twin(board):
    """Another configuration or another version under the same name is not a statement about devices."""
    record = board.store.record(board.keys["nearest"])
    changed = {**record.key_document, "method": {**record.key_document["method"], "code": {}}}
    assert twin_key(replace(record, key_document=changed)) == ""
    assert twin_key(replace(record, key_document={})) == ""
    assert twin_key(replace(record, device="mps")) == ""
