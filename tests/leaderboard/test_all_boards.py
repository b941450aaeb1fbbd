"""The overview of all boards: made from their tables, and never of two boards together."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from msibench.errors import ConfigurationError
from msibench.leaderboard.all_boards import (
    INDEX,
    boards_in,
    index_page,
    prepared_in,
    write_index,
)
from msibench.leaderboard.render import table_csv
from msibench.leaderboard.table import leaderboard_table
from msibench.tracks import ProblemSet, Track, track_as_text
from tests.gate.tables import changed, rows_of

COMMITTED = Path(__file__).parents[2] / "leaderboards"
TRACK = Track(
    name="one",
    title="One board",
    problems=(ProblemSet(dataset="toy", protocols=("area-x4@1",)),),
    metrics=("psnr",),
    scheme="anchored",
)


@pytest.fixture
def folder(tmp_path):
    """Two boards of one data set; in the second a control is better than everything."""
    rows = rows_of(("bicubic", "net", "paints"), metrics=("psnr",))
    rows = rows.assign(is_control=rows["method"] == "paints")
    better = changed(changed(rows, 3.0, method="net"), 8.0, method="paints")
    for name, of in (("one", rows), ("two", better)):
        place = tmp_path / "boards" / name
        place.mkdir(parents=True)
        (place / "track.toml").write_text(track_as_text(replace(TRACK, name=name)))
        (place / "leaderboard.csv").write_text(table_csv(leaderboard_table(of, TRACK, draws=100)))
    return tmp_path / "boards"


def test_every_board_and_method_is_there_with_score_and_interval(folder):
    text = write_index(folder).read_text()
    for name in ("one", "two"):
        assert f"[{name}]({name}/README.md)" in text
        assert (folder / name / "track.toml").is_file()
    (line,) = [line for line in text.splitlines() if line.startswith("| `net`")]
    scores = [
        board.score(board.table[board.table["method"] == "net"].iloc[0])
        for board in boards_in(folder)
    ]
    assert scores[0] != scores[1]
    for score in scores:
        assert f"{score} [" in line
    assert "0.5" in line  # seconds
    assert write_index(folder).read_text() == text


def test_seconds_of_two_boards_and_so_of_two_machines_meet_in_no_column(folder):
    path = folder / "two" / "leaderboard.csv"
    table = pd.read_csv(path)
    table.assign(seconds_per_image=77.0).to_csv(path, index=False)
    text = index_page(boards_in(folder))
    assert "s / image, one" in text
    assert "77" not in text


def test_a_control_stands_last_and_is_never_the_best(folder):
    text = index_page(boards_in(folder))
    methods = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert methods[-1] == "paints"
    assert "`paints` has the highest score" not in text
    assert "`net` has the highest score" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| `paints`")]
    assert line.endswith("control |")


def test_a_track_without_a_table_is_named_as_not_measured(folder):
    (folder / "later").mkdir()
    (folder / "later" / "track.toml").write_text(track_as_text(replace(TRACK, name="later")))
    assert prepared_in(folder) == ["later"]
    text = write_index(folder).read_text()
    assert "not measured yet (`msibench run NAME` does it): `later`." in text
    assert text.count("later") == 1


def test_a_folder_without_boards_says_what_it_expects(tmp_path):
    with pytest.raises(ConfigurationError, match=r"leaderboard\.csv and track\.toml"):
        boards_in(tmp_path)


def test_the_committed_overview_follows_from_the_committed_boards():
    """Where this fails: msibench leaderboard --index leaderboards."""
    page = index_page(boards_in(COMMITTED), prepared_in(COMMITTED))
    assert (COMMITTED / INDEX).read_text() == page


def test_one_sentence_says_what_to_take_and_what_to_leave(tmp_path):
    """Names the best of all boards in percent and who is worse than repeating each pixel on each of them."""
    rows = rows_of(("bicubic", "net", "paints"), metrics=("ssim",)).assign(metric="skill")
    rows = rows.assign(is_control=rows["method"] == "paints")
    rows["value"] = rows["method"].map({"bicubic": 0.03, "net": 0.12, "paints": -0.4})
    track = replace(TRACK, metrics=("skill",), scheme="skill")
    place = tmp_path / "one"
    place.mkdir()
    (place / "track.toml").write_text(track_as_text(track))
    (place / "leaderboard.csv").write_text(table_csv(leaderboard_table(rows, track, draws=100)))
    (line,) = [t for t in index_page(boards_in(tmp_path)).splitlines() if t.startswith("**")]
    assert "`net` finds 12 %" in line
    assert line.endswith("Worse than repeating each pixel, so not to be used here: `paints`.**")
