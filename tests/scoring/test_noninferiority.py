import os

import numpy as np
import pandas as pd
import pytest

from msibench.errors import ConfigurationError
from msibench.scoring import Noise, compare_rows, noninferiority
from msibench.scoring.compare_rows import _all_images
from msibench.scoring.cube import cubes
from msibench.scoring.multiple_tests import corrected_by_method
from msibench.scoring.paired import paired_difference
from tests.scoring.tables import row, simulated, table

SECTIONS = np.repeat(np.arange(6), 6)
ALL = os.environ.get("MSIBENCH_SLOW_TESTS") == "1"


def rerun(rng, loss, spread=0.25):
    """A metric in dB on 36 images before and after a change that costs `loss`."""
    base = rng.normal(23, 2, len(SECTIONS)) + rng.normal(0, 1, 6)[SECTIONS]
    return base, base - loss + rng.normal(0, spread, len(SECTIONS))


def rates(loss, repeats=400 if ALL else 200, shift=0.0, sections=SECTIONS, **options):
    rng = np.random.default_rng(11)
    outcomes = []
    for _ in range(repeats):
        base, new = rerun(rng, loss)
        new = new[: len(sections)] + shift * rng.normal()
        verdict = noninferiority(base[: len(sections)], new, sections, margin=0.1, **options)
        outcomes.append(verdict.outcome)
    return {name: outcomes.count(name) / repeats for name in set(outcomes)}


def test_a_planted_loss_of_a_third_of_a_decibel_is_caught():
    assert rates(0.3).get("worse", 0) >= 0.9
    assert rates(0.3, noise=Noise(rerun=0.0)).get("worse", 0) >= 0.98


@pytest.mark.parametrize("sections", [np.zeros(10), np.arange(6), SECTIONS])
def test_a_shift_of_a_whole_rerun_raises_no_alarm(sections):
    assert rates(0.0, shift=0.1, sections=sections).get("worse", 0) <= 0.065


def test_a_pure_noise_rerun_raises_no_alarm():
    assert rates(0.0).get("worse", 0) <= 0.03


def test_a_loss_inside_the_margin_is_mostly_not_called_worse():
    assert rates(0.03).get("worse", 0) <= 0.1


@pytest.mark.parametrize(
    ("change", "outcome", "noninferior"),
    [
        (0.0, "identical", True),
        (0.5, "better", True),
        (-0.5, "worse", False),
        (-0.05, "equivalent", True),
    ],
)
def test_each_outcome_from_a_certain_change(change, outcome, noninferior):
    base = np.random.default_rng(0).normal(20, 3, len(SECTIONS))
    verdict = noninferiority(base, base + change, SECTIONS, margin=0.1)
    assert (verdict.outcome, verdict.noninferior) == (outcome, noninferior)


def test_directions_are_turned_so_that_a_loss_is_a_loss():
    base = np.random.default_rng(0).uniform(0.8, 0.9, len(SECTIONS))
    lower = noninferiority(base, base + 0.2, SECTIONS, margin=0.1, direction="lower")
    one = noninferiority(base, base - 0.2, SECTIONS, margin=0.1, direction="one")
    assert lower.outcome == one.outcome == "worse"
    assert lower.difference == pytest.approx(-0.2)


def test_a_measure_that_is_best_at_one_is_judged_by_its_distance_from_one():
    base = np.random.default_rng(0).uniform(1.2, 1.4, len(SECTIONS))
    nearer = noninferiority(base, base - 0.2, SECTIONS, margin=0.1, direction="one")
    assert nearer.outcome == "better"
    assert nearer.difference == pytest.approx(0.2)
    mirrored = noninferiority(base, 2.0 - base, SECTIONS, margin=0.1, direction="one")
    assert mirrored.difference == pytest.approx(0.0)
    assert mirrored.outcome == "equivalent"


def test_noise_too_wide_for_the_margin_is_undecided():
    rng = np.random.default_rng(1)
    verdict = noninferiority(*rerun(rng, 0.0, spread=0.6), SECTIONS, margin=0.1)
    assert verdict.outcome == "undecided"
    assert not verdict.noninferior


