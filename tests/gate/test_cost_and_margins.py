"""Times and peaks of cells, the rule of the speed gate at its thresholds, and what margins may be."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from msibench.errors import ConfigurationError
from msibench.gate.margins import Margins, load_margins, noise_of
from msibench.gate.rows_cost import peaks_of, times_of
from msibench.gate.samples import Timing, Timings
from msibench.gate.speed import compare_paired, compare_peaks, compare_samples, compare_times
from tests.gate.tables import rows_of

MARGINS = Margins(metrics={"psnr": 0.1})


def quartiles(median, low, high):
    return Timing(seconds=(median,), quartiles=(low, high))


@pytest.mark.parametrize(
    ("base", "new", "outcome"),
    [
        ((0.9, 1.1), (1.1, 1.9), "same"),  # they touch
        ((0.9, 1.1), (1.101, 1.9), "slower"),
        ((0.9, 1.1), (0.1, 0.899), "faster"),
        ((0.9, 1.1), (0.1, 0.9), "same"),
    ],
)
def test_quartiles_that_touch_are_not_different(base, new, outcome):
    medians = (1.0, sum(new) / 2)
    verdict = compare_times("a", quartiles(1.0, *base), quartiles(medians[1], *new), MARGINS)
    assert (verdict.outcome, verdict.rule) == (outcome, "quartiles")
    assert math.isnan(verdict.p)
    assert "rounds were not kept" in verdict.note


def test_rounds_on_one_side_are_set_against_quartiles_by_their_own():
    rounds = Timing(seconds=(2.0, 3.0, 4.0, 5.0, 6.0))  # quartiles 3 and 5
    assert compare_times("a", quartiles(1.0, 0.9, 2.9), rounds, MARGINS).outcome == "slower"
    assert compare_times("a", quartiles(1.0, 0.9, 3.1), rounds, MARGINS).outcome == "same"
    assert compare_times("a", rounds, quartiles(9.0, 5.1, 9.9), MARGINS).outcome == "slower"
    assert compare_times("a", rounds, quartiles(9.0, 4.9, 9.9), MARGINS).outcome == "same"


def test_a_factor_of_exactly_the_limit_is_the_same():
    rules = replace(MARGINS, speed_factor=1.25)
    short = [4.0 + number / 64 for number in range(12)]
    for factor, after in ((1.25, "same"), (1.27, "slower")):
        sides = [Timing(seconds=tuple(value * scale for value in short)) for scale in (1.0, factor)]
        verdict = compare_times("a", *sides, rules)
        assert verdict.outcome == after
        assert verdict.factor == pytest.approx(factor)
        assert (verdict.base_rounds, verdict.new_rounds) == (12, 12)
        back = compare_times("a", *reversed(sides), rules)
        assert back.outcome == {"same": "same", "slower": "faster"}[after]
    instant = Timing(seconds=(0.0,) * 8)
    assert compare_times("a", instant, Timing(seconds=(1.0,) * 8), MARGINS).outcome == "undecided"


def test_cells_that_ran_once_are_judged_by_the_signed_rank_test_of_their_ratios():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 50, 12)
    new = base * rng.uniform(1.0, 1.5, 12)
    verdict = compare_paired("a", base, new, MARGINS)
    assert verdict.p == pytest.approx(stats.wilcoxon(np.log(new / base)).pvalue)
    assert verdict.factor == pytest.approx(np.median(new / base))
    assert (verdict.rule, verdict.outcome) == ("signed-rank", "slower")
    assert verdict.base_seconds == pytest.approx(np.median(base))
    assert verdict.new_seconds == pytest.approx(np.median(new))
    assert (verdict.base_rounds, verdict.new_rounds) == (12, 12)
    assert compare_paired("a", new, base, MARGINS).outcome == "faster"


@pytest.mark.parametrize(("cells", "decided"), [(9, False), (10, True)])
def test_the_signed_rank_test_needs_ten_cells(cells, decided):
    """2 / 2**9 = 0.0039 and 2 / 2**10 = 0.00195; the threshold is 0.002."""
    base = np.arange(1.0, cells + 1)
    new = base * (2.0 + 0.01 * np.arange(cells))
    verdict = compare_paired("a", base, new, MARGINS)
    assert verdict.outcome == ("slower" if decided else "undecided")
    assert bool(verdict.note) is not decided
    assert math.isnan(verdict.p) is not decided


def test_a_p_that_is_only_just_reached_does_not_decide():
    """Nine cells give no p below 1/256, and asked for is one below it."""
    base = np.arange(1.0, 10)
    for p, outcome in ((1 / 256, "undecided"), (1 / 255, "slower")):
        assert compare_paired("a", base, base * 2.5, replace(MARGINS, speed_p=p)).outcome == outcome
    short, long = Timing(seconds=(1.0, 1.1, 1.2)), Timing(seconds=(2.0, 2.1, 2.2))
    for p, outcome in ((2 / 20, "undecided"), (2.01 / 20, "slower")):
        assert compare_times("a", short, long, replace(MARGINS, speed_p=p)).outcome == outcome


def test_cells_that_take_the_very_same_time_are_the_same():
    verdict = compare_paired("a", np.arange(1.0, 13), np.arange(1.0, 13), MARGINS)
    assert (verdict.outcome, verdict.p, verdict.factor) == ("same", 1.0, 1.0)


@pytest.mark.parametrize(
    ("machines", "outcome"),
    [
        (("x", "x"), "slower"),
        (("x", "y"), "undecided"),
        (("", "y"), "slower"),
        (("x", ""), "slower"),
    ],
)
def test_times_of_two_machines_are_not_compared(machines, outcome):
    sides = [
        Timings(timings={"a": Timing(seconds=(seconds,) * 8)}, machine=machine)
        for seconds, machine in zip((1.0, 2.0), machines, strict=True)
    ]
    (verdict,) = compare_samples(*sides, MARGINS)
    assert verdict.outcome == outcome
    assert math.isnan(verdict.p) is (outcome == "undecided")
    assert ("other machines" in verdict.note) is (outcome == "undecided")


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        (100.0, 132.0, "same"),  # 32 MiB are not more than the least difference
        (100.0, 132.1, "more"),
        (132.1, 100.0, "less"),
        (1000.0, 1100.0, "same"),
        (1000.0, 1101.0, "more"),
        (1101.0, 1000.0, "less"),
        (1000.0, 940.0, "same"),
    ],
)
def test_a_peak_grew_beyond_both_the_factor_and_the_least_difference(before, after, outcome):
    (verdict,) = compare_peaks({"a": before}, {"a": after}, MARGINS)
    assert verdict.outcome == outcome
    assert verdict.factor == pytest.approx(after / before)


def test_a_peak_that_is_not_known_is_not_compared():
    for before, after in ((0.0, 5.0), (math.nan, 5.0), (5.0, math.inf)):
        peaks = {"a": before, "b": 100.0}, {"a": after, "b": 200.0}
        (verdict,) = compare_peaks(*peaks, MARGINS)  # and those after it are
        assert (verdict.name, verdict.outcome) == ("b", "more")


def test_problems_that_ran_twice_are_judged_alone_and_those_that_ran_once_together():
    base = rows_of(("net",), sections=12, seeds=(0, 1))
    base = base[(base["seed"] == 0) | (base["section"] == "s3")]
    found = times_of(base, base.assign(seconds_per_image=0.7), MARGINS)
    assert {verdict.name: (verdict.base_rounds, verdict.rule) for verdict in found} == {
        "net/toy/s3/all (area-x4@1, cpu)": (2, ""),  # two rounds give no p
        "net (area-x4@1, cpu)": (11, "signed-rank"),
    }
    assert [verdict.factor for verdict in found] == pytest.approx([1.4, 1.4])


def test_a_problem_that_ran_twice_on_one_side_only_enters_by_its_median():
    base = rows_of(("net",), sections=1, seeds=(0, 1, 2))
    base = base.assign(seconds_per_image=base["seed"].map({0: 1.0, 1: 2.0, 2: 9.0}))
    (verdict,) = times_of(base, base[base["seed"] == 1], MARGINS)
    assert (verdict.base_seconds, verdict.new_seconds) == (2.0, 2.0)


def test_times_of_failed_cells_of_wrong_guides_and_of_nothing_do_not_count():
    good = rows_of(("net",), sections=1)
    for change in (
        {"status": "oom"},
        {"control": "guide-shuffled"},
        {"seconds_per_image": np.nan},
        {"seconds_per_image": 0.0},
    ):
        assert times_of(good, good.assign(**change), MARGINS) == []
    assert times_of(good, good.assign(device="cuda"), MARGINS) == []


def test_peaks_are_the_highest_of_a_method_by_kind_of_memory():
    rows = rows_of(("net",), sections=3)
    rows = rows.assign(
        rss_mib=rows["section"].map({"s0": 100.0, "s1": 300.0, "s2": 200.0}), vram_mib=0.0
    )
    assert peaks_of(rows) == {"net (area-x4@1, cpu), resident": 300.0}
    assert peaks_of(rows.assign(rss_mib=0.5)) == {"net (area-x4@1, cpu), resident": 0.5}
    assert peaks_of(rows.assign(rss_mib=np.nan)) == {}
    two = rows_of(("b", "a"), sections=1).iloc[::-1].sort_values("method", ascending=False)
    assert [name.partition(" ")[0] for name in peaks_of(two)] == ["a", "b"]
    failed = rows.assign(status=np.where(rows["section"] == "s1", "oom", "ok"), vram_mib=7.0)
    assert peaks_of(failed) == {
        "net (area-x4@1, cpu), resident": 200.0,
        "net (area-x4@1, cpu), GPU": 7.0,
    }


ENDS = [
    ("level", 0.5, 0.9999),
    ("noise_image", 0.0, None),
    ("noise_section", 0.0, None),
    ("noise_rerun", 0.0, None),
    ("speed_factor", 1.0, None),
    ("speed_p", 1e-12, 0.5),
    ("memory_factor", 1.0, None),
    ("memory_least_mib", 0.0, None),
    ("required_coverage", 0.0, 1.0),
]


@pytest.mark.parametrize(("name", "least", "most"), ENDS)
def test_every_margin_may_be_its_ends_and_nothing_beyond(name, least, most):
    inside = [least] if most is None else [least, most]
    outside = [np.nextafter(least, -1), math.inf, math.nan, True]
    outside += [] if most is None else [np.nextafter(most, 2)]
    for value in inside:
        assert getattr(Margins(metrics={}, **{name: value}), name) == value
    ends = f"must be a number of at least {least:g}"
    ends += ", got" if most is None else f" and at most {most:g}, got"
    for value in (*outside, "1", None):
        with pytest.raises(ConfigurationError, match=ends):
            Margins(metrics={}, **{name: value})


def test_what_ships_is_what_the_fields_say_and_a_file_changes_what_it_names(tmp_path):
    assert load_margins() == Margins(metrics=load_margins().metrics)
    file = tmp_path / "margins.toml"
    file.write_text(
        "schema_version = 1\n[noise]\nimage = 3.0\nsection = 0.25\nrerun = 0.75\n[speed]\np = 0.01\n"
        "[memory]\nleast_mib = 8\nfactor = 1.5\n[coverage]\nrequired = 0.9\n"
        "[declared]\nremoved = ['ssim']\n[statistics]\nlevel = 0.9\nfamily = 'none'\n"
    )
    found = load_margins(file)
    assert found == Margins(
        metrics=load_margins().metrics, level=0.9, family="none", noise_image=3.0,
        noise_section=0.25, noise_rerun=0.75, removed=("ssim",), speed_p=0.01, memory_factor=1.5,
        memory_least_mib=8, required_coverage=0.9,
    )  # fmt: skip
    noise = noise_of(found)
    assert (noise.image, noise.section, noise.rerun) == (3.0, 0.25, 0.75)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_margins(tmp_path / "none.toml")
    with pytest.raises(ConfigurationError, match="removed"):
        Margins(metrics={}, removed=("ssim", 3))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "schema_version must be 1"),
        ("schema_version = 2", "schema_version must be 1"),
        ("schema_version = 1\nspeed = 2", "speed must be a table"),
        ("schema_version = 1\n[quality]\np = 1", "quality"),
        ("schema_version = 1\n[speed]\nleast_mib = 1", "least_mib"),
        ("schema_version = 1\n[statistics]\nnoise_image = 1", "noise_image"),
        ("schema_version = 1\n[coverage]\nneeded = 1", "needed"),
        ("schema_version = 1\n[declared]\nadded = []", "added"),
        ("schema_version = 1\n[declared]\nremoved = 'ssim'", "removed must be a list of metrics"),
        ("schema_version = 1\n[statistics]\nfamily = 'fdr'", "family must be 'holm' or 'none'"),
        ("schema_version = 1\n[metrics]\npsnr = -0.1", r"\[metrics\] psnr must be a number"),
    ],
)
def test_a_file_of_margins_with_a_fault_is_refused_by_its_name(tmp_path, text, said):
    file = tmp_path / "margins.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        load_margins(file)


def test_a_file_replaces_the_metrics_as_a_whole_and_the_rest_by_name(tmp_path):
    file = tmp_path / "margins.toml"
    file.write_text("schema_version = 1\n[metrics]\npsnr = 0\nssim = 0.5\n[speed]\nfactor = 1\n")
    assert load_margins(file) == Margins(metrics={"psnr": 0, "ssim": 0.5}, speed_factor=1)
