"""Rows say which specimen a section was cut from, and every file of the board follows from them."""

from dataclasses import replace

import pandas as pd
import pytest

from msibench.gate.sources import read_rows
from msibench.gate.verify_board import verify_leaderboard
from msibench.leaderboard.board import Board
from msibench.leaderboard.render import leaderboard_files
from msibench.leaderboard.rows import collect, specimens_of, tidy, with_specimens
from msibench.results.metric_rows import rows_as_parquet
from msibench.scoring.cube import SPECIMEN
from tests.gate.conftest import board, catalogue, measured, small_card
from tests.gate.tables import rows_of

__all__ = ["board", "catalogue", "measured", "small_card"]


def stating(index, dataset, **specimens):
    """An index whose card of a data set states specimens."""
    cards = dict(index.track_facts["datasets"])
    cards[dataset] = {**cards[dataset], "specimens": specimens}
    return replace(index, track_facts={**index.track_facts, "datasets": cards})


@pytest.fixture
def stated(board):
    rows = collect(board.store, board.index).rows
    dataset, section = rows.loc[0, ["dataset", "section"]]
    return stating(board.index, dataset, **{section: "animal 7"})


def test_rows_say_what_the_cards_state_and_nothing_where_they_are_silent(board, stated):
    plain, told = (collect(board.store, index).rows for index in (board.index, stated))
    assert SPECIMEN not in plain
    assert set(told[SPECIMEN]) == {"animal 7"}
    pd.testing.assert_frame_equal(told.drop(columns=SPECIMEN), plain)
    raw = rows_as_parquet(told)
    assert (read_rows(raw, "rows")[SPECIMEN] == "animal 7").all()


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_a_board_is_verified_whether_its_rows_or_its_store_know_of_specimens(
    board, stated, written, known
):
    """Rows of before stay readable, and a store of before may stand behind rows of today."""
    found = collect(board.store, stated if written else board.index)
    for name, content in leaderboard_files(Board(found, board.track, board.index)).items():
        (board.folder / name).write_bytes(content)
    index = stated if known else board.index
    checked = verify_leaderboard(board.folder, board.track, board.store, index)
    assert [fault for fault in checked.faults if "README" not in fault] == []


def test_another_specimen_in_the_rows_is_a_fault(board, stated):
    found = collect(board.store, stated)
    for name, content in leaderboard_files(Board(found, board.track, stated)).items():
        (board.folder / name).write_bytes(content)
    path = board.folder / "rows.parquet"
    rows = read_rows(path.read_bytes(), "rows").assign(**{SPECIMEN: "animal 8"})
    path.write_bytes(rows_as_parquet(rows))
    checked = verify_leaderboard(board.folder, board.track, board.store, stated)
    assert any("specimen of" in fault for fault in checked.faults)


def test_sections_of_which_nothing_is_stated_are_specimens_of_their_own():
    rows = rows_of(sections=3)
    facts = {"datasets": {"toy": {"specimens": {"s0": "m", "s1": "m"}}, "other": {}}}
    told = tidy(with_specimens(rows, specimens_of(facts)))
    owners = told.drop_duplicates("section").set_index("section")[SPECIMEN].to_dict()
    assert owners == {"s0": "m", "s1": "m", "s2": "s2"}
    assert with_specimens(rows, {("elsewhere", "s0"): "m"}) is rows
