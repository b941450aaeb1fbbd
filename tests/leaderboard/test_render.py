import io
import json
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from msibench.cli.main import cli
from msibench.contracts.metric import turned
from msibench.errors import ConfigurationError, StoreError
from msibench.leaderboard.board import Board
from msibench.leaderboard.listed import PERCENT, range_text
from msibench.leaderboard.metrics import ARROWS
from msibench.leaderboard.pair import pair_page
from msibench.leaderboard.render import (
    fixed,
    leaderboard_files,
    markdown_page,
    plus_minus,
    significant,
    write_leaderboard,
)
from msibench.leaderboard.rows import COLUMNS, Collected, records_of, tidy
from msibench.leaderboard.safe_csv import safe_csv
from msibench.leaderboard.table import leaderboard_table
from msibench.leaderboard.trust import _percent, percent_range
from msibench.metrics.specs import builtin_metrics
from msibench.owners import owned_name
from msibench.results.index import TrackIndex
from msibench.results.store import Store
from msibench.tracks import ProblemSet, Track

TRACK = Track(
    name="toy",
    title="A toy track",
    problems=(ProblemSet(dataset="toy", protocols=("area-x4@1",)),),
    metrics=("psnr", "ssim"),
)


def cell(method, section, values, status="ok", **facts):
    base = {
        "method": method, "dataset": "toy", "section": section, "protocol": "area-x4@1",
        "mz_set": "all", "seed": 0, "control": "", "device": "cpu", "precision": "float32",
        "cell": f"{method}{section}", "status": status, "status_reason": "", "origin": "measured",
        "task": "single-image", "is_control": False, "images": len(values),
        "seconds_per_image": 0.5, "fit_seconds": 0.0, "rss_mib": 200.0, "vram_mib": np.nan,
    }  # fmt: skip
    rows = []
    for channel, (psnr, ssim) in enumerate(values):
        for metric, value in (("psnr", psnr), ("ssim", ssim)):
            row = {
                "channel": channel, "mz": 400.0 + channel, "metric": metric, "metric_version": 1,
                "region": "image", "direction": "higher", "value": value,
                "reason": "" if np.isfinite(value) else "identical images",
            }  # fmt: skip
            rows.append({**base, **facts, **row})
    if not rows:
        empty = dict.fromkeys(("metric", "region", "direction", "reason"), "")
        rows.append(
            {
                **base,
                **facts,
                **empty,
                "channel": -1,
                "mz": np.nan,
                "metric_version": 0,
                "value": np.nan,
            }
        )
    return rows


def collected(*cells):
    rows = pd.DataFrame([row for rows in cells for row in rows])
    return Collected(tidy(rows.sample(frac=1, random_state=3)), {})


@pytest.fixture
def found():
    rng = np.random.default_rng(0)
    sections = [f"s{i}" for i in range(4)]
    cells = []
    for section in sections:
        base = np.column_stack([rng.normal(25, 2, 5), rng.uniform(0.5, 0.7, 5)])
        cells.append(cell("bicubic", section, base))
        cells.append(cell("better", section, base + np.array([1.0, 0.05])))
        cells.append(cell("worse", section, base - np.array([1.0, 0.05])))
    cells.append(cell("broken", "s0", [], status="failed", status_reason="no | <b>card</b>"))
    return collected(*cells)


def test_a_huge_number_is_written_with_an_exponent():
    assert fixed(-7.754e60, 3) == "-7.75e+60"
    assert fixed(-999_999.0, 1) == "-999999.0"
    assert fixed(-0.0001, 2) == "0.00"
    assert fixed(-0.01, 2) == "-0.01"


def test_no_percentage_is_a_zero_with_a_minus_and_none_claims_a_thousandth():
    assert percent_range(-0.0004, -0.0001) == "0 %"
    assert percent_range(-0.01, 0.02) == "-1 to 2 %"
    assert [_percent(-0.0004), _percent(-0.01)] == ["0.0 %", "-1.0 %"]
    assert range_text([-0.00094, 0.24], 100.0, PERCENT) == "-0.1 to 24 %"
    assert range_text([-0.0002, -0.0001], 100.0, PERCENT) == "0.0 %"
    assert range_text([0.0994, 0.0996, 0.102], 100.0, PERCENT) == "9.9 to 10 %"
    assert range_text([0.0996, 0.102], 100.0, PERCENT) == "10 %"
    assert range_text([0.0123, 4.56]) == "0.012 to 4.6"


