import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from msibench.scoring import comparisons, load_scheme, scheme_from_mapping, summarise
from msibench.scoring import table as scoring_table
from msibench.scoring.bootstrap import two_level_bootstrap
from msibench.scoring.composite import composite
from msibench.scoring.cube import NOTHING_PRESENT, images_of_nothing
from msibench.scoring.ranking import weight_sensitivity
from msibench.scoring.seeds import seed_from
from msibench.scoring.table import round_significant
from tests.scoring.tables import SIX, row, simulated, table

SCHEME = load_scheme("anchored")


def summary(rows, **options):
    return summarise(rows, SCHEME, **({"control_method": "bicubic", "draws": 500} | options))


def test_clearly_different_methods_are_ranked_apart_and_equal_ones_are_not():
    rows = simulated({"bicubic": 0.0, "good": 0.2, "twin": 0.2, "bad": -0.2})
    result = summary(rows).set_index("method")
    assert result.loc["bad", "rank"] == 4
    assert result.loc["good", "rank_group"] == result.loc["twin", "rank_group"] == 1
    assert result.loc["bicubic", "rank_group"] == 2
    assert result.loc["bad", "rank_group"] == 3
    assert result.loc["bicubic", "composite"] == 0


def test_the_order_of_the_rows_changes_no_byte():
    rows = simulated({"bicubic": 0.0, "a": 0.1, "b": 0.12})
    shuffled = rows.sample(frac=1, random_state=3)
    assert summary(rows).to_csv() == summary(shuffled).to_csv()


def test_one_thread_and_two_give_the_same_bytes():
    rows = simulated({"bicubic": 0.0, "a": 0.1}, sections=7, channels=40)
    scheme, printed = load_scheme("anchored"), []
    for threads in (1, 2):
        with threadpool_limits(threads):
            table = summarise(rows, scheme, control_method="bicubic", draws=300)
        printed.append(table.to_csv())
    assert printed[0] == printed[1]


def test_scoring_imports_no_torch():
    code = "import sys, msibench.scoring, msibench.scoring.table; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "False"


def test_adding_a_method_changes_no_other_line_of_an_anchored_table():
    rows = simulated({"bicubic": 0.0, "a": 0.1})
    more = simulated({"bicubic": 0.0, "a": 0.1, "z": 0.5})
    more = table([*rows.to_dict("records"), *more[more["method"] == "z"].to_dict("records")])
    keep = ["composite", "composite.low", "composite.high", "psnr.image.mean", "psnr.image.low"]
    before, after = (summary(t).set_index("method")[keep] for t in (rows, more))
    pd.testing.assert_frame_equal(before.loc[["a", "bicubic"]], after.loc[["a", "bicubic"]])


def test_means_and_errors_are_those_of_the_rows():
    rows = simulated({"bicubic": 0.0, "a": 0.1})
    psnr = rows[(rows["metric"] == "psnr") & (rows["method"] == "a")]["value"]
    line = summary(rows).set_index("method").loc["a"]
    assert line["psnr.image.mean"] == pytest.approx(psnr.mean())
    assert line["psnr.image.sem"] == pytest.approx(psnr.sem())
    assert line["psnr.image.images"] == line["images"] == 18
    assert line["psnr.image.low"] < psnr.mean() < line["psnr.image.high"]


def test_a_method_that_lost_a_section_shows_its_coverage_and_has_no_rank():
    rows = simulated({"bicubic": 0.0, "a": 0.1, "b": 0.3})
    rows = rows[(rows["method"] != "b") | (rows["section"] != "s3")]
    result = summary(rows)
    line = result.set_index("method").loc["b"]
    assert line["coverage"] == pytest.approx(5 / 6)
    assert pd.isna(line["rank"])
    assert line["rank_reason"] == "covers 83.3% of the expected images"
    assert result["method"].iloc[-1] == "b"
    assert result["rank"].iloc[0] == 1


