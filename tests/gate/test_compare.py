import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from msibench.errors import ConfigurationError, IntegrityError
from msibench.gate import Margins, compare, load_margins
from msibench.gate.quality import declared, not_judged, one_seed
from msibench.gate.render import as_markdown
from msibench.gate.report import name_of, why_undecided, why_worse
from msibench.gate.sources import Side, load_side
from tests.gate.tables import changed, rows_of, saved

MARGINS = load_margins()


def side(rows, **facts):
    return Side(name="rows", rows=rows, **facts)


def outcome(base, new, margins=MARGINS, **options):
    return compare(side(base), side(new), margins, **options)


def test_the_same_rows_pass_whatever_their_order():
    rows = rows_of()
    report = outcome(rows, rows.sample(frac=1, random_state=1))
    assert report.exit_code == 0
    assert report.counts == {
        "worse": 0,
        "undecided": 0,
        "better": 0,
        "equivalent": 0,
        "identical": 4,
    }
    assert not report.findings


def test_identical_values_pass_on_one_image_and_one_that_differs_does_not():
    rows = rows_of(("a", "b"), metrics=("psnr", "ssim"), sections=1, channels=1)
    report = outcome(rows, rows)
    assert (report.exit_code, report.counts["identical"], report.findings) == (0, 4, ())
    assert outcome(rows, rows, fail_undecided=True).exit_code == 0
    for change in (1e-3, -1e-3, 1e-13):
        other = outcome(rows, changed(rows, change, metric="psnr", method="a"))
        assert other.exit_code == 6, change
        assert (other.counts["identical"], other.counts["undecided"]) == (3, 1)
    new = pd.concat([rows, rows[rows["method"] == "a"].assign(method="c")])
    assert outcome(rows, new).exit_code == 0, "a method that is new is not a fault"


def test_a_planted_loss_of_three_tenths_of_a_decibel_is_caught_under_the_noise_of_a_rerun():
    base = rows_of(noise=0.1, rng=1)
    new = changed(rows_of(noise=0.1, rng=2), -0.3, metric="psnr", method="net")
    report = outcome(base, new)
    assert report.exit_code == 4
    assert [finding.text.split(" is ")[0] for finding in report.findings] == [
        "net: psnr (image, area-x4@1)"
    ]


@pytest.mark.parametrize("rng", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 4))])
def test_a_rerun_that_differs_by_noise_alone_passes(rng):
    assert outcome(rows_of(noise=0.2, rng=1), rows_of(noise=0.2, rng=rng)).exit_code == 0


def test_many_noisy_comparisons_raise_no_more_alarms_than_one():
    """Of 60 unchanged methods some look worse when each is judged by itself."""
    names = tuple(f"m{number}" for number in range(60))
    sides = [
        rows_of(names, metrics=("psnr",), sections=6, channels=4, noise=0.17, rng=r) for r in (4, 9)
    ]
    alone = replace(MARGINS, family="none", level=0.9, noise_rerun=0.0)
    together = replace(MARGINS, level=0.9, noise_rerun=0.0)
    assert outcome(*sides, alone).exit_code == 4
    assert outcome(*sides, together).exit_code == 0


def all_changed(base, changes):
    """Return rows in which each of these metrics is changed by so much."""
    for metric, change in changes.items():
        base = changed(base, change, metric=metric)
    return base


def worse_metrics(report):
    return set(report.quality.loc[report.quality["outcome"] == "worse", "metric"])


def test_a_loss_is_a_loss_in_the_direction_of_its_metric():
    changes = {"psnr": -0.5, "ssim": -0.05, "rmse": 0.05, "sd_ratio": -0.3}
    base = rows_of(metrics=tuple(changes))
    report = outcome(base, all_changed(base, changes))
    assert (report.exit_code, worse_metrics(report)) == (4, set(changes))


def test_a_loss_within_the_margin_passes():
    base = rows_of()
    assert outcome(base, changed(base, -0.05, metric="psnr")).exit_code == 0