def test_a_margin_below_zero_is_refused():
    with pytest.raises(ConfigurationError, match="at least 0"):
        noninferiority([1.0], [1.0], ["a"], margin=-1)


def test_tables_are_compared_by_image_whatever_their_order():
    base = simulated({"a": 0.0, "b": 0.0}, metrics=("psnr", "ssim"))
    worse = (base["method"] == "a") & (base["metric"] == "psnr")
    new = base.assign(value=base["value"] - 0.5 * worse).sample(frac=1, random_state=0)
    result = compare_rows(base, new, {"psnr": 0.1, "ssim": 0.01})
    outcomes = result.set_index(["method", "metric"])["outcome"]
    assert outcomes[("a", "psnr")] == "worse"
    assert outcomes[("a", "ssim")] == outcomes[("b", "psnr")] == "identical"
    assert (result["images"] == 18).all()


def test_what_is_on_one_side_only_is_undecided_and_named():
    base = simulated({"a": 0.0, "b": 0.0}, metrics=("psnr",))
    new = base[base["method"] == "a"].assign(metric_version=2)
    result = compare_rows(base, new, {"psnr": 0.1}).set_index("method")
    assert result.loc["b", "note"] == "not in the new rows"
    assert result.loc["a", "note"] == "metric version 1 in the base, 2 in the new rows"
    assert set(result["outcome"]) == {"undecided"}
    assert not result["noninferior"].any()
    other = compare_rows(base, base.assign(protocol="p2"), {"psnr": 0.1})
    assert set(other["note"]) == {"not in the base", "not in the new rows"}


def test_lower_coverage_shows_in_the_counts():
    base = simulated({"a": 0.0}, metrics=("psnr",))
    result = compare_rows(base, base[base["section"] != "s0"], {"psnr": 0.1})
    assert result[["base_images", "new_images", "images"]].iloc[0].tolist() == [18, 15, 15]


def test_metrics_of_one_method_that_agree_cost_nothing_and_methods_are_corrected_by_holm():
    agreeing = corrected_by_method([0.01] * 10, ["a"] * 10)
    assert agreeing[0] == pytest.approx(0.0125)
    assert agreeing[1] == pytest.approx(0.1)  # which of them it is, is Holm's to say
    alone = corrected_by_method([0.001, *[0.6] * 9], ["a"] * 10)
    assert alone[0] == pytest.approx(0.0125, rel=0.01)
    methods = corrected_by_method([0.01, 0.2, np.nan], ["a", "b", "c"])
    np.testing.assert_allclose(methods, [0.02, 0.2, np.nan])


def test_a_gain_in_one_metric_hides_no_loss_in_another():
    hidden = corrected_by_method([0.002, 1.0, 1.0], ["a"] * 3)
    assert hidden[0] == pytest.approx(0.0075, rel=0.01)


@pytest.mark.parametrize("repeats", [600, pytest.param(2000, marks=pytest.mark.slow)])
def test_correlated_metrics_of_equal_methods_keep_the_rate_of_false_alarms(repeats):
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    for shared in (0.0, 0.6, 0.95):
        z = shared**0.5 * rng.standard_normal((repeats, 3, 1))
        z = z + (1 - shared) ** 0.5 * rng.standard_normal((repeats, 3, 8))
        p = norm.sf(z).reshape(repeats, 24)
        owners = np.repeat(np.arange(3), 8).tolist()
        alarms = [(corrected_by_method(row, owners) <= 0.045).any() for row in p]
        assert np.mean(alarms) <= 0.055


def test_a_measure_that_one_method_lacks_does_not_end_its_list():
    rows = [row("a", "psnr", 20.0, channel=n) for n in range(3)]
    rows += [row("b", "ssim", 0.5, channel=n) for n in range(3)]
    found = compare_rows(table(rows), table(rows), {"psnr": 0.1, "ssim": 0.01})
    assert sorted(zip(found["method"], found["metric"], strict=True)) == [
        ("a", "psnr"),
        ("b", "ssim"),
    ]


