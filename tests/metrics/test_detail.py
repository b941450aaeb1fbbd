"""The split of the error: its identities, its edges, and the figures it was built on."""

import doctest

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import zoom

from msibench import metrics
from msibench.contracts.metric import Evaluation
from msibench.degradation import protocol, protocol_families
from msibench.image import as_stack
from msibench.metrics import detail, detail_specs
from msibench.testing.mirror import mirrored
from msibench_datasets.phantom.generator import make_phantom

AREA = "area-x4@1"
MEASURES = ("detail_gain", "detail_match", "detail_precision", "detail_recall", "input_error",
            "skill")  # fmt: skip


def images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def coarse(fine):
    return protocol(AREA).degrade(fine)


def blocks(fine):
    return np.kron(coarse(fine), np.ones((4, 4)))


def smooth(low):
    """Cubic enlargement, as the figures of the split were measured with."""
    return np.maximum([zoom(i, 4, order=3, grid_mode=True, mode="nearest") for i in low], 0)


def all_of(test, reference, chain=AREA, **options):
    return {
        name: getattr(metrics, name)(test, reference, protocol=chain, **options)
        for name in MEASURES
    }


@pytest.mark.parametrize("family", protocol_families())
def test_the_error_splits_without_remainder(family):
    chain = family.replace("xN", "x3")
    truth, guess = images(4, 18, 27), images(4, 18, 27, seed=1)
    found = all_of(guess, truth, chain)
    np.testing.assert_allclose(found["skill"], found["detail_gain"] - found["input_error"])
    seen, unseen = protocol(chain).split(truth)
    error = ((guess - truth) ** 2).sum((1, 2))
    np.testing.assert_allclose(found["skill"], 1 - error / (unseen**2).sum((1, 2)))
    for name, value in all_of(truth, truth, chain).items():
        np.testing.assert_allclose(value, 0 if name == "input_error" else 1, atol=1e-9)
    nothing = all_of(seen, truth, chain)
    assert np.isnan(nothing.pop("detail_precision")).all()
    np.testing.assert_allclose(list(nothing.values()), 0, atol=1e-9)


def test_the_measures_are_what_their_formulas_say():
    truth, guess = images(3, 16, 24), images(3, 16, 24, seed=1)
    n, t = (one - blocks(one) for one in (guess, truth))
    nn, tt, nt = ((a * b).sum((1, 2)) for a, b in ((n, n), (t, t), (n, t)))
    fixed = ((blocks(guess) - blocks(truth)) ** 2).sum((1, 2))
    expected = {
        "detail_gain": 1 - ((n - t) ** 2).sum((1, 2)) / tt,
        "detail_match": np.sign(nt) * nt**2 / (nn * tt),
        "detail_precision": nt / nn,
        "detail_recall": nt / tt,
        "input_error": fixed / tt,
        "skill": 1 - ((guess - truth) ** 2).sum((1, 2)) / tt,
    }
    for name, value in all_of(guess, truth).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-9)


@given(st.floats(-3, 3).filter(lambda gain: abs(gain) > 0.1), st.floats(-1, 1))
def test_no_stretch_changes_the_match_but_for_its_sign(gain, offset):
    truth, guess = images(2, 12, 16), images(2, 12, 16, seed=1) ** 2
    before, after = (
        metrics.detail_match(one, truth, protocol=AREA) for one in (guess, gain * guess + offset)
    )
    np.testing.assert_allclose(after, np.sign(gain) * before, rtol=1e-6)


def test_the_match_is_the_gain_at_the_best_amplitude():
    truth = images(1, 16, 24)
    guess = truth + images(1, 16, 24, seed=1)
    seen, unseen = protocol(AREA).split(guess)
    gains = [
        float(metrics.detail_gain(seen + a * unseen, truth, protocol=AREA)[0])
        for a in np.linspace(0, 2, 2001)
    ]
    match = float(metrics.detail_match(guess, truth, protocol=AREA)[0])
    assert max(gains) == pytest.approx(match, abs=1e-5)
    best = np.linspace(0, 2, 2001)[int(np.argmax(gains))]
    precision = float(metrics.detail_precision(guess, truth, protocol=AREA)[0])
    assert precision == pytest.approx(best, abs=1e-3)