def test_coverage_is_judged_against_what_was_expected():
    rows = simulated({"bicubic": 0.0, "a": 0.1})
    assert (summary(rows, expected=36)["coverage"] == 0.5).all()
    lines = summary(rows, expected={"a": 20}).set_index("method")
    assert lines.loc["a", "coverage"] == pytest.approx(0.9)
    assert lines.loc["bicubic", "coverage"] == 1.0


def test_undefined_and_infinite_values_are_counted_and_never_averaged():
    rows = simulated({"bicubic": 0.0, "a": 0.1})
    hole = rows.index[(rows["method"] == "a") & (rows["metric"] == "nqm")]
    rows.loc[hole[0], "value"] = np.nan
    rows.loc[hole[1], "value"] = -np.inf
    line = summary(rows).set_index("method").loc["a"]
    assert line["nqm.image.undefined"] == 2
    assert line["undefined"] == 2
    assert line["images"] == 16
    assert np.isfinite(line["nqm.image.mean"])


def test_a_method_without_dists_is_not_ranked_among_those_that_have_it():
    rows = simulated({"bicubic": 0.0, "a": 0.1, "b": 0.3})
    rows = rows[(rows["method"] != "b") | (rows["metric"] != "dists")]
    line = summary(rows).set_index("method").loc["b"]
    assert line["missing"] == "dists"
    assert pd.isna(line["rank"])
    assert line["rank_reason"] == "its composite lacks dists"


def test_if_nobody_has_dists_all_are_ranked_and_marked():
    result = summary(simulated({"bicubic": 0.0, "a": 0.1}, metrics=SIX[:-1]))
    assert set(result["missing"]) == {"dists"}
    assert list(result["rank"]) == [1, 2]


def test_few_sections_are_said_beside_the_interval():
    result = summary(simulated({"bicubic": 0.0, "a": 0.1}, sections=1, channels=12))
    assert set(result["composite.scope"]) == {"images"}
    assert result["composite.note"].str.contains("too few sections").all()


def test_numbers_of_a_whole_section_are_summarised_over_sections():
    rows = simulated({"bicubic": 0.0, "a": 0.1}).to_dict("records")
    rows += [
        row(m, "rmse", 3.0 + s, section=f"s{s}", channel=-1, mz=np.nan)
        for m in ("bicubic", "a")
        for s in range(6)
    ]
    line = summary(table(rows)).set_index("method").loc["a"]
    assert line["rmse.image.mean"] == pytest.approx(5.5)
    assert line["rmse.image.images"] == 6
    assert line["images"] == 18


def test_protocols_are_ranked_apart():
    rows = simulated({"bicubic": 0.0, "a": 0.1})
    both = pd.concat([rows, rows.assign(protocol="bicubic-x4@1")], ignore_index=True)
    assert list(summary(both)["rank"]) == [1, 2, 1, 2]


def test_the_reference_comparison_holds_test_and_interval_or_says_why_not():
    rows = simulated({"bicubic": 0.0, "a": 0.1, "b": -0.1})
    result = comparisons(rows, SCHEME, "bicubic", control_method="bicubic")
    line = result.set_index(["metric", "method"])
    better, worse = line.loc[("dists", "a")], line.loc[("dists", "b")]
    assert better["low"] < better["difference"] < better["high"] < 0 < worse["low"]
    assert better["win_rate"] == 1
    assert worse["win_rate"] == 0
    assert better["p"] < 0.001
    assert better["p_holm"] == pytest.approx(max(2 * min(better["p"], worse["p"]), better["p"]))
    few = comparisons(
        simulated({"bicubic": 0.0, "a": 0.1}, sections=3),
        SCHEME,
        "bicubic",
        control_method="bicubic",
    )
    assert few["p"].isna().all()
    assert few["note"].str.contains("too few sections").all()


def test_groups_and_the_reference_comparison_say_the_same():
    rows = simulated({"bicubic": 0.0, "a": 0.004, "b": 0.1}, sections=6, noise=0.02)
    grouped = summary(rows).set_index("method")["rank_group"]
    against = comparisons(rows, SCHEME, "b", control_method="bicubic")
    p = against[against["metric"] == "composite"].set_index("method")["p"]
    assert (grouped.loc[p.index] > grouped.loc["b"]).tolist() == (p * 3 <= 0.05).tolist()


