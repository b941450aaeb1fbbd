"""Seconds of two machines share no column."""

from dataclasses import replace

import numpy as np
import pandas as pd

from msibench.leaderboard.board import read_board
from msibench.leaderboard.render import leaderboard_files
from msibench.leaderboard.rows import Collected, collect
from msibench.results.store import METRICS, PREDICTION
from tests.gate.conftest import board, catalogue, measured, small_card

__all__ = ["board", "catalogue", "measured", "small_card"]


def run_on(board, method, processor):
    """Store a cell as one that ran on another processor."""
    record = board.store.record(board.keys[method])
    work = board.store.new_work(record.key)
    for name in (METRICS, PREDICTION):
        (work / name).write_bytes(board.file(name, method).read_bytes())
    provenance = {**record.provenance, "processor": processor}
    board.store.commit(work, replace(record, provenance=provenance, files={}))


def test_seconds_of_another_machine_are_not_shown_and_the_machine_is_named(board, tmp_path):
    run_on(board, "bicubic", "a desk's processor")
    run_on(board, "nearest", "b <cluster>")
    rows = collect(board.store, board.index).rows
    seconds = rows.groupby("method")["seconds_per_image"].first()
    assert seconds["bicubic"] > 0
    assert np.isnan(seconds["nearest"])
    assert rows.loc[rows["method"] == "nearest", "value"].notna().any()  # its scores stand
    files = leaderboard_files(read_board(board.store, board.track))
    (tmp_path / "table.csv").write_bytes(files["leaderboard.csv"])
    table = pd.read_csv(tmp_path / "table.csv").set_index("method")
    table = table[table["task"] != "reference"]
    assert table["seconds_per_image"].notna().to_dict() == {"bicubic": True, "nearest": False}
    readme = files["README.md"].decode()
    assert "`nearest`: its seconds are not shown" in readme
    assert "cluster" in readme
    assert "<cluster>" not in readme


def test_a_method_of_unknown_seconds_says_so_where_the_board_has_rows_alone(board):
    """As one that joined a committed board from another results folder."""
    whole = read_board(board.store, board.track)
    rows = whole.rows.copy()
    assert "no seconds of it" not in leaderboard_files(whole)["README.md"].decode()
    rows.loc[rows["method"] == "nearest", "seconds_per_image"] = np.nan
    grown = replace(whole, collected=Collected(rows, {}))
    readme = leaderboard_files(grown)["README.md"].decode()
    assert "- `nearest`: no seconds of it are known on the machine of the others" in readme
    assert "`bicubic`: no seconds" not in readme


def test_one_machine_shares_its_column(board):
    for method in ("bicubic", "nearest"):
        run_on(board, method, "one processor")
    collected = collect(board.store, board.index)
    assert collected.machines == {}
    assert collected.rows["seconds_per_image"].notna().all()