def test_a_gain_passes_and_is_shown():
    base = rows_of()
    report = outcome(base, changed(base, 0.5, metric="psnr"))
    assert (report.exit_code, report.counts["better"]) == (0, 2)


def test_what_cannot_be_told_passes_unless_asked():
    base, new = rows_of(noise=5.0, rng=1), rows_of(noise=5.0, rng=2)
    assert outcome(base, new).exit_code == 0
    assert outcome(base, new, fail_undecided=True).exit_code == 4


@pytest.mark.parametrize(
    ("drop", "named"),
    [
        ({"method": "net"}, "net: psnr"),
        ({"metric": "ssim"}, "ssim was measured in the base and is gone"),
        ({"section": "s3"}, "30 of the 36 values"),
        ({"channel": 2}, "30 of the 36 values"),
        ({"seed": 1}, "36 of the 72 values"),
    ],
)
def test_lower_coverage_is_never_green(drop, named):
    base = rows_of(seeds=(0, 1) if "seed" in drop else (0,))
    gone = np.logical_and.reduce([base[name] == value for name, value in drop.items()])
    report = outcome(base, base[~gone])
    assert report.exit_code == 6
    assert any(named in finding.text for finding in report.findings)


def test_a_value_that_became_undefined_is_lower_coverage():
    base = rows_of()
    report = outcome(base, changed(base, np.nan, section="s1", metric="psnr"))
    assert report.exit_code == 6


def test_a_method_that_came_new_is_no_fault():
    base = rows_of(("bicubic",))
    report = outcome(base, rows_of(("bicubic", "net")))
    assert report.exit_code == 0
    assert report.counts["undecided"] == 2


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"protocol": "bicubic-x4@1"}, "nothing in common: protocol area-x4@1"),
        ({"metric_version": 2}, "metric version 1 in the base, 2 in the new rows"),
        ({"metric_version": 0}, "metric_version 1 in the base, 0 in the new rows"),
        ({"dataset": "other"}, "nothing could be judged: no image in common"),
        ({"mz": 1.0}, "holds other m/z"),
    ],
)
def test_other_measurements_are_never_green(change, named):
    base = rows_of()
    report = outcome(base, base.assign(**change))
    assert report.exit_code == 6
    assert any(named in finding.text for finding in report.findings)


def test_another_truth_is_never_green():
    rows = rows_of()
    place = ("toy", "s0", "area-x4@1", "all")
    report = compare(side(rows, truths={place: "a"}), side(rows, truths={place: "b"}), MARGINS)
    assert report.exit_code == 6
    assert set(report.quality["images"]) == {30}, "images of two truths are not paired"


def test_ion_images_of_other_mz_are_not_paired():
    base = rows_of()
    ions = sorted(set(base["channel"]) - {-1})
    moved = base["channel"] == ions[0]
    worse = base.assign(
        mz=base["mz"].where(~moved, 1.0), value=base["value"].where(~moved, base["value"] - 0.3)
    )
    report = outcome(base, worse)
    assert report.exit_code == 6, "the loss is of another ion"
    assert set(report.quality["images"]) == {30}, "five ions of six sections"
    assert set(report.quality["outcome"]) == {"identical"}


def test_nothing_measured_is_never_green():
    rows = rows_of()
    for pair in ((rows, rows.iloc[:0]), (rows.iloc[:0], rows), (rows.iloc[:0], rows.iloc[:0])):
        assert outcome(*pair).exit_code == 6
    unjudged = replace(MARGINS, metrics={"dists": 0.1})
    assert outcome(rows, rows, unjudged).exit_code == 6


def test_a_single_image_is_too_little_to_be_green():
    rows = rows_of(sections=1, channels=1)
    assert outcome(rows, changed(rows, -0.3, metric="psnr")).exit_code == 6
    assert outcome(rows, changed(rows, 0.3, metric="psnr")).exit_code == 6