@pytest.mark.parametrize("sections", [1, 4])
def test_fewer_than_five_sections_rank_nobody_and_are_sorted_all_the_same(sections):
    rows = simulated({"bicubic": 0.0, "a": 0.2, "b": 0.4}, sections=sections, channels=30)
    result = summary(rows)
    assert list(result["method"]) == ["b", "a", "bicubic"]
    assert result[["rank", "rank_group"]].isna().all(axis=None)
    assert set(result["rank_reason"]) == {""}
    assert set(summary(simulated({"bicubic": 0.0, "a": 0.2}, sections=5))["rank"]) == {1, 2}


def test_numbers_are_rounded_to_what_arithmetic_can_promise():
    np.testing.assert_array_equal(round_significant(np.array([1 / 3, np.nan]), 3), [0.333, np.nan])


def test_skill_is_bounded_below_image_by_image_and_caos_score_stands_beside():
    rows = simulated({"bicubic": 0.0, "a": 0.1}, metrics=("psnr", "ssim", "skill"))
    hit = (rows["method"] == "a") & (rows["metric"] == "skill") & (rows["channel"] == 0)
    rows.loc[hit & (rows["section"] == "s0"), "value"] = -999.0
    caos = load_scheme("cao2025")
    result = summarise(rows, load_scheme(), draws=300, beside=[replace(caos, missing="mark")])
    line = result.set_index("method")
    skill = rows[(rows["metric"] == "skill") & (rows["method"] == "a")]["value"].to_numpy()
    assert line.loc["a", "composite"] == pytest.approx(np.where(skill < -1, 1e-3 - 1, skill).mean())
    assert line.loc["a", "cao2025"] > line.loc["bicubic", "cao2025"]
    assert set(line["cao2025.missing"]) == {"vif, sd_ratio, nqm, dists"}


def test_an_interval_of_a_bounded_score_holds_no_impossible_score():
    rows = simulated({"bicubic": 0.0, "a": 0.1}, metrics=("skill",), sections=1, channels=7)
    mine = rows["method"] == "a"
    rows.loc[mine, "value"] = [0.999, 0.998, 0.997, 0.996, 0.995, 0.994, -900.0]
    alone = two_level_bootstrap([0.999, 0.998, 0.997, 0.996, 0.995, 0.994, 1 / 901 - 1], [0] * 7)
    assert alone.low < -1 or alone.high > 1, "the interval would reach beyond"
    line = summarise(rows, load_scheme()).set_index("method").loc["a"]
    assert -1 <= line["composite.low"] < line["composite"] < line["composite.high"] <= 1


def test_an_image_on_which_nothing_is_present_enters_no_mean_of_any_method():
    rows = simulated({"bicubic": 0.0, "a": 0.1}, metrics=("psnr", "rmse"))
    empty = (rows["section"] == "s0") & (rows["channel"] == 1)
    hidden = rows.assign(
        value=rows["value"].mask(empty & (rows["metric"] == "psnr")),
        reason=np.where(empty & (rows["metric"] == "psnr"), NOTHING_PRESENT, rows["reason"]),
    )
    line = summary(hidden).set_index("method").loc["a"]
    assert line["psnr.image.images"] == line["rmse.image.images"] == 17
    assert line["psnr.image.undefined"] == 0
    assert line["coverage"] == 1.0
    assert images_of_nothing(hidden) == 1


def test_a_table_of_whole_sections_alone_is_summarised_without_a_composite():
    rows = table(
        [
            row(m, "psnr", 3.0 + s, section=f"s{s}", channel=-1, mz=np.nan)
            for m in ("bicubic", "a")
            for s in range(6)
        ]
    )
    line = summarise(rows, load_scheme(), draws=100).set_index("method").loc["a"]
    assert line["psnr.image.mean"] == pytest.approx(5.5)
    assert np.isnan(line["composite"])
    assert line["rank_reason"] == "no composite: no ion image was scored"
    assert pd.isna(line["rank"])