def test_the_best_stands_first_and_the_control_at_zero(found):
    table = leaderboard_table(found.rows, TRACK, draws=500)
    assert table["method"].tolist() == ["better", "bicubic", "worse", "broken"]
    assert table["rank"].isna().all()  # four sections rank nobody
    assert table.loc[1, "composite"] == pytest.approx(0)
    assert table.loc[0, "composite"] > 0.1
    assert table.loc[3, "statuses"] == "1 failed"


def test_any_order_of_rows_gives_the_same_bytes(found):
    again = Collected(tidy(found.rows.sample(frac=1, random_state=9)), {})
    assert leaderboard_files(Board(found, TRACK, TrackIndex())) == leaderboard_files(
        Board(again, TRACK, TrackIndex())
    )


def test_a_method_that_failed_is_listed_with_its_reason(found):
    page = leaderboard_files(Board(found, TRACK, TrackIndex()))["README.md"].decode()
    assert "`broken` (area-x4@1): no \\| &lt;b&gt;card&lt;/b&gt;" in page
    assert "<b>" not in page


def test_means_are_printed_with_their_standard_error():
    row = {"psnr.image.mean": 23.0591, "psnr.image.sem": 0.5521, "psnr.image.undefined": 2}
    assert plus_minus(row, "psnr.image", 3) == "23.059 ± 0.552 (2 undefined)"
    assert plus_minus({}, "psnr.image", 3) == "–"


def test_undefined_values_are_counted_beside_the_mean():
    found = collected(
        cell("bicubic", "s0", [(20.0, 0.5), (22.0, 0.6)]),
        cell("oracle", "s0", [(np.nan, 1.0), (30.0, 0.9)]),
    )
    page = leaderboard_files(Board(found, TRACK, TrackIndex()))["README.md"].decode()
    assert "(1 undefined)" in page
    assert "psnr: 1 values undefined (identical images)" in page


def test_a_missing_metric_is_marked_or_refused(found):
    from dataclasses import replace

    table = leaderboard_table(found.rows, TRACK, draws=200)
    assert "dists" in table.loc[0, "missing"]
    refusing = leaderboard_table(found.rows, replace(TRACK, missing_metric="refuse"), draws=200)
    assert refusing["composite"].isna().all()
    assert "dists" in refusing.loc[0, "rank_reason"]
    with pytest.raises(ConfigurationError, match="mark"):
        leaderboard_table(found.rows, replace(TRACK, missing_metric="average"), draws=200)


def test_without_the_control_method_there_are_means_and_no_scores(found):
    rows = found.rows[found.rows["method"] != "bicubic"]
    table = leaderboard_table(rows, TRACK, draws=200)
    assert table["composite"].isna().all()
    assert table["psnr.image.mean"].notna().any()
    assert "bicubic" in table.loc[0, "rank_reason"]


def test_a_partly_covered_method_has_no_rank():
    found = collected(
        cell("bicubic", "s0", [(20.0, 0.5)] * 3),
        cell("bicubic", "s1", [(20.0, 0.5)] * 3),
        cell("half", "s0", [(24.0, 0.7)] * 3),
    )
    table = leaderboard_table(found.rows, TRACK, draws=200).set_index("method")
    assert table.loc["half", "coverage"] == 0.5
    assert pd.isna(table.loc["half", "rank"])
    assert "covers 50.0%" in table.loc["half", "rank_reason"]


def test_text_that_a_spreadsheet_would_run_is_harmless():
    table = pd.DataFrame({"method": ["=HYPERLINK(1)", "bicubic", "@x"], "value": [-1.0, 2.0, 3.0]})
    safe = safe_csv(table)
    assert safe["method"].tolist() == ["'=HYPERLINK(1)", "bicubic", "'@x"]
    assert safe["value"].tolist() == [-1.0, 2.0, 3.0]


def test_the_rows_file_holds_every_documented_column(found):
    files = leaderboard_files(Board(found, TRACK, TrackIndex()))
    rows = pd.read_parquet(io.BytesIO(files["rows.parquet"]))
    assert tuple(rows.columns) == COLUMNS
    assert len(rows) == len(found.rows)