@pytest.mark.parametrize("images", [1, 2, 4])
def test_a_large_loss_on_few_images_is_worse_though_no_interval_says_so(images):
    rows = rows_of(sections=1, channels=images)
    report = outcome(rows, changed(rows, -5.0, metric="psnr"))
    assert report.exit_code == 4
    assert "more than stated noise explains" in report.findings[0].text
    assert "nan" not in as_markdown(report)


def test_a_large_mean_loss_is_worse_however_wide_its_interval():
    base = rows_of(("net",), metrics=("psnr",), noise=0.1, rng=1)
    new = changed(base, -6.0, section="s0")
    new = changed(new, -4.0, section="s1")
    new = changed(new, 1.0, section="s2")
    report = outcome(base, new)
    line = report.quality.iloc[0]
    assert line["low"] < -1
    assert line["high"] > 0
    assert (line["outcome"], line["reason"], report.exit_code) == ("worse", "section", 4)


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("where", "loss", "named"),
    [
        ({"section": "s3"}, -5.0, "loses 5 on toy/s3;"),
        ({"section": "s3"}, -1.0, "on toy/s3"),
        ({"section": "s3", "channel": 2}, -2.5, "loses 2.5 on toy/s3, m/z 402.0000;"),
    ],
)
@pytest.mark.parametrize("noise", [0.0, 0.17])
def test_a_lost_section_or_ion_is_found_and_named(where, loss, named, noise):
    base = rows_of(("net",), metrics=("psnr",), noise=noise, rng=1)
    again = rows_of(("net",), metrics=("psnr",), noise=noise, rng=2)
    report = outcome(base, changed(again, loss, **where))
    assert report.exit_code == 4
    said = report.findings[0].text
    assert noise or named in said
    assert "toy/s3" in said or "is worse by" in said


def test_a_cell_whose_status_says_failed_is_red_and_named_once():
    base = rows_of(sections=2)
    hit = (base["method"] == "net") & (base["section"] == "s1")
    new = base.assign(
        status=np.where(hit, "oom", base["status"]),
        status_reason=np.where(hit, "needed 300 GiB", ""),
    )
    report = outcome(base, new)
    assert report.exit_code == 6
    assert [f.text for f in report.findings] == [
        "net (area-x4@1, toy/s1, seed 0) ended with status oom: needed 300 GiB"
    ]
    assert outcome(new, new).exit_code == 0
    assert outcome(new, base).exit_code == 0


@pytest.mark.parametrize(
    ("column", "named"), [("seconds_per_image", "time"), ("rss_mib", "memory")]
)
def test_times_or_memory_that_were_lost_are_red(column, named):
    base = rows_of()
    report = outcome(base, base.assign(**{column: np.nan}))
    assert report.exit_code == 6
    assert f"the base has its {named}, the new rows have none" in report.findings[0].text
    assert outcome(base.assign(**{column: np.nan}), base).exit_code == 0


def test_trust_that_was_lost_is_red():
    changes = {"detail_precision": -0.3, "input_error": 0.05, "guide_leakage": 0.1, "shift": 0.3}
    base = rows_of(metrics=("psnr", *changes))
    report = outcome(base, all_changed(base, changes))
    assert (report.exit_code, worse_metrics(report)) == (4, set(changes))
    assert outcome(base, base).exit_code == 0


def test_a_metric_of_a_raised_version_is_listed_and_the_others_are_judged():
    base = rows_of()
    raised = base.assign(metric_version=np.where(base["metric"] == "ssim", 2, 1))
    report = outcome(base, changed(raised, -0.2, metric="ssim"))
    assert report.exit_code == 0
    assert report.counts["identical"] == 2
    assert "changed by declaration: ssim (version 1 → 2)" in as_markdown(report)
    assert outcome(base, changed(raised, -0.5, metric="psnr")).exit_code == 4
    assert outcome(raised, base).exit_code == 6


