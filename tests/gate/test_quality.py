"""What a new side lacks, cause by cause, each with exactly the words it is told in."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from msibench.gate import compare, load_margins
from msibench.gate.quality import (
    coverage_faults,
    judge,
    not_judged,
    taken_on_trust,
    training,
    without_nothing,
)
from msibench.gate.render import as_markdown
from msibench.gate.sources import Side
from msibench.scoring.cube import NOTHING_PRESENT
from tests.gate.tables import changed, rows_of

MARGINS = load_margins()
ROWS = rows_of(("net",), sections=2, channels=2)


def faults(base, new, margins=MARGINS, required=0.0):
    sides = [Side(name="rows", rows=rows) for rows in (base, new)]
    return coverage_faults(*sides, margins, required)


def as_wrong_guide(rows):
    return rows.assign(control="guide-shuffled", cell=rows["cell"].map(lambda key: key[::-1]))


def as_failed(rows, *sections):
    return rows.assign(status=np.where(rows["section"].isin(sections), "oom", rows["status"]))


def test_a_method_trains_that_spent_any_time_on_fitting():
    rows = pd.concat([ROWS.assign(fit_seconds=0.25), rows_of(("bicubic",), sections=1)])
    assert training(rows) == {"net"}


def test_a_method_that_trains_on_one_side_only_is_judged_as_one_that_trains():
    base, new = (rows_of(("net",), metrics=("psnr",), noise=0.05, rng=number) for number in (1, 2))
    new = changed(new, -0.05)
    fitted = [rows.assign(fit_seconds=9.0) for rows in (base, new)]
    wanted = judge(*fitted, MARGINS)
    pd.testing.assert_frame_equal(judge(base, fitted[1], MARGINS), wanted)
    pd.testing.assert_frame_equal(judge(fitted[0], new, MARGINS), wanted)
    assert set(judge(base, new, MARGINS)["outcome"]) != set(wanted["outcome"])


def test_cells_that_failed_before_are_known_and_the_others_are_named():
    before = as_failed(ROWS, "s0")
    assert faults(before, as_failed(ROWS, "s0", "s1")) == [
        "net (area-x4@1, toy/s1, seed 0) ended with status oom"
    ]
    both = pd.concat([ROWS, as_failed(as_wrong_guide(ROWS), "s1")])
    assert faults(ROWS, both) == [
        "net (area-x4@1, toy/s1, seed 0, guide-shuffled) ended with status oom"
    ]


@pytest.mark.parametrize("seconds", [0.0, np.inf, np.nan])
def test_a_time_is_a_number_above_zero(seconds):
    without = ROWS.assign(seconds_per_image=seconds)
    lost = ["net (area-x4@1): the base has its time, the new rows have none"]
    assert faults(ROWS, without) == lost
    assert faults(without, ROWS) == []
    assert faults(without, without) == []


def test_neither_a_failed_cell_nor_one_with_a_wrong_guide_shows_what_a_method_costs():
    lost = ["net (area-x4@1): the base has its time, the new rows have none"]
    without = ROWS.assign(seconds_per_image=np.nan)
    assert faults(ROWS, pd.concat([without, as_wrong_guide(ROWS)])) == lost
    failed = as_failed(ROWS, "s1")
    timed = failed["section"] == "s1"
    assert faults(failed, failed.assign(seconds_per_image=np.where(timed, 0.5, np.nan))) == lost


def test_a_metric_that_is_gone_is_named_once_and_a_declared_one_not_at_all():
    (fault,) = faults(ROWS, ROWS[ROWS["metric"] != "ssim"])
    assert fault.startswith("ssim was measured in the base and is gone")
    declared = replace(MARGINS, removed=("ssim",))
    assert faults(ROWS, ROWS[ROWS["metric"] != "ssim"], declared) == []
    fewer = changed(ROWS, np.nan, metric="ssim", section="s1")
    assert faults(ROWS, fewer) == ["net: ssim (image, area-x4@1) has 2 of the 4 values of the base"]
    assert faults(ROWS, fewer, declared) == []
    assert faults(ROWS, fewer.assign(metric_version=1 + (fewer["metric"] == "ssim"))) == []
    assert faults(ROWS, fewer, replace(MARGINS, metrics={"psnr": 0.1})) == []


def test_where_nothing_was_measured_every_value_of_the_base_is_lost():
    assert faults(ROWS, ROWS.iloc[:0]) == [
        f"net: {metric} (image, area-x4@1) has 0 of the 4 values of the base"
        for metric in ("psnr", "ssim")
    ]


def test_images_on_which_either_side_says_that_nothing_is_present_leave_both():
    rows = rows_of(("a", "b"), metrics=("psnr",), sections=1, channels=4)
    said = [
        np.where((rows["channel"] == channel) & (rows["method"] == method), NOTHING_PRESENT, why)
        for channel, method, why in ((0, "a", ""), (2, "b", "another reason"))
    ]
    for kept in without_nothing(*(rows.assign(reason=reason) for reason in said)):
        where = list(zip(kept["method"], kept["channel"], strict=True))
        assert where == [("a", 1), ("a", 3), ("b", 1), ("b", 3)]


def test_a_method_without_a_value_has_no_image_and_values_of_sections_ask_for_none():
    rows = rows_of(("bicubic", "net"), metrics=("psnr",), sections=1, channels=4)
    without = changed(rows, np.nan, method="net")
    assert faults(without, without, required=0.1) == [
        "net (area-x4@1) has 0 of 4 images, 0.0%; 10.0% are required"
    ]
    whole = rows_of(("net",), metrics=("psnr",), sections=1, channels=1, protocol="area-x2@1")
    both = pd.concat([rows, whole.assign(channel=-1)])
    assert faults(both, both, required=0.5) == []


def test_what_was_measured_and_is_only_reported_now_is_told():
    told = ROWS.assign(origin=np.where(ROWS["section"] == "s0", "self-reported", ROWS["origin"]))
    assert taken_on_trust(ROWS, told) == [
        "net: 1 of its cells is self-reported now and was measured in the base; "
        "`msibench verify --rerun` checks them here"
    ]
    for pair in ((told, told), (told, ROWS), (ROWS, ROWS)):
        assert taken_on_trust(*pair) == []
    checked = ROWS.assign(origin="reproduced")
    assert taken_on_trust(ROWS, checked) == []
    added = rows_of(("net", "theirs"), sections=2, channels=2)
    added = added.assign(
        origin=np.where(added["method"] == "theirs", "self-reported", added["origin"])
    )
    assert taken_on_trust(ROWS, added) == []
    report = compare(Side(name="base", rows=ROWS), Side(name="new", rows=told), MARGINS)
    assert report.exit_code == 0
    assert "warning, integrity: net: 1 of its cells is self-reported now" in as_markdown(report)


def test_truths_are_compared_where_both_sides_know_them():
    place, other = ("toy", "s0", "area-x4@1", "all"), ("toy", "s1", "area-x4@1", "all")
    base = Side(name="base", rows=ROWS, truths={place: "a", other: "b"})
    for digest, told in (("a", []), ("c", ["toy/s0 (area-x4@1, all): the truth differs"])):
        new = Side(name="new", rows=ROWS, truths={place: digest})
        found = coverage_faults(base, new, MARGINS, 0.0)
        assert found == [f"{words} in the new results" for words in told]


def test_other_directions_and_masses_are_told_once():
    turned = ROWS.assign(direction=np.where(ROWS["metric"] == "psnr", "lower", ROWS["direction"]))
    (fault,) = faults(ROWS, turned)
    assert fault.startswith("psnr: direction higher in the base, lower in the new rows;")
    moved = ["m/z set 'all' of toy holds other m/z values in the new rows"]
    assert faults(ROWS, ROWS.assign(mz=ROWS["mz"] + 1)) == moved
    assert faults(ROWS, ROWS.assign(mz=np.nan)) == []


def test_a_metric_without_a_margin_is_named_whichever_side_has_it():
    odd = rows_of(("net",), metrics=("psnr", "odd"), sections=1)
    plain = odd[odd["metric"] == "psnr"]
    assert not_judged(odd, plain, MARGINS) == not_judged(plain, odd, MARGINS) == ["odd"]
    assert not_judged(plain, plain.assign(metric=""), MARGINS) == []