def test_two_methods_are_compared_mz_by_mz(found):
    page = pair_page(found.rows, TRACK, {}, "better", "worse")
    assert "400" in page
    assert "ratio" in page


def test_a_track_that_was_never_run_is_told(tmp_path):
    with pytest.raises(StoreError, match="msibench run toy"):
        write_leaderboard(Store.open(tmp_path), TRACK, tmp_path / "out")


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123456, "0.0123"), (1234.5, "1234"), (0, "0"), (np.nan, "")]
)
def test_numbers_keep_their_significant_digits(value, text):
    assert significant(value) == text


def test_a_board_shows_caos_score_the_perfect_signal_and_what_would_fill_it(found):
    rows = found.rows
    lacking = rows[rows["metric"] == "psnr"].assign(
        metric="dists", value=np.nan, reason="weights-missing: msibench weights fetch vgg16"
    )
    ceiling = rows[rows["metric"] == "psnr"].assign(metric="noise_ceiling_psnr", value=33.0)
    every = tidy(pd.concat([rows, lacking, ceiling]))
    track = replace(TRACK, metrics=("psnr", "ssim", "dists", "noise_ceiling_psnr"))
    page = markdown_page(Board(Collected(every, {}), track, TrackIndex()))
    heads = next(line for line in page.splitlines() if line.startswith("| method"))
    assert "cao2025" in heads
    assert "DISTS" not in heads
    assert "rank" not in heads
    assert (
        "Not shown: DISTS, which needs pretrained weights (msibench weights fetch vgg16)." in page
    )
    assert "Sorted by score, without ranks or groups" in page
    perfect = next(line for line in page.splitlines() if "_perfect signal_" in line)
    assert "33.000" in perfect
    assert "_the control, bicubic_" in page
    assert "These rows hold no skill: they are older, and ranked by `anchored`." in page


def test_rows_that_hold_skill_are_ranked_by_it_in_percent(found):
    skill = found.rows[found.rows["metric"] == "ssim"].assign(metric="skill")
    every = tidy(pd.concat([found.rows, skill]))
    page = markdown_page(Board(Collected(every, {}), TRACK, TrackIndex()))
    assert "score (%)" in page
    table = leaderboard_table(every, TRACK, draws=500)
    best = skill[skill["method"] == "better"]["value"].mean()
    assert table.loc[0, "composite"] == pytest.approx(best)
    assert f"| {100 * best:.1f} " in page


def test_coverage_is_right_at_its_level_not_better_the_more_it_is():
    known = {spec.name: spec for spec in builtin_metrics()}
    for name in ("interval_coverage", "worst_interval_coverage", "calibrated_coverage"):
        assert ARROWS[known[name].direction] == "→ 0.9"
        held = turned(np.array([0.5, 0.88, 0.9, 1.0]), known[name].direction)
        assert np.argsort(-held).tolist() == [2, 1, 3, 0]
    assert known["interval_score"].direction == "lower"
    listed = CliRunner().invoke(cli, ["list", "metrics", "--json"])
    asked = {line["metric"]: line["better"] for line in json.loads(listed.output)}
    assert (asked["calibrated_coverage"], asked["psnr"]) == ("nearer 0.9", "higher")


def test_halves_of_files_that_a_killed_run_left_beside_a_board_are_removed(tmp_path, found):
    (tmp_path / "data").mkdir()
    living = f".{owned_name('rows.parquet')}.part"
    dead = living.replace(f"-{os.getpid()}-", "-4194303-")
    for name in (living, dead, f"data/{dead}"):
        (tmp_path / name).write_bytes(b"half")
    write_leaderboard(None, TRACK, tmp_path, board=Board(found, TRACK, TrackIndex()))
    assert [path.name for path in tmp_path.rglob(".*.part")] == [living]


def test_the_lines_of_a_table_are_those_that_pandas_gives():
    table = pd.DataFrame(
        {
            "text": ["a", "", None],
            "mean": [1.5, np.nan, -0.0],
            "count": [3, 0, 7],
            "good": [True, False, True],
            "mixed": [np.float64(2.5), None, np.bool_(True)],
        }
    )
    found, wanted = records_of(table), table.to_dict("records")
    assert list(map(repr, found)) == list(map(repr, wanted))
    assert records_of(table[:0]) == []
    assert [type(value) for value in found[0].values()] == [str, float, int, bool, float]
