"""The words of a gate's findings and notes, and what decides whether anything was judged."""

from dataclasses import replace

import numpy as np

from msibench.gate import compare, load_margins
from msibench.gate.report import compare_sessions
from msibench.gate.samples import Timing, Timings
from msibench.gate.sources import Side
from msibench.gate.speed import compare_peaks
from tests.gate.tables import changed, rows_of

MARGINS = load_margins()


def report_of(base, new, margins=MARGINS, **options):
    return compare(Side(name="a", rows=base), Side(name="b", rows=new), margins, **options)


def texts(report):
    return [finding.text for finding in report.findings]


def test_costs_are_told_in_numbers_with_a_p_where_there_is_one():
    base = Timings(
        timings={
            "kept": Timing(seconds=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)),
            "summed up": Timing(seconds=(1.0,), quartiles=(0.9, 1.1)),
            "gone": Timing(seconds=(1.0,)),
        },
        peaks_mib={"kept": 100.0},
    )
    new = Timings(
        timings={
            "kept": Timing(seconds=(8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0)),
            "summed up": Timing(seconds=(1.5,), quartiles=(1.4, 1.6)),
        },
        peaks_mib={"kept": 200.0},
    )
    for warn in (False, True):
        report = compare_sessions("a", "b", base, new, MARGINS, warn_speed=warn)
        # 2 / C(14, 7) = 2 / 3432 = 0.00058
        assert [(finding.text, finding.fatal) for finding in report.findings] == [
            ("gone was timed in the base and not in the new session", True),
            ("kept takes 2.75 times as long (4 s, now 11 s; Mann-Whitney, p = 0.00058)", not warn),
            ("summed up takes 1.50 times as long (1 s, now 1.5 s; quartiles)", not warn),
            ("kept takes 2.00 times the memory (100 MiB, now 200 MiB)", True),
        ]


def test_a_peak_that_shrank_by_just_the_factor_is_the_same():
    rules = replace(MARGINS, memory_factor=1.25)
    for after, outcome in ((800.0, "same"), (799.0, "less")):
        (verdict,) = compare_peaks({"a": 1000.0}, {"a": after}, rules)
        assert verdict.outcome == outcome


def test_damage_is_told_of_both_sides_with_the_first_of_the_key():
    rows = rows_of(("net",), sections=1)
    sides = [
        Side(name=name, rows=rows, damaged={letter * 64: "was changed"})
        for name, letter in (("a", "e"), ("b", "f"))
    ]
    assert texts(compare(*sides, MARGINS)) == [
        f"a, cell {'e' * 12}…: was changed",
        f"b, cell {'f' * 12}…: was changed",
    ]


def test_a_single_identical_value_and_a_single_large_loss_are_judged():
    one = rows_of(("net",), metrics=("psnr",), sections=1, channels=1)
    report = report_of(one, one)
    assert (report.exit_code, report.findings) == (0, ())
    assert not np.isfinite(report.quality["low"]).any()
    report = report_of(one, changed(one, -5.0))
    assert [finding.kind for finding in report.findings] == ["quality"]


def test_why_nothing_could_be_judged_is_told():
    rows = rows_of(("net",), sections=1)
    unjudged = replace(MARGINS, metrics={"dists": 0.1})
    assert texts(report_of(rows, rows, unjudged)) == [
        "nothing could be judged: no metric has a margin"
    ]
    nothing = rows.iloc[:0]
    assert texts(report_of(nothing, rows))[-1] == "nothing measured: the base rows hold no score"
    assert texts(report_of(rows, nothing))[-1] == "nothing measured: the new rows hold no score"


def test_a_level_needs_no_margin_and_any_other_metric_is_named():
    rows = rows_of(("net",), metrics=("psnr", "ssim", "odd"), sections=1)
    rows = rows.assign(metric=rows["metric"].replace("odd", "detail_energy"))
    report = report_of(rows, rows, replace(MARGINS, metrics={"psnr": 0.1}))
    assert report.notes == ("without a margin: ssim",)


def test_more_seeds_are_asked_for_where_a_method_that_trains_is_undecided():
    one = rows_of(("net",), metrics=("psnr",), sections=1, channels=1)
    other = changed(one, -0.01)
    fitted = [rows.assign(fit_seconds=9.0) for rows in (one, other)]
    assert report_of(one, other).notes == ()
    assert report_of(fitted[0], fitted[0]).notes == ()
    (note,) = report_of(*fitted).notes
    assert note.startswith("one seed of methods that train (net): a shift of the whole run by 1 ")