def test_a_metric_that_vanished_is_red_until_it_is_declared():
    base = rows_of()
    gone = base[base["metric"] != "ssim"]
    assert outcome(base, gone).exit_code == 6
    assert outcome(base, gone, replace(MARGINS, removed=("ssim",))).exit_code == 0


def test_methods_that_train_are_asked_for_seeds_and_seeds_show_their_spread():
    base = rows_of(("net",), metrics=("psnr",), noise=0.05, rng=1, fit_seconds=9.0)
    new = changed(rows_of(("net",), metrics=("psnr",), noise=0.05, rng=2, fit_seconds=9.0), -0.12)
    report = outcome(base, new)
    assert report.counts["undecided"] == 1
    assert "1, 2] measures it" in as_markdown(report)
    sides = [
        rows_of(("net",), metrics=("psnr",), noise=0.01, rng=r, fit_seconds=9.0, seeds=(0, 1, 2))
        for r in (1, 2)
    ]
    for side in sides:  # seeds of one side are alike, so a tenth of a decibel is a real change
        side["value"] = side.groupby(["section", "channel"])["value"].transform("first")
    report = outcome(sides[0], changed(sides[0], -0.12))
    assert (report.exit_code, report.counts["worse"]) == (4, 1)


def test_a_loss_that_all_methods_share_is_found_together():
    names = tuple(f"m{number}" for number in range(12))
    base = rows_of(names, metrics=("psnr",))
    report = outcome(base, changed(base, -0.14))
    assert report.exit_code == 4
    assert [
        row["method"] for row in report.quality.to_dict("records") if row["outcome"] == "worse"
    ] == ["(all that changed)"]


def test_the_summary_reads_base_to_new_gravest_first_and_one_line_on_what_is_open():
    base = rows_of(("bicubic", "net", "other"), metrics=("psnr", "ssim", "odd"))
    new = changed(
        changed(base, -0.5, metric="psnr", method="net"), -2.0, metric="psnr", method="other"
    )
    text = as_markdown(outcome(base, new))
    lines = text.splitlines()
    assert lines[0] == "## msibench: failed: quality got worse"
    assert "base → new" in lines[4]
    assert "difference [95 % interval]" in lines[4]
    assert lines[6].startswith("| other")
    assert lines[7].startswith("| net")
    assert "36 ion images of 6 sections" in lines[6]
    assert "_Not judged: without a margin: odd._" in lines
    assert text.index("_Not judged") < text.index("<details>")


def test_the_share_of_images_that_the_track_requires_is_asked_for():
    rows = rows_of()
    part = rows[(rows["method"] == "bicubic") | (rows["channel"] < 3)]
    assert outcome(part, part).exit_code == 0
    report = outcome(part, part, required_coverage=0.9)
    assert report.exit_code == 6
    assert "net (area-x4@1) has 18 of 36 images" in report.findings[0].text


def test_damage_outranks_quality_and_quality_outranks_coverage():
    base = rows_of()
    new = changed(base, -1.0, metric="psnr")
    new = new[new["section"] != "s0"]
    assert outcome(base, new).exit_code == 4
    report = compare(side(base), side(new, damaged={"k" * 64: "changed"}), MARGINS)
    assert report.exit_code == 7


def test_chosen_methods_alone_are_compared():
    base = rows_of()
    new = changed(base, -1.0, method="net")
    assert outcome(base, new, methods=("bi*",)).exit_code == 0
    assert outcome(base, new, methods=("net",)).exit_code == 4
    assert outcome(base, new, methods=("nobody",)).exit_code == 6


def test_memory_that_grew_fails_and_less_does_not():
    base = rows_of()
    assert outcome(base, base.assign(rss_mib=400.0)).exit_code == 5
    assert outcome(base, base.assign(rss_mib=205.0)).exit_code == 0
    assert outcome(base, base.assign(rss_mib=80.0)).exit_code == 0


