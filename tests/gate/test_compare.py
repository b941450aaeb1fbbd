import subprocess
from dataclasses import replace

import numpy as np
import pytest

from msibench.errors import ConfigurationError, IntegrityError
from msibench.gate import Margins, compare, load_margins
from msibench.gate.sources import Side, load_side
from tests.gate.tables import changed, rows_of, saved

MARGINS = replace(load_margins(), draws=300)


def side(rows, **facts):
    return Side(name="rows", rows=rows, **facts)


def outcome(base, new, margins=MARGINS, **options):
    return compare(side(base), side(new), margins, **options)


def test_the_same_rows_pass_whatever_their_order():
    rows = rows_of()
    report = outcome(rows, rows.sample(frac=1, random_state=1))
    assert report.exit_code == 0
    assert report.counts == {"worse": 0, "undecided": 0, "better": 0, "equivalent": 4}
    assert not report.findings


def test_a_planted_loss_of_three_tenths_of_a_decibel_is_caught_under_the_noise_of_a_rerun():
    base = rows_of(noise=0.2, rng=1)
    new = changed(rows_of(noise=0.2, rng=2), -0.3, metric="psnr", method="net")
    report = outcome(base, new)
    assert report.exit_code == 4
    assert [finding.text.split(" is ")[0] for finding in report.findings] == [
        "net: psnr (image, area-x4@1)"
    ]


@pytest.mark.parametrize("rng", range(2, 5))
def test_a_rerun_that_differs_by_noise_alone_passes(rng):
    assert outcome(rows_of(noise=0.2, rng=1), rows_of(noise=0.2, rng=rng)).exit_code == 0


def test_many_noisy_comparisons_raise_no_more_alarms_than_one():
    """Of 60 unchanged methods about one or two look worse when each is judged by itself."""
    names = tuple(f"m{number}" for number in range(60))
    sides = [
        rows_of(names, metrics=("psnr",), sections=6, channels=4, noise=1.0, rng=r) for r in (4, 9)
    ]
    alone = replace(MARGINS, family="none", level=0.9)
    together = replace(MARGINS, level=0.9)
    assert outcome(*sides, alone).exit_code == 4
    assert outcome(*sides, together).exit_code == 0


@pytest.mark.parametrize(
    ("metric", "change"), [("psnr", -0.5), ("ssim", -0.05), ("rmse", 0.05), ("sd_ratio", -0.3)]
)
def test_a_loss_is_a_loss_in_the_direction_of_its_metric(metric, change):
    base = rows_of(metrics=(metric,))
    assert outcome(base, changed(base, change, metric=metric)).exit_code == 4


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
        ({"metric": "ssim"}, "ssim (image"),
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
        ({"metric_version": 2}, "metric_version 1 in the base, 2"),
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


def test_nothing_measured_is_never_green():
    rows = rows_of()
    for pair in ((rows, rows.iloc[:0]), (rows.iloc[:0], rows), (rows.iloc[:0], rows.iloc[:0])):
        assert outcome(*pair).exit_code == 6
    unjudged = replace(MARGINS, metrics={"dists": 0.1})
    assert outcome(rows, rows, unjudged).exit_code == 6


def test_a_single_image_is_too_little_to_be_green():
    rows = rows_of(sections=1, channels=1)
    assert outcome(rows, changed(rows, -3.0, metric="psnr")).exit_code == 6


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
    from msibench.gate.samples import Samples

    with pytest.raises(ConfigurationError, match="one holds rows"):
        compare(side(rows_of()), Side(name="b", benchmarks=Samples(timings={})), MARGINS)


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
        "schema_version = 1\n[statistics]\nfamily = 'holm'",
        "schema_version = 1\n[statistics]\ndraws = 1.5",
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