def test_an_image_is_named_by_its_mz_its_channel_or_its_section():
    rows = [
        row("a", "psnr", 20.0, channel=0, mz=100.5),
        row("a", "psnr", 21.0, channel=1, mz=np.nan),
    ]
    rows.append(row("a", "ssim", 0.5, channel=-1, mz=np.nan))
    (cube,) = cubes(table(rows))
    _, names, places = _all_images([cube, None])
    assert list(names) == ["bladder/s0", "bladder/s0, m/z 100.5000", "bladder/s0, channel 1"]
    assert [len(one) for one in places] == [3, 0]


def test_stated_noise_of_a_rerun_is_in_margins_and_one_place_alone_is_no_loss():
    change = np.random.default_rng(2).normal(0, 0.4, 36)
    found = noninferiority(
        20 + 0 * change, 20 + change, SECTIONS, margin=0.05, noise=Noise(rerun=3)
    )
    wanted = paired_difference(20 + change, 20 + 0 * change, SECTIONS, shared_variance=0.15**2)
    assert found.low == pytest.approx(float(wanted.low))
    assert found.high == pytest.approx(float(wanted.high))
    lost = noninferiority(np.full(36, 20.0), 20 - 5.0 * np.eye(36)[7], SECTIONS, margin=0.1)
    assert (lost.reason, lost.place) == ("", "")


def two_measures():
    return simulated({"a": 0.0, "b": 0.0}, metrics=("psnr", "ssim"))


def test_what_cannot_be_compared_ends_no_list_and_holds_no_image():
    base = two_measures()
    new = base.assign(metric_version=np.where(base["metric"] == "psnr", 2, 1))
    found = compare_rows(base, new, {"psnr": 0.1, "ssim": 0.01})
    assert list(found["metric"]) == ["psnr", "ssim"] * 2
    assert list(found["method"]) == ["a", "a", "b", "b"]
    assert list(found["outcome"]) == ["undecided", "identical"] * 2
    assert list(found["images"]) == list(found["sections"] * 3) == [0, 18, 0, 18]
    assert list(found.index) == list(range(4))


def test_other_images_on_either_side_are_no_image_in_common():
    base = simulated({"a": 0.0}, metrics=("psnr",))
    first, second = base[base["section"] < "s3"], base[base["section"] >= "s3"]
    found = compare_rows(first, second, {"psnr": 0.1})
    assert found[["note", "base_images", "new_images"]].iloc[0].tolist() == [
        "no image in common", 9, 9
    ]  # fmt: skip


def test_images_that_one_side_lacks_enter_no_mean():
    base = simulated({"a": 0.0}, metrics=("psnr",))
    new = base[base["section"] != "s0"]
    line = compare_rows(base, new, {"psnr": 0.1}).iloc[0]
    assert line["outcome"] == "identical"
    assert line["base"] == line["new"] == pytest.approx(new["value"].mean())


def test_only_a_method_that_trains_may_have_been_lucky():
    base = two_measures()
    new = base.assign(value=base["value"] - 0.005 * (base["metric"] == "ssim"))
    for trains in ((), ("a",), ("b",)):
        found = compare_rows(base, new, {"ssim": 0.01}, trains=trains).set_index("method")[
            "outcome"
        ]
        wanted = {name: "undecided" if name in trains else "equivalent" for name in "ab"}
        assert found.to_dict() == wanted


def test_a_shift_of_seeds_is_measured_from_both_sides():
    """Two seeds in the base, three in the new rows: their means spread by 0.1² / 2 and 0.2²."""
    flat = simulated({"a": 0.0}, sections=6, metrics=("psnr",))
    jitter = np.random.default_rng(3).normal(0, 0.05, len(flat))

    def side(shifts, change):
        return pd.concat(
            [flat.assign(seed=n, value=flat["value"] + s + change) for n, s in enumerate(shifts)]
        )

    found = compare_rows(side([0.0, 0.1], 0.0), side([-0.2, 0.0, 0.2], jitter), {"psnr": 0.1})
    pooled = (0.005 * 1 + 0.04 * 2) / 3
    wanted = paired_difference(
        flat["value"] + jitter,
        flat["value"] + 0.05,
        flat["section"],
        shared_variance=min(pooled * (1 / 2 + 1 / 3), np.abs(jitter - 0.05).max() ** 2),
        shared_freedom=3,
    )
    line = found.iloc[0]
    assert [line["low"], line["high"]] == pytest.approx([float(wanted.low), float(wanted.high)])


