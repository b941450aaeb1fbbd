"""Verdicts at their thresholds, each worked out on paper from the stated noise."""

import math

import numpy as np
import pytest
from scipy import stats

from msibench.scoring import Noise, compare_rows, noninferiority
from msibench.scoring.image_pairs import Terms, pair_values
from msibench.scoring.paired import paired_difference
from msibench.scoring.rerun_noise import RunShift
from msibench.scoring.verdict import judge_pairs, undecided
from tests.scoring.tables import row, simulated, table

MARGIN = 0.1


def judged(change, sections, *, noise=None, rerun=None, direction="higher", names=None, **options):
    """Judge images of 20 that changed by these amounts."""
    noise = noise or Noise()
    terms = Terms(
        margin=MARGIN, direction=direction, noise=noise, trains=options.pop("trains", False)
    )
    shift = RunShift(deviation=noise.rerun * MARGIN if rerun is None else rerun)
    base = np.full(len(change), 20.0)
    pairs = pair_values(base, base + np.asarray(change), sections, terms, shift, names)
    return judge_pairs(pairs, options.pop("p_holm", pairs.p), **options)


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize(("images", "sections"), [(2, 1), (3, 3), (4, 2)])
def test_a_mean_loss_is_large_where_stated_noise_reaches_it_once_in_four_hundred(
    images, sections, count
):
    noise = Noise(image=2.0, section=0.7, rerun=1.3)
    deviation = math.sqrt(1.3**2 + 0.7**2 / sections + 2.0**2 / images)
    large = MARGIN * (1 + stats.norm.isf(0.05 * 0.05 / count) * deviation)
    where = np.arange(images) % sections
    below, above = (
        judged(np.full(images, -large * share), where, noise=noise, count=count)
        for share in (0.999, 1.001)
    )
    assert (below.outcome, below.reason) == ("undecided", "")
    assert (above.outcome, above.reason) == ("worse", "large")
    assert np.isnan(above.low)


@pytest.mark.parametrize("images", [5, 30])
def test_one_image_may_lose_what_the_t_distribution_of_stated_and_measured_noise_allows(images):
    """All but one image are as they were, so that the measured spread of images is 0."""
    noise = Noise(image=2.5, section=0.5, rerun=1.0)
    weight = 10 / (10 + images)  # the stated spread counts for ten images
    spread = math.sqrt((2.5**2 + 0.5**2) * weight + 1.0**2)
    allowed = MARGIN * (1 + stats.t.isf(0.05 * 0.05 / images, 10 + images) * spread)
    names = np.array([f"ion {number}" for number in range(images)])
    outcomes = []
    for share in (0.999, 1.001):
        change = np.zeros(images)
        change[3] = -allowed * share
        outcomes.append(judged(change, np.zeros(images), noise=noise, names=names))
    below, above = outcomes
    assert below.reason == ""
    assert (above.outcome, above.reason, above.place) == ("worse", "image", "ion 3")
    assert above.place_allowed == pytest.approx(allowed)
    assert above.place_loss == pytest.approx(allowed * 1.001)
    quiet = judged(change, np.zeros(images), noise=noise, worst=False)
    assert quiet.reason == ""


def test_one_section_may_lose_less_than_one_image_of_it():
    """Twelve sections of nine images: 120 places share the alarms; a mean of nine has a ninth of the noise."""
    sections = np.repeat(list("abcdefghijkl"), 9)
    noise = Noise(image=6.0, section=0.5, rerun=0.0)
    spread = math.sqrt((6.0**2 / 9 + 0.5**2) * 10 / (10 + 12))
    allowed = MARGIN * (1 + stats.t.isf(0.05 * 0.05 / 120, 10 + 12) * spread)
    below, above = (
        judged(np.where(sections == "c", -allowed * share, 0.0), sections, noise=noise)
        for share in (0.999, 1.001)
    )
    assert below.reason == ""
    assert (above.outcome, above.reason, above.place) == ("worse", "section", "c")
    assert above.place_allowed == pytest.approx(allowed)


def test_measured_spread_of_the_other_images_raises_what_one_may_lose():
    """Median absolute deviation 0.2, as a standard deviation 0.29652, beside ten images as stated."""
    change = np.tile([-0.2, 0.2], 15)
    change[4] = -5.0
    variance = (10 * (2.5**2 + 0.5**2) * MARGIN**2 + 30 * (1.4826 * 0.2) ** 2) / 40
    allowed = MARGIN + stats.t.isf(0.05 * 0.05 / 30, 40) * math.sqrt(variance + MARGIN**2)
    found = judged(change, np.zeros(30))
    assert found.reason == "image"
    assert found.place_allowed == pytest.approx(allowed)
    assert found.place_loss == pytest.approx(5.0)


