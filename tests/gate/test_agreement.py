"""Rows of a board are held against one another: a value that was changed alone is found."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from msibench.gate.agreement import contradictions, impossible
from msibench.gate.margins import load_margins
from msibench.gate.report import INTEGRITY, compare
from msibench.gate.sources import Side
from msibench.gate.verify_board import verify_leaderboard
from msibench.tracks import load_track
from tests.gate.test_verify import COMMITTED, SMALLEST

BOARDS = Path(__file__).parents[2] / "leaderboards"
ALONE = [
    "skill", "psnr", "rmse", "r2", "detail_gain", "input_error", "detail_match", "detail_precision",
    "detail_recall", "improved_share", "omitted_share", "invented_share",
]  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    return pd.read_parquet(BOARDS / "bladder-finetuned-x4" / "rows.parquet")


@pytest.mark.parametrize(
    "path",
    [
        # `msibench verify`, which .ci/run has look at all of them, asks the same
        pytest.param(path, marks=[] if path in SMALLEST else [pytest.mark.slow])
        for path in COMMITTED
    ],
    ids=lambda path: path.parent.name,
)
def test_the_values_of_a_committed_board_agree(path):
    assert contradictions(pd.read_parquet(path)) == []


@pytest.mark.parametrize("metric", ALONE)
def test_a_value_that_was_changed_alone_contradicts_others(rows, metric):
    forged = rows.copy()
    place = ((forged["metric"] == metric) & (forged["method"] == "dctlsa-msi")).idxmax()
    forged.loc[place, "value"] += 0.0005
    found = contradictions(forged)
    assert found
    assert all(
        metric in text and "on 1 ion image, first dctlsa-msi on bladder/" in text for text in found
    )


def test_an_undefined_value_and_rows_without_such_metrics_contradict_nothing(rows):
    undefined = rows.copy()
    undefined.loc[undefined["metric"] == "detail_precision", "value"] = np.nan
    assert contradictions(undefined) == []
    assert contradictions(rows[rows["metric"] == "ssim"]) == []


def test_a_board_whose_scores_were_raised_is_not_true(rows, tmp_path):
    """Tables made again from the forged rows would agree with them."""
    folder = tmp_path / "bladder-finetuned-x4"
    shutil.copytree(BOARDS / folder.name, folder)
    forged = rows.copy()
    forged.loc[(forged["metric"] == "skill") & (forged["method"] == "bicubic"), "value"] += 0.1
    forged.to_parquet(folder / "rows.parquet")
    checked = verify_leaderboard(folder, load_track(str(folder)))
    assert any(
        "skill contradicts detail_gain and input_error on 8 ion images" in f for f in checked.faults
    )


def test_a_value_that_no_image_can_have_is_no_improvement(rows):
    """A skill above 1 is more than the truth has."""
    forged = rows.copy()
    forged.loc[(forged["metric"] == "skill") & (forged["method"] == "bicubic"), "value"] += 1.5
    assert impossible(rows) == []
    (text,) = impossible(forged)
    assert re.fullmatch(r"skill is 1\.\d+, and can be -inf to 1 alone", text)
    base, new = Side(name="base", rows=rows), Side(name="new", rows=forged)
    report = compare(base, new, load_margins())
    assert report.exit_code == INTEGRITY
    assert any(text in finding.text for finding in report.findings)
