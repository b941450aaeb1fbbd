import numpy as np
import pytest

from msibench.errors import ConfigurationError
from msibench.scoring import compare_rows, noninferiority
from tests.scoring.tables import simulated

SECTIONS = np.repeat(np.arange(6), 6)


def rerun(rng, loss, spread=0.25):
    """A metric in dB on 36 images before and after a change that costs `loss`."""
    base = rng.normal(23, 2, len(SECTIONS)) + rng.normal(0, 1, 6)[SECTIONS]
    return base, base - loss + rng.normal(0, spread, len(SECTIONS))


def rates(loss, repeats=200):
    rng = np.random.default_rng(11)
    outcomes = [
        noninferiority(*rerun(rng, loss), SECTIONS, margin=0.1, draws=200, seed=trial).outcome
        for trial in range(repeats)
    ]
    return {name: outcomes.count(name) / repeats for name in set(outcomes)}


def test_a_planted_loss_of_a_third_of_a_decibel_is_caught():
    assert rates(0.3).get("worse", 0) >= 0.97


def test_a_pure_noise_rerun_raises_no_alarm():
    assert rates(0.0).get("worse", 0) <= 0.03


def test_a_loss_inside_the_margin_is_mostly_not_called_worse():
    assert rates(0.03).get("worse", 0) <= 0.1


@pytest.mark.parametrize(
    ("change", "outcome", "noninferior"),
    [
        (0.0, "equivalent", True),
        (0.5, "better", True),
        (-0.5, "worse", False),
        (-0.05, "equivalent", True),
    ],
)
def test_each_outcome_from_a_certain_change(change, outcome, noninferior):
    base = np.random.default_rng(0).normal(20, 3, len(SECTIONS))
    verdict = noninferiority(base, base + change, SECTIONS, margin=0.1, draws=200)
    assert (verdict.outcome, verdict.noninferior) == (outcome, noninferior)


def test_directions_are_turned_so_that_a_loss_is_a_loss():
    base = np.random.default_rng(0).uniform(0.8, 0.9, len(SECTIONS))
    lower = noninferiority(base, base + 0.2, SECTIONS, margin=0.1, direction="lower", draws=200)
    one = noninferiority(base, base - 0.2, SECTIONS, margin=0.1, direction="one", draws=200)
    assert lower.outcome == one.outcome == "worse"
    assert lower.difference == pytest.approx(-0.2)


def test_noise_too_wide_for_the_margin_is_undecided():
    rng = np.random.default_rng(1)
    verdict = noninferiority(*rerun(rng, 0.0, spread=5.0), SECTIONS, margin=0.1, draws=500)
    assert verdict.outcome == "undecided"
    assert not verdict.noninferior


def test_a_margin_below_zero_is_refused():
    with pytest.raises(ConfigurationError, match="at least 0"):
        noninferiority([1.0], [1.0], ["a"], margin=-1)


def test_tables_are_compared_by_image_whatever_their_order():
    base = simulated({"a": 0.0, "b": 0.0}, metrics=("psnr", "ssim"))
    worse = (base["method"] == "a") & (base["metric"] == "psnr")
    new = base.assign(value=base["value"] - 0.5 * worse).sample(frac=1, random_state=0)
    result = compare_rows(base, new, {"psnr": 0.1, "ssim": 0.01}, draws=300)
    outcomes = result.set_index(["method", "metric"])["outcome"]
    assert outcomes[("a", "psnr")] == "worse"
    assert outcomes[("a", "ssim")] == outcomes[("b", "psnr")] == "equivalent"
    assert (result["images"] == 18).all()


def test_what_is_on_one_side_only_is_undecided_and_named():
    base = simulated({"a": 0.0, "b": 0.0}, metrics=("psnr",))
    new = base[base["method"] == "a"].assign(metric_version=2)
    result = compare_rows(base, new, {"psnr": 0.1}, draws=300).set_index("method")
    assert result.loc["b", "note"] == "not in the new rows"
    assert result.loc["a", "note"] == "metric version 1 in the base, 2 in the new rows"
    assert set(result["outcome"]) == {"undecided"}
    assert not result["noninferior"].any()
    other = compare_rows(base, base.assign(protocol="p2"), {"psnr": 0.1}, draws=300)
    assert set(other["note"]) == {"not in the base", "not in the new rows"}


def test_lower_coverage_shows_in_the_counts():
    base = simulated({"a": 0.0}, metrics=("psnr",))
    result = compare_rows(base, base[base["section"] != "s0"], {"psnr": 0.1}, draws=300)
    assert result[["base_images", "new_images", "images"]].iloc[0].tolist() == [18, 15, 15]
