"""Proof on the phantom, whose guide shows structures that no ion image has."""

import numpy as np
import pytest
import torch

from msibench.contracts.metric import Evaluation
from msibench.degradation import protocol
from msibench.image import GuideImage, as_stack
from msibench.metrics import guide_leakage
from msibench.metrics.detail_ceiling import detail_ceiling
from msibench.metrics.guide_leakage import evaluate
from msibench.metrics.upsampling import bicubic
from msibench.metrics.wrong_guides import mirrored
from msibench_datasets.phantom.generator import make_phantom
from tests.metrics import adversaries

FACTOR = 4
CHAIN = protocol("area-x4@1")
IONS = (1, 3, 9)
"""A layer, a boundary, cells: what a guide can show."""
PAINTERS = {
    "linear": adversaries.linear_paint,
    "shifted": adversaries.shifted_paint,
    "edges": adversaries.edge_paint,
    "sign-flipped": adversaries.sign_flipped_paint,
}


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(seed=1, shape=(96, 112))


@pytest.fixture(scope="module")
def arrays(phantom):
    ions = list(IONS)
    scale = np.maximum(phantom.counts[ions].max((1, 2)), 1).astype(float)[:, None, None]
    truth, signal = (one[ions] / scale for one in (phantom.counts, phantom.expected))
    return truth, signal, CHAIN.degrade(truth)


def leak(prediction, phantom, arrays, guide=None, end="value", **options):
    truth, _, low = arrays
    shown = phantom.guide if guide is None else guide
    return guide_leakage(
        prediction, truth, low, shown, protocol=CHAIN, mask=phantom.mask, end=end, **options
    )


@pytest.fixture(scope="module")
def base(arrays):
    return adversaries.bicubic_base(arrays[2], FACTOR)


@pytest.mark.parametrize("painter", PAINTERS)
def test_paint_of_the_guide_is_found_however_it_is_put_on(painter, phantom, arrays, base):
    grey = phantom.guide.mean(0).astype(float)
    painting = PAINTERS[painter](base, grey, CHAIN.split, 0.3)
    assert np.median(leak(painting, phantom, arrays)) > 0.3
    assert (leak(painting, phantom, arrays, end="low") > 0.05).all()


def test_shading_with_the_guide_is_found(phantom, arrays, base):
    painting = adversaries.multiplied_paint(base, phantom.guide.mean(0).astype(float))
    found = leak(painting, phantom, arrays, end="low")
    assert np.mean(found > 0.02) >= 0.6  # it touches little where the ion is weak


def test_perfect_predictions_of_ions_that_follow_the_guide_are_not_accused(phantom, arrays):
    truth, signal, _ = arrays
    rng = np.random.default_rng(3)
    scale = phantom.counts[list(IONS)].max((1, 2))[:, None, None]
    again = rng.poisson(phantom.expected[list(IONS)]) / scale
    seen, unseen = CHAIN.split(signal)
    for perfect in (signal, truth, again, seen + 0.5 * unseen):
        assert leak(perfect, phantom, arrays).max() < 0.05
        assert leak(perfect, phantom, arrays, end="low").max() < 0.02


def test_what_sees_no_guide_does_not_leak(phantom, arrays, base):
    nearest = np.kron(arrays[2], np.ones((FACTOR, FACTOR)))
    noisy = adversaries.noise(base, 0.2)
    for honest in (base, nearest, noisy):
        assert leak(honest, phantom, arrays, end="low").max() < 0.02


def test_more_paint_leaks_more(phantom, arrays, base):
    grey = phantom.guide.mean(0).astype(float)
    rising = [
        leak(adversaries.linear_paint(base, grey, CHAIN.split, s), phantom, arrays).mean()
        for s in (0.0, 0.05, 0.1, 0.3)
    ]
    assert rising == sorted(rising)
    assert rising[0] < 0.02


def test_paint_from_a_wrong_guide_is_found_with_that_guide_alone(phantom, arrays, base):
    wrong = mirrored(GuideImage(phantom.guide)).values.astype(float)[:, :, ::-1]  # upside down
    painting = adversaries.linear_paint(base, wrong.mean(0), CHAIN.split, 0.3)
    assert np.median(leak(painting, phantom, arrays, wrong)) > 0.3
    assert np.median(leak(painting, phantom, arrays)) < 0.1