def test_of_one_comparison_that_changed_nothing_is_shared():
    base = simulated({"a": 0.0, "b": 0.0}, sections=1, channels=8, metrics=("psnr",))
    hit = (base["channel"] == 5) & (base["method"] == "a")
    new = base.assign(value=base["value"] - 9.0 * hit)
    one, alone = (compare_rows(base, new, {"psnr": 0.1}, correct=each) for each in (True, False))
    assert one["reason"].tolist() == ["image", ""]
    assert one["place_allowed"].iloc[0] == alone["place_allowed"].iloc[0]


def test_sections_and_specimens_of_one_name_in_two_data_sets_are_two():
    rows = [
        row("a", "psnr", 20.0, dataset=dataset, section=section)
        for dataset in ("brain", "bladder")
        for section in ("s0", "s1")
    ]
    (plain,) = cubes(table(rows))
    (stated,) = cubes(table(rows).assign(specimen=["x", "", "x", "x"]))
    images, _, places = _all_images([plain, stated])
    assert images["section"].tolist() == ["bladder/s0", "bladder/s1", "brain/s0", "brain/s1"]
    assert images["specimen"].tolist() == ["bladder/x", "bladder/x", "brain/x", "brain/s1"]
    assert [place.tolist() for place in places] == [[0, 1, 2, 3]] * 2


def shared_loss(methods, *, sections=6, metrics=("psnr",), kept=(), **columns):
    """A loss in psnr that all but the `kept` methods share, image by image."""
    base = simulated(dict.fromkeys(methods, 0.0), sections=sections, channels=4, metrics=metrics)
    jitter = np.random.default_rng(5).normal(0, 0.01, len(base))
    loss = np.where(
        base["method"].isin(list(kept)) | (base["metric"] != metrics[-1]), 0.0, 0.25 + jitter
    )
    if len(metrics) > 1:  # the first measure of the first method changes alone
        loss += 0.01 * ((base["metric"] == metrics[0]) & (base["method"] == methods[0]))
    if "specimens" in columns:
        number = base["section"].str.removeprefix("s").astype(int) % columns["specimens"]
        base = base.assign(specimen="animal " + number.astype(str))
    new = base.assign(value=base["value"] - loss)
    found = compare_rows(
        base, new, dict.fromkeys(metrics, 0.1), noise=Noise(rerun=columns.get("rerun", 1.2))
    )
    assert found.index.tolist() == list(range(len(found)))
    return found.set_index("method")


def test_two_methods_are_judged_together_and_those_that_did_not_change_are_left_out():
    found = shared_loss("abcde", kept="e")
    joint = found.loc["(all that changed)"]
    assert joint["difference"] == pytest.approx(found.loc[list("abcd"), "difference"].mean())
    assert (joint["images"], joint["sections"], joint["scope"]) == (24, 6, "sections")
    assert found.loc["e", "outcome"] == "identical"
    two = shared_loss("ab", rerun=1.45)
    assert "(all that changed)" in two.index


def test_a_measure_that_changed_in_one_method_ends_no_list_of_measures():
    found = shared_loss("abcd", metrics=("nqm", "psnr"))
    assert found.loc["(all that changed)", "metric"] == "psnr"


def test_methods_are_judged_together_over_their_specimens():
    joint = shared_loss("abcd", sections=12, specimens=4).loc["(all that changed)"]
    assert (joint["scope"], joint["sections"]) == ("same specimens", 12)


def test_a_p_of_0_stays_0_and_one_metric_is_not_combined():
    np.testing.assert_array_equal(corrected_by_method([0.0, 0.5], ["a", "a"]), [0.0, 0.5])
    assert corrected_by_method([0.03], ["a"]).tolist() == [0.03]
    np.testing.assert_allclose(corrected_by_method([0.9, 0.9], ["a", "a"]), [0.625, 1.0])