def test_times_of_repeated_cells_fail_or_warn():
    base = rows_of(("net",), sections=2, seeds=tuple(range(8)))
    base = base.assign(seconds_per_image=0.5 + 0.001 * base["seed"])
    new = base.assign(seconds_per_image=base["seconds_per_image"] * 1.3)
    assert outcome(base, base).exit_code == 0
    assert outcome(base, new).exit_code == 5
    report = outcome(base, new, warn_speed=True)
    assert report.exit_code == 0
    assert {finding.fatal for finding in report.findings} == {False}
    assert outcome(new, base).exit_code == 0


def test_times_of_cells_that_ran_once_are_paired():
    base = rows_of(("net",), sections=12)
    assert outcome(base, base.assign(seconds_per_image=0.7)).exit_code == 5
    few = rows_of(("net",), sections=4)
    report = outcome(few, few.assign(seconds_per_image=5.0))
    assert [verdict.outcome for verdict in report.speed] == ["undecided"]
    assert report.exit_code == 0


def test_rows_and_timings_cannot_be_compared():
    from msibench.gate.samples import Timings

    with pytest.raises(ConfigurationError, match="one holds rows"):
        compare(side(rows_of()), Side(name="b", benchmarks=Timings(timings={})), MARGINS)


def test_rows_are_read_from_a_folder_a_file_and_a_revision(tmp_path):
    repository = tmp_path / "repo"
    rows = rows_of(sections=2)
    folder = saved(rows, repository / "leaderboards" / "toy")
    for words in (
        ("init", "-q"),
        ("add", "."),
        ("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "rows"),
    ):
        subprocess.run(["git", *words], cwd=repository, check=True)
    (repository / "leaderboards" / "toy" / "rows.parquet").write_bytes(b"changed since")
    for given, track in (
        ("HEAD:leaderboards/toy", ""),
        ("HEAD:leaderboards/toy/", ""),
        ("HEAD:leaderboards/toy/rows.parquet", ""),
        ("HEAD", "toy"),
    ):
        assert load_side(given, track=track, folder=repository).rows.equals(rows)
    saved(rows, repository / "leaderboards" / "toy")
    assert load_side(folder).rows.equals(rows)
    assert load_side(folder + "/rows.parquet").rows.equals(rows)
    assert load_side(str(repository), track="toy").rows.equals(rows)
    for wrong in ("HEAD:leaderboards/other", "nowhere:leaderboards/toy", "HEAD", "--help:x", "x"):
        with pytest.raises(ConfigurationError):
            load_side(wrong, folder=repository)


def test_a_file_that_is_no_table_of_rows_is_an_integrity_error(tmp_path):
    file = tmp_path / "rows.parquet"
    file.write_bytes(b"not parquet")
    with pytest.raises(IntegrityError):
        load_side(str(file))
    saved(rows_of(sections=1).drop(columns="region"), tmp_path)
    with pytest.raises(IntegrityError, match="region"):
        load_side(str(file))


def test_a_margins_file_replaces_what_it_names(tmp_path):
    file = tmp_path / "margins.toml"
    file.write_text("schema_version = 1\n[metrics]\npsnr = 1.5\n[speed]\nfactor = 2\n")
    found = load_margins(file)
    assert found.metrics == {"psnr": 1.5}
    assert (found.speed_factor, found.speed_p) == (2, 0.002)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "schema_version = 2",
        "schema_version = 1\n[metrics]\npsnr = -1",
        "schema_version = 1\n[metrics]\npsnr = 'x'",
        "schema_version = 1\n[metrics]\npsnr = nan",
        "schema_version = 1\n[metrics]\npsnr = true",
        "schema_version = 1\nmetrics = 3",
        "schema_version = 1\n[sped]\nfactor = 2",
        "schema_version = 1\n[speed]\nfator = 2",
        "schema_version = 1\n[speed]\nfactor = 0.5",
        "schema_version = 1\n[statistics]\nlevel = 1.0",
        "schema_version = 1\n[statistics]\nfamily = 'bonferroni'",
        "schema_version = 1\n[noise]\nimage = -1",
        "schema_version = 1\n[declared]\nremoved = 'ssim'",
        "schema_version = 1\n[statistics]\ndraws = 500",
        "no toml",
    ],
)
def test_margins_that_cannot_be_meant_are_refused(text, tmp_path):
    file = tmp_path / "margins.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError):
        load_margins(file)