def test_what_the_guide_brought_can_be_judged_by_itself(phantom, arrays, base):
    _, signal, _ = arrays
    grey = phantom.guide.mean(0).astype(float)
    upside_down = grey[::-1]
    painted = adversaries.linear_paint(base, grey, CHAIN.split, 0.3)
    brought = painted - adversaries.linear_paint(base, upside_down, CHAIN.split, 0.3)
    assert np.median(leak(brought, phantom, arrays)) > 0.1
    assert leak(signal - base, phantom, arrays, end="low").max() < 0.02


def test_the_known_uncharted_structures_show_in_the_painting_only(phantom, arrays, base):
    _, signal, _ = arrays
    uncharted = phantom.uncharted[None].astype(float)
    painting = adversaries.linear_paint(base, phantom.guide.mean(0), CHAIN.split, 0.3)
    assert np.median(leak(painting, phantom, arrays, uncharted)) > 0.1
    for honest in (signal, base):
        assert leak(honest, phantom, arrays, uncharted).max() < 0.02


def test_scale_of_guide_and_of_ions_does_not_matter(phantom, arrays, base):
    truth, _, low = (one[:2] for one in arrays)
    painting = adversaries.linear_paint(base[:2], phantom.guide.mean(0), CHAIN.split, 0.3)
    options = {"protocol": CHAIN, "mask": phantom.mask}
    plain = guide_leakage(painting, truth, low, phantom.guide, **options)
    scaled = guide_leakage(painting, truth, low, 100 * phantom.guide + 3, **options)
    np.testing.assert_allclose(scaled, plain, rtol=1e-4)
    brighter = guide_leakage(50 * painting, 50 * truth, 50 * low, phantom.guide, **options)
    np.testing.assert_allclose(brighter, plain, rtol=1e-4)


@pytest.mark.parametrize(
    "chain",
    [
        pytest.param("bicubic-x4@1", marks=pytest.mark.slow),
        pytest.param("gaussian-x4@1", marks=pytest.mark.slow),
        "spot-x4@1",
        "area-x2@1",
    ],
)
def test_other_protocols_too(chain, phantom, arrays):
    made = protocol(chain)
    truth = arrays[0][:2]
    low = made.degrade(truth)
    base = adversaries.bicubic_base(low, made.factor)
    painting = adversaries.linear_paint(base, phantom.guide.mean(0), made.split, 0.3)
    options = {"protocol": chain, "mask": phantom.mask, "end": "low"}
    # A spot leaves the corners of a pixel unseen, mean included: paint is a small share of what is added.
    least = 0.005 if chain.startswith("spot") else 0.05
    assert guide_leakage(painting, truth, low, phantom.guide, **options).min() > least
    assert guide_leakage(base, truth, low, phantom.guide, **options).max() < least / 2


def test_a_cell_is_scored_against_the_signal_where_it_is_known(phantom, arrays, base):
    truth, signal, low = (one[:2].astype(np.float32) for one in arrays)
    grey = phantom.guide.mean(0)
    painting = adversaries.linear_paint(base[:2], grey, CHAIN.split, 0.3).astype(np.float32)
    facts = {"truth": as_stack(truth, mask=phantom.mask), "low": as_stack(low), "factor": 4,
             "degrade": CHAIN.degrade, "split": CHAIN.split, "uncharted": phantom.uncharted,
             "guide": GuideImage(phantom.guide)}  # fmt: skip
    for known in ({"noise_free": signal}, {"counts_per_unit": np.full(2, 60.0)}, {}):
        honest = evaluate(Evaluation(prediction=signal, **facts, **known), end="low")
        assert honest.values.max() < 0.02
        found = evaluate(Evaluation(prediction=painting, **facts, **known), end="low")
        assert found.values.min() > 0.05
        assert not any(found.reasons)


