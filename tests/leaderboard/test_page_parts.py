"""The numbers of a large board are split over files, and none is lost or changed."""

import json
import re

import numpy as np
import pytest

from msibench.leaderboard import page_parts
from msibench.leaderboard.board import read_board
from msibench.leaderboard.page import write_page
from msibench.leaderboard.page_data import protocol_data
from msibench.leaderboard.page_images import stored_sections
from msibench.leaderboard.page_origins import cell_data
from msibench.leaderboard.page_parts import split_protocols


@pytest.fixture
def large(monkeypatch):
    monkeypatch.setattr(page_parts, "MOST_VALUES", 0)


def rows_of(toy):
    return read_board(toy.store, toy.track).rows


def loaded(path):
    name, content = re.fullmatch(
        r'msibenchPart\("([^"]+)",(.*)\);\n', path.read_text(), re.S
    ).groups()
    assert name == path.stem
    return json.loads(content)


def test_the_parts_together_are_the_whole(toy):
    rows = rows_of(toy)
    (whole,) = protocol_data(rows, toy.track)
    (summary,), parts = split_protocols(rows, toy.track)
    own = [parts[image["part"]] for image in summary["images"]]
    assert [image for part in own for image in part["images"]] == whole["images"]
    for field in ("values", "scores"):
        keys = range(len(whole[field])) if isinstance(whole[field], list) else whole[field]
        for key in keys:
            for row in range(len(whole["methods"])):
                joined = [value for part in own for value in part[field][key][row]]
                assert joined == whole[field][key][row]
    for name in ("name", "methods", "measures", "weights", "note"):
        assert summary[name] == whole[name]


def test_the_page_holds_the_mean_of_each_section(toy):
    (summary,), parts = split_protocols(rows_of(toy), toy.track)
    for place, image in enumerate(summary["images"]):
        assert image["of"] == len(parts[image["part"]]["images"])
        for measure, values in enumerate(parts[image["part"]]["values"]):
            for row, images in enumerate(values):
                known = [value for value in images if value is not None]
                shown = summary["values"][measure][row][place]
                if known:
                    np.testing.assert_allclose(shown, np.mean(known), rtol=1e-5)
                else:
                    assert shown is None


def test_a_small_board_stays_one_file(toy, tmp_path):
    write_page(toy.store, toy.track, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_a_large_board_is_written_to_the_same_bytes_twice_and_tidies_up(toy, tmp_path, large):
    write_page(toy.store, toy.track, tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "data" / "7-99.js").write_text("old")
    (tmp_path / "data" / "mine.txt").write_text("keep")
    write_page(toy.store, toy.track, tmp_path)
    second = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert second.pop("mine.txt") == b"keep"
    assert first == second
    board = read_board(toy.store, toy.track)
    assert loaded(tmp_path / "data" / "cells.js") == json.loads(
        json.dumps(cell_data(board.collected, board.index))
    )


def test_a_board_that_became_small_again_leaves_no_parts(toy, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(page_parts, "MOST_VALUES", 0)
        write_page(toy.store, toy.track, tmp_path)
    write_page(toy.store, toy.track, tmp_path)
    assert not list((tmp_path / "data").iterdir())


def test_no_text_can_end_the_script_it_stands_in(toy, tmp_path, large):
    write_page(toy.store, toy.track, tmp_path)
    for path in (tmp_path / "data").glob("*.js"):
        assert not re.search(r"[<>&]", path.read_text())


def test_sections_with_images_are_spread_evenly(toy):
    records = read_board(toy.store, toy.track).collected.records
    every = [section.problem_key for section in stored_sections(toy.store, records)]
    assert len(every) == 2
    assert [s.problem_key for s in stored_sections(toy.store, records, most=1)] == every[:1]