def test_margins_hold_the_metrics_that_a_track_uses_by_default():
    from msibench.tracks import DEFAULT_METRICS

    assert set(DEFAULT_METRICS) <= set(load_margins().metrics)
    assert isinstance(load_margins(), Margins)


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_methods_that_train_need_two_seeds_on_each_side(seeds):
    both = rows_of(("net",), seeds=(0, 1), sections=1, fit_seconds=2.0)
    fewer = both[both["seed"] < seeds]
    fewer = pd.concat([fewer, rows_of(("bicubic",), sections=1)])
    assert one_seed(both, both) == []
    for pair in ((both, fewer), (fewer, both)):
        assert one_seed(*pair) == (["net"] if seeds == 1 else [])


def test_a_share_that_is_just_what_is_required_is_enough():
    rows = rows_of(("net",), sections=1, channels=4)
    base = pd.concat([rows, rows_of(("bicubic",), sections=1, channels=4)])
    new = pd.concat([rows[rows["channel"] < 3], base[base["method"] == "bicubic"]])
    report = outcome(new, new, required_coverage=0.75)
    assert report.exit_code != 6 or "required" not in "".join(f.text for f in report.findings)
    texts = [f.text for f in outcome(new, new, required_coverage=0.76).findings]
    assert "net (area-x4@1) has 3 of 4 images, 75.0%; 76.0% are required" in texts
    by_margin = outcome(new, new, replace(MARGINS, required_coverage=0.76)).findings
    assert [f.text for f in by_margin] == texts


def test_mz_that_differ_by_a_millionth_are_the_same():
    base = rows_of()
    for share, fault in ((0.9e-6, False), (1.2e-6, True)):
        report = outcome(base, base.assign(mz=base["mz"] * (1 + share)))
        assert any("other m/z" in f.text for f in report.findings) is fault


def test_what_a_comparison_is_called_and_why_it_is_worse_or_open():
    row = {
        "method": "net", "metric": "psnr", "region": "image", "protocol": "p", "images": 7,
        "sections": 1, "difference": -0.25, "low": -0.5, "high": -0.125, "margin": 0.1, "note": "",
        "reason": "mean", "place": "s/t", "place_loss": 2.0, "place_allowed": 1.0,
    }  # fmt: skip
    assert name_of(row) == "net: psnr (image, p)"
    assert why_worse(row) == (
        "is worse by 0.25 [0.125, 0.5] over 7 ion images of 1 section, margin 0.1"
    )
    assert why_worse(row | {"reason": "large", "low": np.nan, "sections": 2}) == (
        "is worse by 0.25 over 7 ion images of 2 sections: more than stated noise explains, margin 0.1"
    )
    assert why_worse(row | {"reason": "image"}) == (
        "loses 2 on s/t; 1 are within noise for the worst of 7 images (mean loss 0.25)"
    )
    assert why_undecided(row) == "the interval [-0.5, -0.125] is too wide"
    assert why_undecided(row | {"low": np.nan}) == "too few values for an interval"
    assert why_undecided(row | {"low": np.nan, "note": "few"}) == "few"


def test_metrics_without_a_margin_and_raised_versions_are_named():
    base = rows_of(("net",), metrics=("psnr", "odd"), sections=1)
    assert not_judged(base, base, MARGINS) == ["odd"]
    assert declared(base, base) == {}
    raised = base.assign(metric_version=np.where(base["metric"] == "odd", 3, 1))
    assert declared(base, raised) == {"odd": "1 → 3"}
    assert declared(raised, base) == {}
    mixed = pd.concat([base, raised])
    assert declared(base, mixed) == {}