def test_a_loss_that_all_images_share_is_no_fault_of_one():
    found = judged(np.append(np.full(3, -2.0), -3.0), np.zeros(4))
    assert (found.outcome, found.reason, found.place) == ("worse", "large", "")


@pytest.mark.parametrize(("change", "outcome"), [(0.1, "equivalent"), (0.10001, "undecided")])
def test_a_shift_of_exactly_the_margin_is_within_it(change, outcome):
    """Numbers of 20 that all change alike have an interval of no width, the shift of a rerun apart."""
    where = np.repeat(np.arange(6), 6)
    assert judged(np.full(36, -change), where).outcome == outcome
    assert judged(np.full(36, -change), where).noninferior == (outcome == "equivalent")
    assert judged(np.full(36, change), where).noninferior
    assert judged(np.full(36, change), where).outcome == outcome


def test_a_method_that_trains_is_equivalent_only_if_a_lucky_run_is_ruled_out():
    where = np.repeat(np.arange(6), 6)
    change = np.tile([-1e-6, 1e-6], 18) - 0.05
    assert judged(change, where).outcome == "equivalent"
    assert judged(change, where, trains=True).outcome == "undecided"
    assert not judged(change, where, trains=True).noninferior


def test_the_same_values_are_identical_and_an_interval_is_needed_to_be_equivalent():
    rounding = 1e-10 * MARGIN
    for change, outcome in ((0.0, "identical"), (rounding, "equivalent")):
        found = judged(np.full(36, change), np.repeat(np.arange(6), 6))
        assert (found.outcome, found.noninferior) == (outcome, True)
        assert found.difference == pytest.approx(0.0, abs=rounding)
        assert np.isnan(found.p)
    assert judged(np.zeros(2), [0, 1]).outcome == "identical"
    assert judged(np.full(2, rounding), [0, 1]).outcome == "undecided"
    nothing = judged(np.zeros(0), [])
    assert (nothing.outcome, nothing.images) == ("undecided", 0)
    assert np.isnan([nothing.base, nothing.new]).all()


def test_a_verdict_carries_the_means_as_measured_and_the_loss_turned():
    base = np.random.default_rng(0).uniform(0.2, 0.3, 36)
    verdict = noninferiority(
        base, base + 0.01, np.repeat(np.arange(6), 6), margin=0.1, direction="lower"
    )
    assert verdict.base == pytest.approx(base.mean())
    assert verdict.new == pytest.approx(base.mean() + 0.01)
    assert verdict.difference == pytest.approx(-0.01)
    assert (verdict.images, verdict.sections, verdict.scope) == (36, 6, "sections")


def test_few_sections_widen_the_interval_by_the_stated_shift_of_a_section():
    """Inside fixed sections the variance is that of images, of a run and of a section over the sections."""
    change = np.random.default_rng(2).normal(0, 0.3, 24)
    where = np.repeat([0, 1, 2], 8)
    inside = sum(((change[where == s] - change[where == s].mean()) ** 2).sum() for s in range(3))
    of_images = inside / (24 - 3) / 24
    shared = (1.3**2 + 0.7**2 / 3) * MARGIN**2
    freedom = (of_images + shared) ** 2 / (of_images**2 / (24 - 3))
    found = judged(change, where, noise=Noise(image=2.5, section=0.7, rerun=1.3))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(of_images + shared)
    assert found.high - found.low == pytest.approx(2 * half)


def test_no_shift_is_larger_than_the_largest_change_seen():
    change = np.tile([-0.001, 0.001], 18)
    found = judged(change, np.repeat(np.arange(6), 6))
    assert found.high - found.low < 10 * 0.001
    where = np.repeat(np.arange(6), 6)
    wanted = paired_difference(change, np.zeros(36), where, shared_variance=0.001**2)
    assert found.low == pytest.approx(float(wanted.low), rel=1e-6)
    assert found.high == pytest.approx(float(wanted.high), rel=1e-6)


def test_changes_of_a_billionth_of_the_margin_are_rounding():
    assert judged(np.full(36, -0.9e-10), np.repeat(np.arange(6), 6)).outcome == "equivalent"
    assert np.isnan(judged(np.full(36, -0.9e-10), np.repeat(np.arange(6), 6)).p)
    assert np.isfinite(judged(np.full(36, -1.2e-10), np.repeat(np.arange(6), 6)).p)


