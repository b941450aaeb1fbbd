"""Rows and boards carry it where methods could read the truth."""

from dataclasses import replace

import pytest

from msibench.gate.sources import read_rows
from msibench.gate.verify_board import verify_leaderboard
from msibench.leaderboard.board import read_board
from msibench.leaderboard.render import leaderboard_files
from msibench.leaderboard.rows import ISOLATION, collect
from msibench.results.metric_rows import rows_as_parquet
from msibench.results.store import METRICS, PREDICTION
from tests.gate.conftest import board, catalogue, measured, small_card

__all__ = ["board", "catalogue", "measured", "small_card"]


@pytest.fixture
def open_cell(board):
    """Store the cell of bicubic as one that ran without a sandbox."""
    key = board.keys["bicubic"]
    record = board.store.record(key)
    work = board.store.new_work(key)
    for name in (METRICS, PREDICTION):
        (work / name).write_bytes(board.file(name).read_bytes())
    board.store.commit(
        work, replace(record, provenance={**record.provenance, "sandbox": "none"}, files={})
    )
    return board


def test_rows_readme_and_csv_say_not_isolated(open_cell):
    rows = collect(open_cell.store, open_cell.index).rows
    told = dict(zip(rows["method"], rows[ISOLATION], strict=True))
    assert told["bicubic"] == "none"
    files = leaderboard_files(read_board(open_cell.store, open_cell.track))
    lines = files["leaderboard.csv"].decode().splitlines()
    assert [("not isolated" in line) for line in lines if "bicubic" in line] == [True, True]
    assert "not isolated" in files["README.md"].decode()
    assert "none" in set(read_rows(files["rows.parquet"], "rows")[ISOLATION])


def test_rows_of_before_have_no_such_column_and_are_verified_all_the_same(board):
    path = board.folder / "rows.parquet"
    rows = read_rows(path.read_bytes(), str(path)).drop(columns=ISOLATION)
    path.write_bytes(rows_as_parquet(rows))
    assert ISOLATION not in read_rows(path.read_bytes(), str(path))
    checked = verify_leaderboard(board.folder, board.track, board.store, board.index)
    assert [fault for fault in checked.faults if "rows.parquet" in fault] == []
