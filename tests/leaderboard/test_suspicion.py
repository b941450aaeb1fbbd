"""Better than the noise allows: flagged, and ranked apart."""

import numpy as np
import pytest

from msibench.leaderboard.suspicion import PERFECT, TOO_GOOD, ranked_apart, suspicions
from msibench.leaderboard.table import leaderboard_table
from msibench.metrics.psnr import IDENTICAL
from msibench.tracks import ProblemSet, Track
from tests.gate.tables import DIRECTIONS, USUAL, rows_of

TRACK = Track(
    name="toy",
    problems=(ProblemSet(dataset="toy", protocols=("area-x4@1",)),),
    metrics=("psnr", "noise_ceiling_psnr"),
)


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.setitem(USUAL, "noise_ceiling_psnr", 30.0)
    monkeypatch.setitem(DIRECTIONS, "noise_ceiling_psnr", "higher")
    return rows_of(("bicubic", "net", "spy"), metrics=("psnr", "noise_ceiling_psnr"))


def raised(rows, by, method="spy"):
    chosen = (rows["method"] == method) & (rows["metric"] == "psnr")
    return rows.assign(value=np.where(chosen, rows["value"] + by, rows["value"]))


def test_nothing_below_its_ceiling_is_suspicious(rows):
    assert suspicions(rows) == {}
    assert suspicions(raised(rows, 6.0)) == {}
    table = leaderboard_table(rows, TRACK, draws=100)
    assert "flag" not in table


def test_a_mean_above_the_ceiling_is_flagged_and_ranked_apart(rows):
    above = raised(rows, 14.0)
    assert suspicions(above) == {("area-x4@1", "spy"): TOO_GOOD}
    table = leaderboard_table(above, TRACK, draws=100)
    assert table["method"].iloc[-1] == "spy"
    ranks = dict(zip(table["method"], table["rank"], strict=True))
    assert sorted(rank for name, rank in ranks.items() if name != "spy") == [1, 2]
    assert np.isnan(ranks["spy"])
    assert table["flag"].tolist() == ["", "", TOO_GOOD]


def test_one_lucky_image_is_no_leak(rows):
    lucky = rows.copy()
    place = lucky[(lucky["method"] == "net") & (lucky["metric"] == "psnr")].index[0]
    lucky.loc[place, "value"] = 60.0
    assert suspicions(lucky) == {}


def test_a_prediction_that_is_the_truth_is_flagged_and_has_no_rank(rows):
    """Its PSNR is infinite and enters no mean, so that it had no rank at all."""
    perfect = rows.copy()
    chosen = (perfect["method"] == "spy") & (perfect["metric"] == "psnr")
    perfect.loc[chosen, "value"] = np.nan
    perfect.loc[chosen, "reason"] = IDENTICAL
    table = leaderboard_table(perfect, TRACK, draws=100)
    spy = table[table["method"] == "spy"].iloc[0]
    assert spy["flag"] == PERFECT
    assert np.isnan(spy["rank"])


def test_without_ranks_there_is_nothing_to_number(rows):
    table = leaderboard_table(rows, TRACK, draws=100).drop(columns="rank")
    flagged = ranked_apart(table, {("area-x4@1", table["method"].iloc[0]): TOO_GOOD})
    assert "rank" not in flagged
    assert flagged["flag"].iloc[-1] == TOO_GOOD


def test_a_control_stands_behind_all_methods_without_a_rank(rows):
    """Only the track's own control method keeps its place among them."""
    good = raised(rows, 2.0, "spy").assign(
        is_control=lambda rows: rows["method"].isin({"spy", "bicubic"})
    )
    table = leaderboard_table(good, TRACK, draws=100)
    assert table["method"].iloc[-1] == "spy"
    assert table["composite"].idxmax() == len(table) - 1, "though its score is the best"
    ranks = dict(zip(table["method"], table["rank"], strict=True))
    assert np.isnan(ranks.pop("spy"))
    assert sorted(ranks.values()) == [1, 2]
    groups = table["rank_group"].dropna()
    assert sorted(set(groups)) == list(range(1, len(set(groups)) + 1))