def test_a_mask_leaves_a_remainder_that_is_told():
    truth, guess = images(2, 16, 24), images(2, 16, 24, seed=1)
    mask = images(16, 24, seed=2) > 0.4
    found = metrics.split_error(guess, truth, protocol=AREA, mask=mask)
    error = ((guess - truth) ** 2)[:, mask].sum(1)
    wanted = ((truth - blocks(truth)) ** 2)[:, mask].sum(1)
    np.testing.assert_allclose(found.skill, 1 - error / wanted)
    assert (np.abs(found.remainder) > 1e-3).all()
    np.testing.assert_allclose(found.skill + found.remainder, found.detail_gain - found.input_error)
    whole = metrics.split_error(guess, truth, protocol=AREA)
    np.testing.assert_allclose(whole.remainder, 0, atol=1e-12)
    assert found.skill == pytest.approx(metrics.skill(guess, truth, protocol=AREA, mask=mask))


def test_nan_outside_the_mask_is_no_fault_and_inside_it_is():
    truth, guess = images(2, 16, 24), images(2, 16, 24, seed=1)
    mask = np.ones((16, 24), bool)
    mask[:4] = False
    guess[0, 1, 1] = np.nan
    assert np.isfinite(metrics.skill(guess, truth, protocol=AREA, mask=mask)).all()
    assert np.isnan(metrics.skill(guess, truth, protocol=AREA)).tolist() == [True, False]


def test_adding_nothing_has_no_precision_and_a_truth_without_detail_no_measure():
    truth = images(1, 16, 24).astype(np.float32)
    found = all_of(blocks(truth).astype(np.float32), truth)
    assert np.isnan(found["detail_precision"])
    assert found["detail_match"] == 0
    for value in all_of(images(1, 16, 24), blocks(truth)).values():
        assert np.isnan(value)


def test_a_tensor_gives_a_tensor_and_a_single_image_a_number():
    truth = images(2, 16, 24)
    value = metrics.skill(torch.tensor(truth), torch.tensor(truth), protocol=AREA)
    assert isinstance(value, torch.Tensor)
    assert metrics.skill(truth[0], truth[0], protocol=protocol(AREA)).shape == ()


def test_arguments_that_do_not_fit_are_refused():
    truth = images(2, 16, 24)
    with pytest.raises(ValueError, match="one shape"):
        metrics.skill(truth, truth[:1], protocol=AREA)
    with pytest.raises(ValueError, match="mask must be bool"):
        metrics.skill(truth, truth, protocol=AREA, mask=np.ones((16, 24)))


@given(st.floats(-1e6, 1))
def test_bounded_keeps_order_sign_and_what_lies_above_zero(value):
    bounded = float(metrics.bounded(value))
    assert -1 < bounded <= 1
    assert bounded == value if value >= 0 else bounded < 0
    error = 1 - value
    assert bounded == pytest.approx(1 - error if error <= 1 else 1 / error - 1, abs=1e-9)
    assert metrics.bounded(value - 1) < bounded


def test_bounded_by_hand():
    found = metrics.bounded([-3.0, -1.0, -0.25, 0.0, 0.5, 1.0])
    np.testing.assert_allclose(found, [-0.75, -0.5, -0.2, 0.0, 0.5, 1.0])


@pytest.mark.parametrize("level", [1e-3, 1.0, 1e3])
def test_detail_below_a_millionth_of_the_root_mean_square_is_none(level):
    pattern = np.where(np.indices((8, 12)).sum(0) % 2, 1.0, -1.0)  # of mean 0 in each coarse pixel
    for share, wanted in ((0.9e-6, 0.0), (1.1e-6, 96 * (1.1e-6 * level) ** 2)):
        truth = level * (1 + share * pattern)
        found = metrics.split_error(truth, truth, protocol=AREA)
        assert float(found.wanted) == pytest.approx(wanted, rel=1e-6)


def test_what_is_unknown_outside_the_mask_counts_as_nothing_in_both():
    truth, prediction = images(2, 16, 24)
    mask = np.ones((16, 24), bool)
    mask[2:5, 3:9] = False
    filled = [truth.copy(), prediction.copy()]
    truth[3, 4], prediction[4, 7] = np.nan, np.inf
    for one in filled:
        one[3, 4] = one[4, 7] = 0
    found = metrics.split_error(prediction, truth, protocol=AREA, mask=mask)
    wanted = metrics.split_error(filled[1], filled[0], protocol=AREA, mask=mask)
    for name in detail.MEASURES:
        assert float(getattr(found, name)) == float(getattr(wanted, name))


def test_pooled_measures_are_those_of_all_images_as_one():
    truth, guess = images(5, 16, 24), images(5, 16, 24, seed=1)
    truth[2] *= 0.1
    guess[3] = blocks(truth[3:4])[0]
    found = metrics.split_error(guess, truth, protocol=AREA)
    given_ = {name: getattr(found, name) for name in detail.MEASURES}
    together = metrics.pooled(given_)
    as_one = found.pooled()
    assert together.pop("images") == 5
    assert set(together) == set(detail.MEASURES)
    for name, value in together.items():
        assert value == pytest.approx(float(getattr(as_one, name)), rel=1e-9)
    given_["detail_gain"] = np.where(np.arange(5) == 1, np.nan, given_["detail_gain"])
    assert metrics.pooled(given_)["images"] == 4