def test_against_a_reference_a_measure_is_turned_by_its_direction():
    """Ratios of 1.3 and 0.9 beside 1.2: one is further from 1 by 0.1, the other nearer by as much."""
    values = {"bicubic": (1.2, 0.3), "far": (1.3, 0.2), "near": (0.9, 0.4)}
    rows = table(
        [
            row(method, metric, value, section=f"s{s}")
            for method, pair in values.items()
            for metric, value in zip(("sd_ratio", "dists"), pair, strict=True)
            for s in range(5)
        ]
    )
    weighed = {"dists": {"weight": 1, "direction": "lower"}}
    scheme = scheme_from_mapping({"name": "one", "normalisation": "none", "metrics": weighed})
    line = comparisons(rows, scheme, "bicubic").set_index(["metric", "method"])
    for method, metric, difference, wins in (
        ("far", "sd_ratio", -0.1, 0),
        ("near", "sd_ratio", 0.1, 1),
        ("far", "dists", -0.1, 1),
        ("near", "dists", 0.1, 0),
    ):
        found = line.loc[(metric, method)]
        assert found["difference"] == pytest.approx(difference)
        assert found["win_rate"] == wins
        assert found["low"] == pytest.approx(difference)
        assert found["high"] == pytest.approx(difference)
        assert (found["images"], found["sections"], found["reference"]) == (5, 5, "bicubic")


def test_intervals_of_a_measure_are_cut_where_its_values_end(monkeypatch):
    """Of ion images and of whole sections; every other number is as it was."""

    def within(**bounds):
        monkeypatch.setattr(scoring_table, "bounds_of_metrics", lambda: bounds)

    rows = simulated({"bicubic": 0.0, "a": 0.3}, sections=1, channels=6, metrics=("ssim", "rmse"))
    rows["value"] = np.where(rows["metric"] == "ssim", np.clip(rows["value"], 0.02, 0.98), 0.001)
    rows.loc[rows["channel"] == 3, "value"] = 0.98
    within()
    free = summary(rows)
    within(ssim=(0.1, 0.9))
    cut = summary(rows)
    assert free["ssim.image.high"].max() > 0.9
    for end in ("low", "high"):
        column = f"ssim.image.{end}"
        np.testing.assert_array_equal(cut[column], np.clip(free[column], 0.1, 0.9))
    same = [name for name in free if name not in {"ssim.image.low", "ssim.image.high"}]
    pd.testing.assert_frame_equal(free[same], cut[same])
    several = simulated(
        {"bicubic": 0.0, "a": 0.3}, sections=6, channels=1, metrics=("ssim", "rmse")
    )
    of_sections = several["metric"] == "rmse"
    several.loc[of_sections, "channel"] = -1
    mean = float(several.loc[of_sections, "value"].mean())
    within(rmse=(mean, mean))
    ends = summary(several)[["rmse.image.low", "rmse.image.high"]]
    np.testing.assert_allclose(ends, mean, rtol=1e-9)


def small(methods=("bicubic", "a"), **options):
    usual = {"sections": 5, "channels": 2, "metrics": ("psnr", "ssim")}
    return simulated({name: 0.2 * n for n, name in enumerate(methods)}, **(usual | options))


def test_without_options_ten_thousand_draws_from_seed_0_give_95_percent():
    rows = small(sections=6, channels=3)
    plain = summarise(rows, SCHEME, control_method="bicubic")
    said = summarise(
        rows, SCHEME, control_method="bicubic", seed=0, draws=10_000, level=0.95, expected=None
    )
    pd.testing.assert_frame_equal(plain, said)
    for other in ({"draws": 10_001}, {"seed": 1}, {"level": 0.951}):
        found = summarise(rows, SCHEME, control_method="bicubic", **other)
        assert not found.equals(plain)