def changed_rows(losses, **options):
    """Compare 36 images of each method, with and without its loss in dB."""
    base = simulated(dict.fromkeys(losses, 0.0), sections=6, channels=6, metrics=("psnr",))
    jitter = np.random.default_rng(5).normal(0, 0.02, len(base))
    new = base.assign(value=base["value"] - base["method"].map(losses) + jitter)
    return compare_rows(base, new, {"psnr": 0.1}, **options)


def test_a_loss_that_methods_share_is_their_mean_loss_image_by_image():
    losses = dict.fromkeys("abcd", 0.25)
    found = changed_rows(losses, noise=Noise(rerun=1.2)).set_index("method")
    assert set(found["outcome"].drop("(all that changed)")) == {"undecided"}
    joint = found.loc["(all that changed)"]
    assert (joint["outcome"], joint["reason"], joint["metric"]) == ("worse", "mean", "psnr")
    each = found.drop("(all that changed)")
    assert joint["difference"] == pytest.approx(each["difference"].mean())
    assert joint["images"] == joint["base_images"] == joint["new_images"] == 36
    assert np.isnan([joint["base"], joint["new"]]).all()
    # four runs that shift independently of one another share half the shift of one
    width = (joint["high"] - joint["low"]) / (each["high"] - each["low"]).mean()
    assert width == pytest.approx(0.5, abs=0.03)


def test_methods_are_not_judged_together_where_one_is_worse_or_alone():
    assert "(all that changed)" not in set(changed_rows({"a": 0.25, "b": 2.0})["method"])
    assert "(all that changed)" not in set(changed_rows({"a": 0.25})["method"])
    gains = changed_rows(dict.fromkeys("abcd", -0.25), noise=Noise(rerun=1.2))
    assert "(all that changed)" not in set(gains["method"])


def test_correction_is_over_what_changed_and_can_be_left_out():
    base = simulated(dict.fromkeys("abc", 0.0), sections=6, channels=6, metrics=("psnr",))
    jitter = np.random.default_rng(5).normal(-0.2, 0.02, len(base))
    new = base.assign(value=base["value"] + np.where(base["method"] == "c", 0.0, jitter))
    alone = compare_rows(base, new, {"psnr": 0.1}, correct=False).set_index("method")
    assert (alone["p_holm"] == alone["p"]).loc[["a", "b"]].all()
    both = compare_rows(base, new, {"psnr": 0.1}).set_index("method")
    assert both["p"].equals(alone["p"])
    assert (both["p_holm"] >= both["p"]).loc[["a", "b"]].all()
    # Holm over a, b and the two together: the largest stays, the smallest is tripled at most
    assert both.loc[["a", "b"], "p_holm"].min() > both.loc[["a", "b"], "p"].min()
    assert np.isnan(both.loc["c", "p_holm"])


def test_places_have_the_name_of_their_section_and_ion():
    base = [
        row("a", "psnr", 20.0, section=f"s{s}", channel=c, mz=mz)
        for s in range(2)
        for c, mz in ((0, 303.08301), (1, np.nan))
    ]
    for lost, name in ((0, "bladder/s0, m/z 303.0830"), (3, "bladder/s1, channel 1")):
        new = [one | {"value": one["value"] - 9.0 * (at == lost)} for at, one in enumerate(base)]
        found = compare_rows(table(base), table(new), {"psnr": 0.1}).iloc[0]
        assert found["reason"] in {"image", "section"}
        assert found["place"] in {name, name.split(",")[0]}


def test_of_several_comparisons_each_may_lose_more():
    """Two measures of one method changed and a third did not: the alarms are shared by two."""
    base = simulated({"a": 0.0}, sections=1, channels=8, metrics=("psnr", "ssim", "vif"))
    hit = (base["channel"] == 5) & (base["metric"] != "vif")
    new = base.assign(value=base["value"] - 9.0 * hit)
    found = compare_rows(base, new, dict.fromkeys(("psnr", "ssim", "vif"), MARGIN))
    spread = math.sqrt((2.5**2 + 0.5**2) * 10 / (10 + 8) + 1.0**2)
    for line in found[found["metric"] != "vif"].to_dict("records"):
        allowed = MARGIN * (1 + stats.t.isf(0.05 * 0.05 / 2 / 8, 18) * spread)
        assert (line["reason"], line["place"]) == ("image", "bladder/s0, m/z 105.0000")
        assert line["place_allowed"] == pytest.approx(allowed)
    alone = compare_rows(base, new, dict.fromkeys(("psnr", "ssim"), MARGIN), correct=False)
    allowed = MARGIN * (1 + stats.t.isf(0.05 * 0.05 / 8, 18) * spread)
    assert alone["place_allowed"].tolist() == pytest.approx([allowed] * 2)


