"""The overview of all boards: made from their tables, and never of two boards together."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from msibench.errors import ConfigurationError
from msibench.leaderboard.all_boards import INDEX, index_page, prepared_in, write_index
from msibench.leaderboard.listed import boards_in, guide_difference, guide_gains
from msibench.leaderboard.safe_csv import table_csv
from msibench.leaderboard.table import leaderboard_table, what_numbers_mean
from msibench.metrics.specs import builtin_metrics
from msibench.results.metric_rows import rows_as_parquet
from msibench.scoring.multiple_tests import holm
from msibench.scoring.paired import every_pair
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


def test_settings_of_one_method_are_counted_not_listed():
    advice = [t for t in index_page(boards_in(COMMITTED)).splitlines() if t.startswith("**")]
    assert any("`lcrn-quick` with 10 other settings." in line for line in advice)
    assert not any("lcrn-quick (1" in line for line in advice)


def test_measured_sections_come_before_synthetic_ones():
    made = [board.synthetic for board in boards_in(COMMITTED)]
    assert {True, False} <= set(made)
    assert made == sorted(made)


def of_skill(tmp_path, names, skills, guided=()):
    """A folder with one board of skills, on one section; `guided` are the methods that see a guide."""
    rows = rows_of(names, metrics=("ssim",)).assign(metric="skill")
    rows = rows.assign(is_control=rows["method"] == "paints")
    rows.loc[rows["method"].isin(guided), "task"] = "guided"
    rows["value"] = rows["method"].map(dict(zip(names, skills, strict=True)))
    track = replace(TRACK, metrics=("skill",), scheme="skill")
    place = tmp_path / "one"
    place.mkdir()
    (place / "track.toml").write_text(track_as_text(track))
    (place / "leaderboard.csv").write_text(table_csv(leaderboard_table(rows, track, draws=100)))
    (place / "rows.parquet").write_bytes(rows_as_parquet(rows))
    return tmp_path


def sentence_of(folder):
    (line,) = [t for t in index_page(boards_in(folder)).splitlines() if t.startswith("**")]
    return line


def test_one_sentence_says_what_to_take_and_what_to_leave(tmp_path):
    """Names the best of all boards in percent and who is worse than repeating each pixel on each of them."""
    line = sentence_of(of_skill(tmp_path, ("bicubic", "net", "paints"), (0.03, 0.12, -0.4)))
    assert line.startswith("**Take `net`, which brings back 12 % of the detail")
    assert "(`bicubic` 3.0 %).**" in line
    assert "guide" not in line
    assert line.endswith("Worse than repeating each pixel, so not to be used here: `paints`.")


def test_who_leaves_out_the_hard_images_is_not_recommended(tmp_path):
    """Two of six sections, the easy ones, with the highest mean of all: shown with its share, never the best."""
    names, track = ("bicubic", "net", "picky"), replace(TRACK, metrics=("skill",), scheme="skill")
    rows = rows_of(names, metrics=("ssim",)).assign(metric="skill")
    rows["value"] = rows["method"].map({"bicubic": 0.03, "net": 0.12, "picky": 0.15})
    rows = rows[(rows["method"] != "picky") | rows["section"].isin(["s0", "s1"])]
    place = tmp_path / "one"
    place.mkdir()
    (place / "track.toml").write_text(track_as_text(track))
    (place / "leaderboard.csv").write_text(table_csv(leaderboard_table(rows, track, draws=100)))
    page = index_page(boards_in(tmp_path))
    assert "**Take `net`, which brings back 12 %" in page
    assert "`net` has the highest score" in page
    (line,) = [text for text in page.splitlines() if text.startswith("| `picky`")]
    assert "one: 33% of the images" in line


def test_the_images_that_the_best_method_makes_worse_are_counted(tmp_path):
    """A high mean hides them: five ion images lose, and the method has the highest score all the same."""
    folder = of_skill(tmp_path, ("bicubic", "net"), (0.03, 0.12))
    assert "below zero for" not in index_page(boards_in(folder))
    rows = pd.read_parquet(folder / "one" / "rows.parquet")
    worse = (rows["method"] == "net") & (rows["section"] == "s0") & (rows["channel"] < 5)
    rows.loc[worse, "value"] = -0.01
    (folder / "one" / "rows.parquet").write_bytes(rows_as_parquet(rows))
    assert "`net` has the highest score, 12.0 %" in index_page(boards_in(folder))
    assert ", and is below zero for 5 of 36 ion images." in index_page(boards_in(folder))


def test_below_zero_is_worse_only_where_an_interval_says_so(tmp_path):
    """A mean of -2.4 % [-6.3, 5.4] is not told apart from repeating each pixel, and nobody is warned off it."""
    folder = of_skill(tmp_path, ("bicubic", "net", "paints"), (0.03, -0.02, -0.4))
    table = pd.read_csv(folder / "one" / "leaderboard.csv")
    for name, low, high in (("net", -0.06, 0.05), ("paints", -0.5, -0.3)):
        table.loc[table["method"] == name, ["composite.low", "composite.high"]] = low, high
    (folder / "one" / "leaderboard.csv").write_text(table_csv(table))
    line = sentence_of(folder)
    assert "Worse than repeating each pixel, so not to be used here: `paints`." in line
    assert line.endswith("Below repeating each pixel, but not told apart from it: `net`.")


def test_measures_of_trust_of_two_versions_meet_in_no_range(tmp_path):
    rows = rows_of(("bicubic", "net"), metrics=("psnr",))
    for name, version, value in (("one", 1, 0.25), ("two", 4, 0.89)):
        leak = rows.assign(metric="guide_leakage", metric_version=version, value=value)
        of = pd.concat([rows, leak], ignore_index=True)
        place = tmp_path / name
        place.mkdir()
        track = replace(TRACK, name=name, metrics=("psnr", "guide_leakage"))
        (place / "track.toml").write_text(track_as_text(track))
        (place / "leaderboard.csv").write_text(table_csv(leaderboard_table(of, track, draws=100)))
        (place / "rows.parquet").write_bytes(rows_as_parquet(of))
    page = index_page(boards_in(tmp_path))
    assert "89 %" in page
    assert "25 " not in page


@pytest.mark.parametrize(
    ("skill", "says"),
    [
        (0.30, "modality gains here"),
        (0.12, "modality is not told apart from the best without here"),
        (0.05, "modality loses here"),
    ],
)
def test_the_sentence_says_whether_a_guide_is_worth_it(tmp_path, skill, says):
    names = ("bicubic", "net", "guided")
    folder = of_skill(tmp_path, names, (0.03, 0.12, skill), guided=("guided",))
    assert says in sentence_of(folder)
    assert f"Best with a guide or second modality: `guided` {100 * skill:.1f} %" in index_page(
        boards_in(folder)
    )


@pytest.mark.parametrize(
    ("shift", "spread", "says"),
    [
        (0.02, 0.001, True), (0.02, 0.2, None), (-0.02, 0.001, False), (-0.02, 0.2, None), (0.0, 0.0, None),
    ],
)  # fmt: skip
def test_whether_a_guide_gains_or_loses_is_judged_by_one_rule(tmp_path, shift, spread, says):
    """Image by image: how much images differ moves neither, how much the difference does moves both."""
    names = ("bicubic", "net", "guided")
    folder = of_skill(tmp_path, names, (0.03, 0.12, 0.11), guided=("guided",))
    path = folder / "one" / "rows.parquet"
    rows = pd.read_parquet(path)
    image = rows.groupby(["section", "channel"]).ngroup().to_numpy()
    rows["value"] = 0.12 + 0.05 * np.sin(image) - 0.09 * (rows["method"] == "bicubic")
    own = (rows["method"] == "guided").to_numpy()
    rows["value"] += own * (shift + spread * (-1.0) ** rows["section"].str[1:].astype(int))
    path.write_bytes(rows_as_parquet(rows))
    (board,) = boards_in(folder)
    found = guide_difference(board)
    assert guide_gains(found) is says
    line = index_page([board])
    if shift:
        assert f"difference, image by image, {100 * found.mean:.1f} [" in line


def test_without_rows_or_without_both_kinds_nothing_is_said_of_a_guide(tmp_path):
    names = ("bicubic", "net", "guided")
    folder = of_skill(tmp_path, names, (0.03, 0.12, 0.30), guided=("guided",))
    (folder / "one" / "rows.parquet").unlink()
    (board,) = boards_in(folder)
    assert guide_gains(guide_difference(board)) is None
    single = board.table[board.table["task"] == "single-image"]
    assert guide_difference(replace(board, table=single)) is None


def test_the_first_is_said_to_be_told_apart_from_the_next_alone(tmp_path):
    """Third is a method whose skill changes so much between sections that nothing tells it apart."""
    names, skills = ("bicubic", "steady", "wild"), (0.20, 0.12, 0.05)
    folder = of_skill(tmp_path, names, skills)
    rows = rows_of(names, metrics=("ssim",)).assign(metric="skill")
    number = rows["section"].str[1:].astype(int)
    swing = {"bicubic": 0.0, "steady": 0.002, "wild": 0.3}
    rows["value"] = rows["method"].map(dict(zip(names, skills, strict=True)))
    rows["value"] += rows["method"].map(swing) * (-1.0) ** number
    track = replace(TRACK, metrics=("skill",), scheme="skill")
    table = leaderboard_table(rows, track, draws=100)
    (folder / "one" / "leaderboard.csv").write_text(table_csv(table))
    score = rows.pivot_table(index=["section", "channel"], columns="method", values="value")
    first, second, pairs = every_pair(score[list(names)], score.index.get_level_values("section"))
    apart = dict(zip(zip(first, second, strict=True), holm(pairs.p) <= 0.05, strict=True))
    assert (apart[0, 1], apart[0, 2]) == (True, False)
    assert list(table["method"][:3]) == list(names)
    page = index_page(boards_in(folder))
    assert "It is told apart from the next, `steady`." in page
    assert "all others" not in page
    assert "other methods of different groups need not be told apart" in what_numbers_mean(table)


def test_a_family_is_headed_by_what_its_titles_share(folder):
    assert "## One board (toy)" in index_page(boards_in(folder)).splitlines()


def test_three_boards_with_three_best_methods_recommend_none(tmp_path):
    for name in ("a", "b", "c"):
        place = tmp_path / name
        place.mkdir()
        of_skill(place, ("bicubic", name), (0.03, 0.12))
        (place / "one").rename(tmp_path / f"board-{name}")
        place.rmdir()
    assert sentence_of(tmp_path).startswith("**No one method is best on all of these boards")


def test_a_method_that_another_beats_wherever_both_compete_is_not_recommended(tmp_path):
    for board, names, skills in (
        ("small", ("bicubic", "second"), (0.03, 0.12)),
        ("large", ("bicubic", "second", "first"), (0.03, 0.11, 0.14)),
    ):
        place = tmp_path / board
        place.mkdir()
        of_skill(place, names, skills)
        (place / "one").rename(tmp_path / f"board-{board}")
        place.rmdir()
    assert sentence_of(tmp_path).startswith("**Take `first`, which brings back 14 % of the detail")


@pytest.mark.parametrize("board", ["bladder-fusion-x4", "phantom"])
def test_values_of_committed_rows_lie_within_the_bounds_of_their_metrics_and_intervals_too(board):
    rows = pd.read_parquet(COMMITTED / board / "rows.parquet", columns=["metric", "value"])
    table = pd.read_csv(COMMITTED / board / "leaderboard.csv")
    ends = rows.groupby("metric")["value"].agg(["min", "max"]).dropna()
    core = {spec.name: spec.bounds for spec in builtin_metrics()}
    seen = 0
    for name, (low, high) in ends.iterrows():
        lowest, highest = core[name]
        assert lowest <= low <= high <= highest, name
        for column in (f"{name}.image.low", f"{name}.image.high"):
            if column in table:
                assert table[column].dropna().between(lowest, highest).all(), column
                seen += 1
    assert seen > 20


def counted(folder, specimens):
    """The overview of a board of eight sections, cut in turn from so many specimens."""
    path = folder / "one" / "leaderboard.csv"
    rows = rows_of(("bicubic", "net"), metrics=("ssim",), sections=8).assign(metric="skill")
    number = rows["section"].str[1:].astype(int) % specimens
    rows = rows.assign(
        value=0.1 + 0.1 * (rows["method"] == "net"), specimen="m" + number.astype(str)
    )
    track = replace(TRACK, metrics=("skill",), scheme="skill")
    table = leaderboard_table(rows, track, draws=100)
    path.write_text(table_csv(table))
    return index_page(boards_in(folder)), what_numbers_mean(table)


@pytest.mark.parametrize(
    ("specimens", "listed", "sentence", "caption"),
    [
        (8, " 8 ", "told apart from the next", "of 8 sections, taken as independent"),
        (6, " 8 (6 specimens) ", "told apart from the next", "6 specimens (8 sections), specimens taken"),
        (4, " 8 (4 specimens) ", "Too few specimens to say that", "4 specimens decide nothing about"),
        (1, " 8 (1 specimen) ", "Too few specimens to say that", "1 specimen decides nothing about"),
    ],
)  # fmt: skip
def test_specimens_are_counted_where_sections_share_them(
    tmp_path, specimens, listed, sentence, caption
):
    folder = of_skill(tmp_path, ("bicubic", "net"), (0.1, 0.2))
    page, said = counted(folder, specimens)
    assert f"|{listed}" in page
    assert sentence in page
    assert caption in said
    assert ("over specimens (6)" in said) == (specimens == 6)
    assert ("of 4 specimens (8 sections); 95 % intervals hold for sections" in said) == (
        specimens == 4
    )