@pytest.mark.parametrize("measure", detail.MEASURES)
def test_a_cell_is_scored_over_the_whole_domain_and_says_why_not(measure):
    truth = images(4, 16, 24).astype(np.float32)
    truth[1] = 0.5
    guess = images(4, 16, 24, seed=1).astype(np.float32)
    guess[2, 0, 0] = np.nan
    guess[3] = blocks(truth[3:4])[0]
    mask = np.zeros((16, 24), bool)
    chain = protocol(AREA)
    cell = Evaluation(
        prediction=guess, truth=as_stack(truth, mask=mask), low=as_stack(coarse(truth)), factor=4,
        degrade=chain.degrade, split=chain.split,
    )  # fmt: skip
    scored = detail.evaluate(cell, measure=measure)
    own = getattr(metrics.split_error(guess, truth, protocol=AREA), measure)
    np.testing.assert_array_equal(scored.values, own)
    reasons = ["", detail_specs.NO_DETAIL, detail.NOT_FINITE, ""]
    if measure == "detail_precision":
        reasons[3] = detail_specs.ADDS_NOTHING
    if measure == "detail_energy":
        reasons[1] = ""
    assert list(scored.reasons) == reasons
    np.testing.assert_array_equal(np.isnan(scored.values), [bool(reason) for reason in reasons])


def test_a_degradation_without_a_known_split_says_so():
    truth = images(2, 16, 24).astype(np.float32)
    cell = Evaluation(prediction=truth, truth=as_stack(truth), low=as_stack(coarse(truth)),
                      factor=4, degrade=coarse)  # fmt: skip
    assert detail.evaluate(cell).reasons == (detail_specs.NO_SPLIT,) * 2


def test_the_examples_in_the_docstrings_run():
    results = doctest.testmod(detail)
    assert results.failed == 0
    assert results.attempted > 0


# The figures that the split was chosen for.


def test_noise_that_truth_and_input_share_is_no_detail():
    rng = np.random.default_rng(0)
    noise, other = (0.5 + 0.15 * rng.standard_normal((8, 128, 160)) for _ in range(2))
    for low in (coarse(noise), coarse(other)):
        gain = metrics.detail_gain(smooth(low), noise, protocol=AREA).mean()
        assert gain == pytest.approx(-0.01, abs=0.005)


@pytest.mark.parametrize(("dose", "same", "independent"), [(5, 0.075, 0.076), (60, 0.309, 0.310)])
def test_the_same_counts_are_worth_no_more_than_independent_ones(dose, same, independent):
    phantom = make_phantom(seed=41, counts=dose)
    again = np.random.default_rng(0).poisson(phantom.expected)
    scale = np.maximum(phantom.counts.max((1, 2)), 1)[:, None, None]
    truth = phantom.counts / scale
    for low, figure in ((coarse(truth), same), (coarse(again / scale), independent)):
        gain = metrics.detail_gain(smooth(low), truth, protocol=AREA).mean()
        assert gain == pytest.approx(figure, abs=3e-3)
    signal = metrics.split_error(phantom.expected / scale, truth, protocol=AREA)
    assert float(signal.pooled().detail_precision) == pytest.approx(0.99, abs=0.012)


ZINC = {
    "C1SA1": (0.130, 0.131, 0.87), "C1SB1": (0.122, 0.121, 0.91),
    "C2SA1": (0.137, 0.129, 0.86), "C2SB1": (0.088, 0.087, 0.69),
}  # fmt: skip


@pytest.mark.parametrize("name", ZINC)
def test_a_real_repeat_agrees_with_the_truth_that_shares_the_noise(name):
    folder = mirrored("laicpms-prostate")
    file = next(file for file in sorted(folder.glob("*.npz")) if name in file.stem)
    cube = np.nan_to_num(np.load(file)["cube"].astype(float))
    rows, columns = (side // 4 * 4 for side in cube.shape[1:])
    first, second = cube[2:3, :rows, :columns], cube[3:4, :rows, :columns]
    second = second * (first * second).sum() / (second * second).sum()
    top = np.quantile(first, 0.999)
    first, second = (np.clip(one / top, 0, 1) for one in (first, second))
    guess = smooth(coarse(first))
    gains = [float(metrics.detail_gain(guess, one, protocol=AREA)[0]) for one in (first, second)]
    assert gains == pytest.approx(ZINC[name][:2], abs=6e-4)