def test_a_margin_of_nothing_asks_for_the_mean_alone():
    """Noise is stated in margins, so that without one nothing is known of a single image."""
    base = np.full(36, 20.0)
    new = base - np.eye(36)[7]
    terms = Terms(margin=0.0, direction="higher", noise=Noise())
    where = np.repeat(np.arange(6), 6)
    pairs = pair_values(base, new, where, terms, RunShift(deviation=0.0))
    assert judge_pairs(pairs, pairs.p).outcome == "undecided"
    sure = pair_values(base, base - 1.0, where, terms, RunShift(deviation=0.0))
    assert judge_pairs(sure, sure.p).reason == "mean"


def test_measured_spread_is_that_around_the_median_of_the_others():
    """As above with every image 0.3 better: the median absolute deviation is 0.2 again."""
    change = np.tile([-0.2, 0.2], 15) + 0.3
    change[4] = -5.0
    variance = (10 * (2.5**2 + 0.5**2) * MARGIN**2 + 30 * (1.4826 * 0.2) ** 2) / 40
    allowed = MARGIN + stats.t.isf(0.05 * 0.05 / 30, 40) * math.sqrt(variance + MARGIN**2)
    assert judged(change, np.zeros(30)).place_allowed == pytest.approx(allowed)


def test_two_sections_are_two_places_more():
    """Five images as they were and one, a section of its own, that lost: eight places share the alarms."""
    noise = Noise(image=0.5, section=0.5, rerun=0.0)
    stated, alarm = (0.5**2 + 0.5**2) * MARGIN**2, 0.05 * (1.0 - 0.05)
    # means of 0 and -loss have the median absolute deviation loss / 2; solved for loss = allowance
    t = stats.t.isf(alarm / 8, 10 + 2)
    a, b = t**2 * 2 * (1.4826 / 2) ** 2 / 12, t**2 * 10 * stated / 12
    allowed = (MARGIN + math.sqrt(MARGIN**2 - (1 - a) * (MARGIN**2 - b))) / (1 - a)
    below, above = (
        judged(
            [0.0, 0.0, 0.0, 0.0, 0.0, -allowed * share],
            list("aaaaab"),
            noise=noise,
            level=0.05,
            p_holm=1.0,
        )
        for share in (0.999, 1.001)
    )
    assert (above.reason, above.place) == ("section", "b")
    assert (below.reason, below.place) == ("image", "b")
    of_image = MARGIN + stats.t.isf(alarm / 8, 10 + 6) * math.sqrt(10 * stated / 16)
    assert below.place_allowed == pytest.approx(of_image)


WHERE = np.repeat(np.arange(6), 6)


def test_a_corrected_p_of_exactly_its_share_of_the_alarms_is_a_loss():
    change = np.full(36, -0.12)
    share = 0.9 * (1.0 - 0.95)
    assert judged(change, WHERE, p_holm=share).reason == "mean"
    assert judged(change, WHERE, p_holm=share * 1.001).reason == ""
    assert judged(change, WHERE, p_holm=share, level=0.96).reason == ""


@pytest.mark.parametrize("mean", [0.0, 0.5])
def test_no_p_makes_a_mean_that_is_not_below_0_a_loss(mean):
    change = np.where(WHERE % 2 == 0, -2.0, 2.0) + mean
    found = judged(change, WHERE, p_holm=0.0, worst=False)
    assert found.low < -MARGIN
    assert found.reason == ""


def test_a_certain_loss_inside_the_margin_is_equivalent():
    found = judged(np.full(36, -0.05), WHERE, rerun=0.0)
    assert (found.outcome, found.noninferior, found.p) == ("equivalent", True, 0.0)


def test_what_could_not_be_compared_holds_no_image_and_no_section():
    found = undecided("no reason")
    assert (found.images, found.sections, found.noninferior) == (0, 0, False)
    assert (found.outcome, found.note, found.scope) == ("undecided", "no reason", "")


def test_of_two_sections_the_one_further_beyond_its_own_allowance_is_named():
    """The mean of 25 images may lose a third of a dB, a section of one image three times as much."""
    sections = np.array([*np.repeat(list("abcdefgh"), 4), *"y" * 25, "z"])
    change = np.select([sections == "y", sections == "z"], [-0.6, -1.1], 0.0)
    found = judged(change, sections, rerun=0.0, p_holm=1.0)
    assert (found.reason, found.place) == ("section", "y")
    assert found.place_loss == pytest.approx(0.6)
    alone = judged(np.where(sections == "z", change, 0.0), sections, rerun=0.0, p_holm=1.0)
    assert (alone.reason, alone.place) == ("section", "z")