def test_lines_are_numbered_on_and_measures_stand_in_their_order():
    rows = small()
    rows = pd.concat([rows, rows.assign(protocol="p2")])
    more = [
        row(method, "rmse", 0.1, section=f"s{s}", protocol=protocol, **place)
        for method in ("bicubic", "a")
        for s in range(5)
        for protocol in ("area-x4@1", "p2")
        for place in ({"region": "tissue"}, {"channel": -1, "mz": np.nan})
    ]
    found = summary(table([*rows.to_dict("records"), *more]), draws=100)
    assert found.index.tolist() == list(range(4))
    columns = list(found.columns)
    assert columns[:7] == [
        "protocol", "method", "rank", "rank_group", "rank_kept", "rank_reason", "composite"
    ]  # fmt: skip
    assert columns[columns.index("coverage") + 1 :] == [
        f"{measure}.{end}"
        for measure in ("psnr.image", "rmse.image", "rmse.tissue", "ssim.image")
        for end in ("mean", "sem", "low", "high", "images", "undefined")
    ]


def test_two_methods_that_differ_are_two_groups():
    found = summary(small(("bicubic", "a"), sections=6)).set_index("method")
    assert found["rank_group"].to_dict() == {"a": 1, "bicubic": 2}
    alone = summary(small(("bicubic",)))
    assert alone[["rank", "rank_group", "rank_kept"]].iloc[0].tolist() == [1, 1, 1.0]


def test_a_copy_that_is_better_by_a_trifle_everywhere_leads_no_group_of_its_own():
    """A ten-thousandth more detail is a sure gain, and no other method; arithmetic's last digit is a tie."""
    rows = small(("bicubic", "a", "copy", "digit"), sections=6)
    original = rows["method"] == "a"
    for name, more in (("copy", 1e-4), ("digit", 1e-13)):
        rows.loc[rows["method"] == name, "value"] = rows.loc[original, "value"].to_numpy() + more
    found = summary(rows).set_index("method")
    assert found["rank_group"].to_dict() == {"a": 1, "copy": 1, "digit": 1, "bicubic": 2}
    assert found["rank"].to_dict() == {"copy": 1, "a": 2, "digit": 2, "bicubic": 4}


def test_the_error_of_a_score_and_of_other_scores_is_that_of_its_images():
    rows = small(("bicubic", "a", "b"), noise=0.1)
    other = scheme_from_mapping(
        {"name": "mine", "normalisation": "none", "metrics": {"psnr": {"direction": "higher"}}}
    )
    found = summary(rows, beside=[other]).set_index("method")
    scores = composite(rows, SCHEME, control_method="bicubic").groupby("method")["composite"]
    pd.testing.assert_series_equal(
        found["composite.sem"], scores.sem(), check_names=False, check_like=True
    )
    psnr = rows[rows["metric"] == "psnr"].groupby("method")["value"].mean()
    pd.testing.assert_series_equal(found["mine"], psnr, check_names=False, check_like=True)


def test_a_rank_is_kept_as_often_as_the_weights_say():
    """Methods that trade metrics; what is missing everywhere has no weight."""
    rows = simulated({"bicubic": 0.0, "a": 0.0, "b": 0.0}, channels=2, metrics=SIX[:-1])
    for method, metrics in (("a", ("psnr", "ssim")), ("b", ("vif", "nqm"))):
        rows["value"] *= 1 + 0.2 * ((rows["method"] == method) & rows["metric"].isin(metrics))
    found = summary(rows, draws=300).set_index("method")
    scored = composite(rows, SCHEME, control_method="bicubic")
    means = scored.groupby("method")[
        [f"score.{name}" for name in SIX[:-1] if name in SCHEME.weights]
    ]
    means = means.mean()
    weights = [SCHEME.weights[name.removeprefix("score.")] for name in means]
    share = weight_sensitivity(
        means.to_numpy(), weights, draws=300, seed=seed_from("summary", "area-x4@1", 0)
    )
    assert found["rank_kept"].loc[means.index].tolist() == pytest.approx(share.tolist())
    assert (share < 1.0).any()


