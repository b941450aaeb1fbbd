"""How much of a noisy truth's detail there is to find: exact, measured, counted, estimated."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from msibench import metrics
from msibench.contracts.metric import Evaluation
from msibench.degradation import protocol
from msibench.image import as_stack
from msibench.metrics.detail_ceiling import (
    BOUNDED,
    ESTIMATED,
    EXACT,
    REPEATED,
    THINNED,
    ceiling_of_counts,
    ceiling_of_repeat,
    ceiling_of_signal,
    ceilings_by_estimate,
    detail_ceiling,
    evaluate,
    nugget,
)
from msibench.testing.mirror import mirrored
from msibench_datasets.phantom.generator import make_phantom

CHAIN = protocol("area-x4@1")
SPLIT = CHAIN.split


def exact(signal, truth):
    low = CHAIN.degrade(np.stack([truth, signal]))
    return ceiling_of_signal(signal, truth, split=SPLIT, coarse=(low[0], low[1]))


@pytest.fixture(scope="module", params=[5, 60])
def phantom(request):
    made = make_phantom(seed=41, counts=request.param)
    scale = np.maximum(made.counts.max((1, 2)), 1).astype(float)
    truth, signal = (one / scale[:, None, None] for one in (made.counts, made.expected))
    again = np.random.default_rng(1).poisson(made.expected) / scale[:, None, None]
    return truth, signal, again, scale


def test_who_knows_the_signal_and_the_coarse_counts_is_at_the_ceiling():
    made = make_phantom(seed=41, counts=5)
    scale = np.maximum(made.counts.max((1, 2)), 1)[:, None, None]
    truth, signal = made.counts / scale, made.expected / scale
    best = np.mean([exact(s, t) for s, t in zip(signal, truth, strict=True)])
    plain = metrics.detail_gain(signal, truth, protocol=CHAIN).mean()
    assert best == pytest.approx(0.210, abs=6e-4)
    assert plain == pytest.approx(0.201, abs=6e-4)


def test_repeats_and_thinned_counts_agree_with_the_exact_ceiling(phantom):
    for truth, signal, again, ions in zip(*phantom, strict=True):
        ceiling = exact(signal, truth)
        counted = ceiling_of_counts(truth, ions, split=SPLIT, seed=0)
        assert counted == pytest.approx(ceiling, abs=0.05)
        repeated = ceiling_of_repeat(truth, again, split=SPLIT)
        assert repeated == pytest.approx(ceiling, abs=0.05)
    both = [(exact(s, t), ceiling_of_counts(t, n, split=SPLIT, seed=0))
            for t, s, _, n in zip(*phantom, strict=True)]  # fmt: skip
    assert np.diff(np.mean(both, axis=0))[0] == pytest.approx(0, abs=0.005)


def test_the_intensity_of_a_repeat_does_not_matter():
    rng = np.random.default_rng(0)
    signal = np.kron(rng.random((16, 20)), np.ones((2, 2)))
    first, second = (signal + 0.1 * rng.standard_normal(signal.shape) for _ in range(2))
    value = ceiling_of_repeat(first, second, split=SPLIT)
    assert 0.5 < value < 0.98
    assert ceiling_of_repeat(first, 7 * second, split=SPLIT) == pytest.approx(value)


def test_what_differs_by_more_than_noise_is_no_repeat():
    rng = np.random.default_rng(0)
    signal = np.kron(rng.random((16, 20)), np.ones((2, 2)))
    first, second = (signal + 0.05 * rng.standard_normal(signal.shape) for _ in range(2))
    tilted = second * np.linspace(0.8, 1.2, signal.shape[1])
    for other in (tilted, rng.random(signal.shape), first, np.zeros(signal.shape)):
        assert np.isnan(ceiling_of_repeat(first, other, split=SPLIT))
    assert ceiling_of_repeat(first, second, split=SPLIT) > 0.5


@pytest.mark.parametrize("sigma", [0.05, 0.2])
def test_both_estimators_find_white_noise_on_a_smooth_image(sigma):
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:128, :160] / 40
    clean = 2 + np.sin(row) * np.cos(column)
    noisy = clean + sigma * rng.standard_normal(clean.shape)
    assert nugget(noisy, np.ones(clean.shape, bool)) == pytest.approx(sigma**2, rel=0.1)
    expected = metrics.detail_gain(clean, noisy, protocol=CHAIN)
    for value in ceilings_by_estimate(noisy, split=SPLIT):
        assert 1 - value == pytest.approx(1 - float(expected), rel=0.1)


def test_the_nugget_looks_inside_the_mask_alone():
    rng = np.random.default_rng(0)
    image = np.zeros((64, 80))
    mask = np.zeros(image.shape, bool)
    mask[:32] = True
    image[mask] = 0.1 * rng.standard_normal(mask.sum())
    image[40:] = rng.random((24, 80))
    assert nugget(image, mask) == pytest.approx(0.01, rel=0.15)


def cell(truth, **facts):
    truth = np.asarray(truth, np.float32)
    return Evaluation(
        prediction=truth, truth=as_stack(truth), low=as_stack(CHAIN.degrade(truth)), factor=4,
        degrade=CHAIN.degrade, split=SPLIT, **facts,
    )  # fmt: skip


def test_the_best_source_there_is_is_taken_for_each_image(phantom):
    truth, signal, again, scale = (part[:3] for part in phantom)
    none = np.full_like(again, np.nan)
    only_second = np.where(np.arange(3)[:, None, None] == 1, again, np.nan).astype(np.float32)

    def sources(**facts):
        return [one.source for one in detail_ceiling(cell(truth, **facts))]

    assert sources() == [ESTIMATED] * 3
    assert sources(counts_per_unit=np.array([scale[0], np.nan, 0])) == [THINNED] + [ESTIMATED] * 2
    assert sources(repeat=only_second, counts_per_unit=scale) == [THINNED, REPEATED, THINNED]
    shares = ("", "flicker", "")
    assert sources(repeat=only_second, repeat_shares=shares)[1] == BOUNDED
    assert sources(repeat=none.astype(np.float32)) == [ESTIMATED] * 3
    facts = {"noise_free": signal.astype(np.float32), "repeat": only_second}
    assert sources(**facts, counts_per_unit=scale) == [EXACT] * 3


def test_a_range_has_its_ends_in_order_and_one_value_has_equal_ends(phantom):
    truth, _, _, scale = phantom
    low, high = (evaluate(cell(truth), end=end).values for end in ("low", "high"))
    assert (low <= high).all()
    assert (low < high).any()
    facts = {"counts_per_unit": scale}
    ends = [evaluate(cell(truth, **facts), end=end).values for end in ("low", "high")]
    np.testing.assert_array_equal(*ends)


def test_what_has_no_ceiling_says_why(phantom):
    truth = phantom[0][:3].astype(np.float32).copy()
    truth[1] = 0.25
    truth[2, 0, 0] = np.nan
    for end in ("low", "high", "source"):
        scored = evaluate(cell(truth), end=end)
        assert np.isnan(scored.values).tolist() == [False, True, True]
        assert [bool(reason) for reason in scored.reasons] == [False, True, True]
        assert "no detail" in scored.reasons[1]
        assert "NaN" in scored.reasons[2]


# -- by hand -----------------------------------------------------------------------------------


module = import_module("msibench.metrics.detail_ceiling")


def rows(image):
    """Take the first row for what is seen and the second for what is not."""
    return image[0], image[1]


def test_the_signal_is_scaled_to_the_coarse_counts_and_clipped():
    rng = np.random.default_rng(0)
    signal, truth = 0.5 * rng.random((2, 8, 12))
    signal[:4, :4] = 0  # nothing is expected here: as it is
    truth[:4, 4:8] += 0.5  # more than twice as much: above 1 in places
    means = [one.reshape(2, 4, 3, 4).mean((1, 3)) for one in (truth, signal)]
    best = signal.copy()
    for row, column in np.ndindex(8, 12):
        measured, expected = (one[row // 4, column // 4] for one in means)
        if expected:
            best[row, column] = min(signal[row, column] * measured / expected, 1)
    assert (best == 1).sum() > 2
    unseen = truth - means[0].repeat(4, 0).repeat(4, 1)
    added = best - best.reshape(2, 4, 3, 4).mean((1, 3)).repeat(4, 0).repeat(4, 1)
    wanted = 1 - ((added - unseen) ** 2).sum() / (unseen**2).sum()
    found = ceiling_of_signal(signal, truth, split=SPLIT, coarse=(means[0], means[1]))
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize("size", [1 / 64, 64.0])
@pytest.mark.parametrize(
    ("again", "value"),
    [
        (((3, 4, 0, 0), (1, 1, 1, 1.5)), 1.0),  # 4.5 / 4 is too much of it, but for the limit below
        (((3, 4, 0, 0), (0, 2, 0, 1)), 0.75),
        (((6, 8, 0, 0), (0, 4, 0, 2)), 0.75),  # of twice the intensity
        (((3, 4, 0, 0), (-1, 2, -2, 0)), 0.0),  # its detail is the opposite: less than nothing
        (((4, 3, 0, 0), (0, 2, 1, 1)), 1.0),  # 2 of squared difference in either
        (((4, 3, 0, 0), (1, 2, 1, 0)), 1.0),
        (((0, 5, 0, 0), (0, 2, 1, 1)), np.nan),  # 10 in the input, 2 in the detail
        (((3, 4, 0, 0), (1, 1, 1, 1)), np.nan),  # the same measurement
        (((0, 0, 0, 0), (0, 2, 1, 1)), np.nan),
    ],
)
def test_a_repeat_agrees_in_a_share_of_the_detail_by_hand(monkeypatch, size, again, value):
    monkeypatch.setattr(module, "_unseen_share", lambda shape, split: 0.5)
    monkeypatch.setattr(module, "LARGEST_SHARE", 1.125)  # these limits themselves are allowed
    monkeypatch.setattr(module, "LARGEST_RATIO", 1.0)
    truth = size * np.array([[3.0, 4, 0, 0], [1, 1, 1, 1]])
    found = ceiling_of_repeat(truth, size * np.array(again, dtype=float), split=rows)
    np.testing.assert_equal(found, value)
    assert np.isnan(ceiling_of_repeat(truth * [[1], [0]], size * np.array(again), split=rows))


def test_limits_of_a_repeat_by_hand(monkeypatch):
    monkeypatch.setattr(module, "_unseen_share", lambda shape, split: 0.8)
    truth = np.array([[10.0, 0, 0, 0], [10, 10, 10, 10]])

    def repeated(input_error, detail, share=1.0):
        turn = np.arccos(1 - input_error / 200)  # of the same norm
        seen = [10 * np.cos(turn), 10 * np.sin(turn), 0, 0]
        return ceiling_of_repeat(
            truth, np.array([seen, [10 * share + detail, 10 * share - detail] * 2]), split=rows
        )

    # Squared differences 4 d^2 in four unseen directions of five, at most 1.25 times as much in the fifth.
    assert repeated(1.24, 1.0) == pytest.approx(1.0)
    assert np.isnan(repeated(1.26, 1.0))
    assert repeated(4 * 1.24, 2.0) == pytest.approx(1.0)
    assert np.isnan(repeated(4 * 1.26, 2.0))
    assert repeated(0.0, 1.0, share=1.049) == 1.0
    assert np.isnan(repeated(0.0, 1.0, share=1.051))
    assert repeated(0.0, 2e-5) == pytest.approx(1.0)  # two millionths of the detail
    assert np.isnan(repeated(0.0, 5e-6))


def test_the_share_of_unseen_directions_is_that_of_one_white_noise():
    noise = np.random.default_rng(0).standard_normal((8, 12))
    wanted = (SPLIT(noise)[1] ** 2).sum() / (noise**2).sum()
    assert module._unseen_share((8, 12), SPLIT) == wanted
    assert wanted == pytest.approx(15 / 16, abs=0.05)


def test_a_single_ion_is_detail_and_halves_to_nothing():
    counts = np.zeros((4, 4))
    counts[1, 2] = 1.0
    assert ceiling_of_counts(counts / 9, 9.0, split=SPLIT, seed=0) == 0.0
    assert ceiling_of_counts(counts / 9, 9.0, split=SPLIT, seed=0, draws=1) == 0.0
    assert np.isnan(ceiling_of_counts(counts / 9, 4.0, split=SPLIT, seed=0))  # rounds to no ion


def test_two_estimates_of_the_noise_look_at_the_tissue_alone():
    rng = np.random.default_rng(0)
    truth = np.indices((12, 16)).sum(0) / 50 + 0.1 * rng.random((12, 16))
    tissue = np.zeros((12, 16), bool)
    tissue[:, :8] = True
    unseen = SPLIT(truth)[1]
    for mask, inside in ((None, tissue | True), (tissue & False, tissue | True), (tissue, tissue)):
        noises = (
            nugget(truth, inside) * inside.sum(),
            (module.noise_map(truth, inside) ** 2).sum(),
        )
        share = module._unseen_share((12, 16), SPLIT)
        wanted = [1 - share * noise / (unseen**2).sum() for noise in noises]
        np.testing.assert_allclose(ceilings_by_estimate(truth, split=SPLIT, mask=mask), wanted)
        assert 0 < min(wanted) < max(wanted) < 1
    noisy = rng.random((12, 16)) * 1e3 * (np.indices((12, 16)).sum(0) % 2)
    assert ceilings_by_estimate(noisy, split=SPLIT)[0] == 0.0


def test_each_source_of_a_small_cell_gives_what_it_gives_alone():
    rng = np.random.default_rng(0)
    truth = 0.01 * np.kron(rng.random((3, 8, 12)), np.ones((2, 2))).astype(np.float32)
    signal = truth + 1e-4 * rng.random(truth.shape, dtype=np.float32)
    coarse = [CHAIN.degrade(one).astype(float) for one in (truth, signal)]
    found = detail_ceiling(cell(truth, noise_free=signal))
    for place, one in enumerate(found):
        wanted = ceiling_of_signal(
            signal[place].astype(float), truth[place].astype(float), split=SPLIT,
            coarse=(coarse[0][place], coarse[1][place]),
        )  # fmt: skip
        assert (one.low, one.high, one.source) == (wanted, wanted, EXACT)
        assert 0.9 < wanted < 1
    again = truth + 1e-3 * rng.standard_normal(truth.shape).astype(np.float32)
    found = detail_ceiling(cell(truth, repeat=again, repeat_shares=("", "flicker", "")))
    assert [one.source for one in found] == [REPEATED, BOUNDED, REPEATED]
    found = detail_ceiling(cell(20 * truth, counts_per_unit=np.array([0.0, np.inf, 90.0])))
    assert [one.source for one in found] == [ESTIMATED, ESTIMATED, THINNED]
    (few,) = detail_ceiling(cell(2000 * truth[:1], counts_per_unit=np.array([0.5])))
    assert few.source == THINNED
    scored = evaluate(replace(cell(truth), split=None))
    assert scored.reasons == (module.NO_SPLIT,) * 3


ZINC = {"C1SA1": 0.87, "C1SB1": 0.91, "C2SA1": 0.86, "C2SB1": 0.69}


def zinc(name):
    cube = np.nan_to_num(np.load(mirrored(f"laicpms-prostate/{name}.npz"))["cube"].astype(float))
    rows, columns = (side // 4 * 4 for side in cube.shape[1:])
    return cube[2, :rows, :columns], cube[3, :rows, :columns]


@pytest.mark.parametrize("name", ZINC)
def test_the_published_ceilings_of_the_zinc_isotopes(name):
    first, second = zinc(name)
    second = second * (first * second).sum() / (second * second).sum()
    top = np.quantile(first, 0.999)
    first, second = (SPLIT(np.clip(one / top, 0, 1))[1] for one in (first, second))
    found = (first * second).sum() / (second * second).sum()
    assert found == pytest.approx(ZINC[name], abs=6e-3)


@pytest.mark.parametrize("name", ["C1SA1", "C1SB1", "C2SA1", "C2SB1"])
def test_the_zinc_isotopes_are_repeats_and_their_ceiling_lies_between_the_estimates(name):
    first, second = (np.clip(one / np.quantile(one, 0.999), 0, 1) for one in zinc(name))
    value = ceiling_of_repeat(second, first, split=SPLIT)
    ends = sorted(ceilings_by_estimate(second, split=SPLIT))
    assert ends[0] < value < ends[1]
    assert value <= ZINC[name]  # the regression of that figure takes noise for a lower intensity


def test_isotopes_that_differ_by_more_than_noise_are_found():
    first, second = (np.clip(one / np.quantile(one, 0.999), 0, 1) for one in zinc("C4SA1"))
    assert np.isnan(ceiling_of_repeat(second, first, split=SPLIT))