def test_where_the_signal_is_not_known_the_noise_is_the_middle_of_its_two_estimates():
    rng = np.random.default_rng(4)
    rows, columns = np.indices((48, 64))
    signal = 3 + np.sin(rows / 2)[None] * np.cos(columns / 3)[None] + rng.random((1, 48, 64))
    truth = rng.poisson(20 * signal) / 20.0
    low = CHAIN.degrade(truth)
    guide = rng.random((1, 48, 64), dtype=np.float32)
    base = adversaries.bicubic_base(low, FACTOR)
    blurred = CHAIN.split(truth)[1] + np.roll(CHAIN.split(truth)[1], 1, axis=2)
    painted = (base + 0.2 * blurred + 0.3 * (guide - guide.mean())).astype(np.float32)
    truth, low = truth.astype(np.float32), low.astype(np.float32)
    cell = Evaluation(
        prediction=painted, truth=as_stack(truth), low=as_stack(low), factor=4,
        degrade=CHAIN.degrade, split=CHAIN.split, guide=GuideImage(guide),
        counts_per_unit=np.full(1, 20.0),
    )  # fmt: skip
    (ceiling,) = detail_ceiling(cell)
    noise = 1 - (ceiling.low + ceiling.high) / 2
    assert 0.1 < noise < 0.9

    def by_noise(share):
        return guide_leakage(painted, truth, low, guide, protocol=CHAIN, noise=share)

    np.testing.assert_allclose(evaluate(cell).values, by_noise(noise), rtol=1e-9)
    for other in (0.0, 0.8 * noise):
        assert abs(float(by_noise(other)[0] - by_noise(noise)[0])) > 1e-6


def test_one_thread_and_two_give_the_same_bytes(phantom, arrays, base):
    from threadpoolctl import threadpool_limits

    painting = adversaries.linear_paint(base[:1], phantom.guide.mean(0), CHAIN.split, 0.3)
    values = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            values.append(
                guide_leakage(
                    painting, arrays[0][:1], arrays[2][:1], phantom.guide, protocol=CHAIN
                ).tobytes()
            )
    assert values[0] == values[1]


def test_the_enlargement_is_torchs_bicubic():
    low = np.random.default_rng(0).random((2, 5, 9))
    for factor in (2, 3, 4):
        peer = torch.nn.functional.interpolate(
            torch.tensor(low)[None], scale_factor=factor, mode="bicubic", align_corners=False
        )[0]
        np.testing.assert_allclose(bicubic(low, factor), peer.numpy(), atol=1e-12)


def test_no_detail_in_the_truth_is_undefined_and_nan_is_not_a_number():
    low = np.ones((1, 3, 4))
    flat = np.ones((1, 12, 16))
    guide = np.random.default_rng(0).random((3, 12, 16))
    assert np.isnan(guide_leakage(flat, flat, low, guide, protocol=CHAIN)).all()
    truth = np.random.default_rng(1).random((1, 12, 16))
    broken = truth.copy()
    broken[0, 1, 1] = np.nan
    assert np.isnan(guide_leakage(broken, truth, low, guide, protocol=CHAIN)).all()
    assert guide_leakage(flat, truth, low, guide, protocol=CHAIN) == 0


def test_a_constant_guide_cannot_leak():
    rng = np.random.default_rng(0)
    truth = rng.random((1, 32, 48))
    values = guide_leakage(
        rng.random((1, 32, 48)), truth, CHAIN.degrade(truth), np.ones((3, 32, 48)), protocol=CHAIN
    )
    np.testing.assert_array_equal(values, 0)


def test_a_guide_of_another_grid_is_refused():
    truth = np.ones((1, 12, 16))
    with pytest.raises(ValueError, match="guide must be"):
        guide_leakage(truth, truth, CHAIN.degrade(truth), np.ones((3, 12, 15)), protocol=CHAIN)


@pytest.mark.parametrize("shape", [(4, 8), (8, 4), (12, 8), (132, 12), (20, 260)])
def test_images_of_any_shape_have_a_value(shape):
    rng = np.random.default_rng(0)
    truth, guide = rng.random((1, *shape)), rng.random((2, *shape))
    low = CHAIN.degrade(truth)
    painted = truth + guide[0] - guide[0].mean()
    value = guide_leakage(painted, truth, low, guide, protocol=CHAIN)
    assert 0 <= float(value[0]) <= 1
