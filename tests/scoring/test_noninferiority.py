import numpy as np
import pytest

from msibench.errors import ConfigurationError
from msibench.scoring import Noise, compare_rows, noninferiority
from msibench.scoring.compare_rows import _all_images
from msibench.scoring.cube import cubes
from msibench.scoring.multiple_tests import corrected_by_method
from tests.scoring.tables import row, simulated, table

SECTIONS = np.repeat(np.arange(6), 6)


def rerun(rng, loss, spread=0.25):
    """A metric in dB on 36 images before and after a change that costs `loss`."""
    base = rng.normal(23, 2, len(SECTIONS)) + rng.normal(0, 1, 6)[SECTIONS]
    return base, base - loss + rng.normal(0, spread, len(SECTIONS))


def rates(loss, repeats=200, shift=0.0, sections=SECTIONS, **options):
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
    assert rates(0.0, repeats=400, shift=0.1, sections=sections).get("worse", 0) <= 0.065


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


def test_correlated_metrics_of_equal_methods_keep_the_rate_of_false_alarms():
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    for shared in (0.0, 0.6, 0.95):
        z = shared**0.5 * rng.standard_normal((2000, 3, 1))
        z = z + (1 - shared) ** 0.5 * rng.standard_normal((2000, 3, 8))
        p = norm.sf(z).reshape(2000, 24)
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
