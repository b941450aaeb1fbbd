"""Losses planted into committed boards, found or passed through the command line."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from msibench.cli.main import main
from msibench.gate.sources import read_rows
from tests.gate.tables import changed, saved

BOARDS = Path(__file__).parents[2] / "leaderboards"
NAMES = ("bladder-x4", "lbae-x4", "phantom")
METHOD = "swinir-msi-tiny"


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow) for name in NAMES[:-1]] + [NAMES[-1]],
)
def board(request):
    folder = BOARDS / request.param
    rows = read_rows((folder / "rows.parquet").read_bytes(), request.param)
    wanted = {"psnr", "ssim", "rmse", "r2", ""}
    rows = rows[rows["metric"].isin(wanted)]
    if not os.environ.get("MSIBENCH_SLOW_TESTS"):
        rows = rows[rows["method"].isin({"bicubic", "nearest", "ridge", METHOD})]
    return folder, rows.reset_index(drop=True)


@pytest.fixture
def compared(tmp_path, capsys):
    """Return a function that compares two tables of rows and gives exit code, summary and report."""

    def compare(folder, base, new, *words):
        for name, rows in (("base", base), ("new", new)):
            saved(rows, tmp_path / name)
            shutil.copy(folder / "track.toml", tmp_path / name)
        report = tmp_path / "report.json"
        with pytest.raises(SystemExit) as end:
            main(
                [
                    "compare",
                    str(tmp_path / "base"),
                    str(tmp_path / "new"),
                    "--json",
                    str(report),
                    *words,
                ]
            )
        return end.value.code or 0, capsys.readouterr().out, json.loads(report.read_text())

    return compare


@pytest.mark.parametrize(
    ("loss", "code"), [pytest.param(0.05, 0, marks=pytest.mark.slow), (0.1, 0), (0.3, 4)]
)
def test_a_planted_loss_of_one_method_is_found_above_the_margin_only(board, compared, loss, code):
    folder, rows = board
    new = changed(rows, -loss, metric="psnr", method=METHOD)
    found, said, report = compared(folder, rows, new)
    assert found == code
    assert "nan" not in said.lower()
    worse = {(r["method"], r["metric"]) for r in report["quality"] if r["outcome"] == "worse"}
    assert worse == ({(METHOD, "psnr")} if code else set())


@pytest.mark.parametrize(("loss", "code"), [(0.05, 0), (0.3, 4)])
def test_a_planted_loss_of_every_method_is_found_above_the_margin_only(board, compared, loss, code):
    folder, rows = board
    assert compared(folder, rows, changed(rows, -loss, metric="psnr"))[0] == code


def test_a_lost_section_or_ion_is_found_and_named(board, compared):
    folder, rows = board
    hit = (rows["metric"] == "psnr") & (rows["region"] == "image") & (rows["method"] == METHOD)
    if rows["section"].nunique() > 1:
        where = hit & (rows["section"] == rows.loc[hit, "section"].iloc[0])
    else:
        where = hit & (rows["channel"] == 3)
    new = rows.assign(value=rows["value"] - 5.0 * where)
    code, said, report = compared(folder, rows, new)
    assert code == 4
    (line,) = [r for r in report["quality"] if r["outcome"] == "worse"]
    assert line["reason"] in {"section", "image"}
    assert line["place_loss"] == pytest.approx(5)
    assert line["place"] in said


def test_a_section_or_method_that_is_gone_is_lower_coverage(board, compared):
    folder, rows = board
    place = "section" if rows["section"].nunique() > 1 else "method"
    gone = rows[rows[place] != rows[place].iloc[0]]
    code, _, report = compared(folder, rows, gone)
    assert code == 6
    assert all(finding["kind"] == "coverage" for finding in report["findings"])


def test_a_board_against_itself_passes_and_only_finite_numbers_are_printed(board, compared):
    folder, rows = board
    code, said, report = compared(folder, rows, rows)
    assert code == 0
    assert report["counts"]["worse"] == report["counts"]["better"] == 0
    assert not re.search(r"\b(nan|inf|infinity)\b|\de[+-]\d", said.lower())
    differ = [r for r in report["quality"] if r["difference"]]
    assert differ == []


def test_noise_of_a_rerun_with_its_shift_is_no_alarm(board, compared):
    folder, rows = board
    rng = np.random.default_rng(5)
    psnr = rows["metric"] == "psnr"
    keys = rows.loc[psnr].groupby("method").ngroup()
    shift = rng.normal(0, 0.1, keys.max() + 1)
    new = rows.copy()
    new.loc[psnr, "value"] += shift[keys] + rng.normal(0, 0.25, psnr.sum())
    assert compared(folder, rows, new)[0] == 0