def test_coverage_of_one_image_and_of_none_that_is_expected():
    rows = small(("bicubic", "a"), sections=1, channels=1)
    found = summary(rows, expected={"a": 0}).set_index("method")
    assert found.loc["bicubic", "coverage"] == 1.0
    assert np.isnan(found.loc["a", "coverage"])
    assert found.loc["a", "rank_reason"] == ""


def test_methods_without_a_score_come_last_and_say_why():
    rows = small(("bicubic", "a", "b", "c"))
    never = (rows["method"] == "a") & (rows["metric"] == ("psnr"))
    first = rows["channel"] == 0
    rows.loc[never & first, "value"] = np.nan  # undefined on every image: one metric on half of
    never = (rows["method"] == "a") & (rows["metric"] == "ssim")
    rows.loc[never & ~first, "value"] = np.nan  # them, the other on the other half
    rows = rows[(rows["method"] != "b") | (rows["section"] != "s1")]
    found = summary(rows)
    assert list(found["method"]) == ["c", "bicubic", "b", "a"]
    assert list(found["rank_reason"]) == [
        "", "", "covers 80.0% of the expected images", "no composite: undefined on every image"
    ]  # fmt: skip


def test_the_interval_of_whole_sections_is_that_of_their_numbers():
    rows = small(channels=1)
    values = np.random.default_rng(0).normal(3.0, 1.0, 5)
    more = [
        row(method, "rmse", value, section=f"s{s}", channel=-1, mz=np.nan)
        for method in ("bicubic", "a")
        for s, value in enumerate(values)
    ]
    line = summary(table([*rows.to_dict("records"), *more]), draws=200).iloc[0]
    start = seed_from("summary", "area-x4@1", 0)
    wanted = two_level_bootstrap(values, np.arange(5), draws=200, seed=start)
    assert line["rmse.image.low"] == pytest.approx(max(float(wanted.low), 0.0))
    assert line["rmse.image.high"] == pytest.approx(float(wanted.high))


def test_an_interval_of_a_bounded_score_ends_at_minus_one_and_one():
    rows = simulated({"up": 0.0, "down": 0.1}, metrics=("skill",), sections=1, channels=7)
    skill = np.array([0.999, 0.99, 0.98, 0.97, 0.96, 0.95, -99.0])
    rows.loc[rows["method"] == "up", "value"] = skill
    score = np.where(skill > 0, skill, 1 / (1 - skill) - 1)
    rows.loc[rows["method"] == "down", "value"] = np.where(score < 0, -score, 1 - 1 / (1 - score))
    line = summarise(rows, load_scheme(), draws=1000).set_index("method")
    assert line.loc["up", "composite"] == pytest.approx(-line.loc["down", "composite"])
    ends = line[["composite.low", "composite.high"]].to_numpy()
    assert (ends.min(), ends.max()) == (-1.0, 1.0)


def test_against_a_reference_in_the_middle_both_sides_keep_their_sign():
    rows = small(("a", "b", "c"), sections=6)
    found = comparisons(rows, SCHEME, "b", control_method="a")
    assert found.index.tolist() == list(range(len(found)))
    psnr = found[found["metric"] == "psnr"].set_index("method")
    means = rows[rows["metric"] == "psnr"].groupby("method")["value"].mean()
    for name in "ac":
        assert psnr.loc[name, "difference"] == pytest.approx(means[name] - means["b"])
        assert psnr.loc[name, "low"] < psnr.loc[name, "difference"] < psnr.loc[name, "high"]
    assert psnr["win_rate"].to_dict() == {"a": 0.0, "c": 1.0}
    assert (psnr["p"] < 0.001).all()
    turned = comparisons(rows, SCHEME, "a", control_method="a").set_index(["metric", "method"])
    other = turned.loc[("psnr", "b")]
    assert psnr.loc["a", ["low", "high"]].tolist() == pytest.approx([-other["high"], -other["low"]])
    nothing = comparisons(rows[rows["method"] == "none"], SCHEME, "b", control_method="a")
    assert list(nothing.columns) == ["protocol", "metric", "region", "method", "reference"]
