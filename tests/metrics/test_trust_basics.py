"""Consistency, conservation, off-tissue share: measures that need no truth."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from msibench.contracts.metric import CalibratedInterval, Evaluation, ToldInterval
from msibench.degradation import protocol
from msibench.image import GuideImage, as_stack
from msibench.metrics import conservation, consistency, edge_perceptual_loss, off_tissue
from msibench.metrics import consistency as consistency_value
from msibench.metrics.arrays import factor_between
from msibench.metrics.detail_specs import NO_SPLIT
from msibench.metrics.specs import builtin_metrics
from msibench.plugin_manager import resolve_target


def mean3(fine):
    channels, rows, columns = fine.shape
    return fine.reshape(channels, rows // 3, 3, columns // 3, 3).mean((2, 4))


def section(channels=2, rows=9, columns=15, seed=0):
    return np.random.default_rng(seed).random((channels, rows, columns))


def evaluation(prediction, truth, **facts):
    return Evaluation(
        prediction=np.asarray(prediction, np.float32),
        truth=truth,
        low=as_stack(mean3(truth.values)),
        factor=3,
        degrade=mean3,
        split=protocol("area-x3@1").split,
        **facts,
    )


def test_what_degrades_to_the_low_image_is_consistent_whatever_its_detail():
    truth = section()
    low = mean3(truth)
    detail = np.random.default_rng(1).standard_normal(truth.shape)
    detail -= np.kron(mean3(detail), np.ones((3, 3)))
    np.testing.assert_allclose(consistency(truth + detail, low, degrade=mean3), 0, atol=1e-6)


def test_a_relative_error_is_relative():
    low = mean3(section())
    twice = np.kron(2 * low, np.ones((3, 3)))
    np.testing.assert_allclose(consistency(twice, low, degrade=mean3), 1, rtol=1e-5)


def test_the_noise_free_signal_is_about_one_sigma_from_what_was_counted():
    signal = np.full((3, 120, 90), 0.5) * np.array([1, 2, 4])[:, None, None]
    ions = np.array([50.0, 20.0, 100.0])
    counted = np.random.default_rng(3).poisson(signal * ions[:, None, None]) / ions[:, None, None]
    values = consistency(signal, mean3(counted), degrade=mean3, counts=ions)
    np.testing.assert_allclose(values, 1, atol=0.06)
    assert (consistency(1.2 * signal, mean3(counted), degrade=mean3, counts=ions) > 1.3).all()


def test_an_empty_low_image_is_undefined_and_says_so():
    truth = section()
    truth[1] = 0
    scored = resolve_target("msibench.metrics.consistency:evaluate")(
        evaluation(truth, as_stack(truth))
    )
    assert scored.values[0] == pytest.approx(0, abs=1e-6)
    assert np.isnan(scored.values[1])
    assert scored.reasons[0] == ""
    assert "low image is zero" in scored.reasons[1]


def test_a_tensor_gives_a_tensor_and_a_single_image_a_number():
    truth = section()
    values = conservation(torch.tensor(truth), torch.tensor(mean3(truth)))
    assert isinstance(values, torch.Tensor)
    np.testing.assert_allclose(values.numpy(), 1)
    assert conservation(truth[0], mean3(truth)[0]).shape == ()


@given(st.floats(0.1, 10))
def test_conservation_is_the_gain(gain):
    truth = section()
    np.testing.assert_allclose(conservation(gain * truth, mean3(truth)), gain, rtol=1e-9)


def test_conservation_of_nothing_is_undefined():
    assert np.isnan(conservation(section(), np.zeros((2, 3, 5)))).all()


def test_grids_that_do_not_nest_are_refused():
    with pytest.raises(ValueError, match="whole multiple of the coarse grid"):
        conservation(section(), np.zeros((2, 4, 5)))


def test_off_tissue_is_the_share_outside_the_mask():
    image = np.zeros((1, 4, 5))
    image[0, 0, :2] = [3.0, -1.0]
    mask = np.zeros((4, 5), bool)
    mask[0, 0] = True
    np.testing.assert_allclose(off_tissue(image, mask), 0.25)
    assert off_tissue(np.ones((4, 5)), np.ones((4, 5), bool)) == 0
    assert np.isnan(off_tissue(np.zeros((4, 5)), mask))
    with pytest.raises(ValueError, match="mask must be bool"):
        off_tissue(image, mask[:2])


def test_where_every_pixel_is_tissue_nothing_is_off_it():
    truth = section()
    whole = as_stack(truth, mask=np.ones((9, 15), bool))
    scored = resolve_target("msibench.metrics.off_tissue:evaluate")(evaluation(truth, whole))
    assert np.isnan(scored.values).all()
    assert set(scored.reasons) == {"every pixel counts as tissue: nothing lies off it"}


def test_off_tissue_shows_the_truths_own_share_beside():
    truth = section()
    mask = np.zeros((9, 15), bool)
    mask[3:6] = True
    scored = resolve_target("msibench.metrics.off_tissue:evaluate")(
        evaluation(truth * 2, as_stack(truth, mask=mask))
    )
    np.testing.assert_allclose(scored.values, scored.curves["truth"], rtol=1e-6)


def test_nan_pixels_are_a_reason_not_a_number():
    truth = section()
    broken = truth.copy()
    broken[0, 2, 2] = np.nan
    for name in ("consistency", "conservation"):
        scored = resolve_target(f"msibench.metrics.{name}:evaluate")(
            evaluation(broken, as_stack(truth))
        )
        assert np.isnan(scored.values[0])
        assert scored.reasons == ("a pixel is NaN or infinite", "")


def no_reach(values):
    """An interval of no width at any level."""
    levels = np.arange(50, 100) / 100
    nothing = np.zeros(values.shape, np.float32)
    return CalibratedInterval(
        reach=nothing, signal=nothing, quantiles=np.ones((len(values), 50)), levels=levels,
        up=np.ones(len(values)), floor=-np.inf, calibrated="here",
    )  # fmt: skip


@pytest.mark.parametrize(
    "spec", [s for s in builtin_metrics() if s.kind == "contextual"], ids=lambda s: s.name
)
def test_every_measure_of_trust_scores_the_truth_itself(spec):
    from msibench.image import GuideImage

    truth = section(3, 12, 18)
    truth[:, 4:6, 5:8] += 3  # detail that stands out of the noise
    truth[:, -1] = 0  # off the tissue there is nothing
    stack = as_stack(truth, pixel_size_um=10.0, mask=np.indices((12, 18))[0] < 11)
    scored = resolve_target(spec.target)(
        evaluation(
            truth,
            stack,
            guide=GuideImage(section(3, 12, 18, seed=5).astype(np.float32)),
            counts_per_unit=np.full(3, 100.0),
            uncharted=section(1, 12, 18, seed=7)[0].astype(np.float32),
            interval=ToldInterval(lower=stack.values, upper=stack.values, level=0.9),
            calibrated=no_reach(stack.values),
            noise_free=stack.values if "signal" in spec.name else None,
        ),
        **spec.params,
    )
    assert len(scored.values) == len(scored.reasons) == (1 if spec.regions == ("section",) else 3)
    assert np.isfinite(scored.values).all()
    assert not any(scored.reasons)
    best = {"lower": 0.0, "one": 1.0}.get(spec.direction)
    off = {"frc", "shift", "edge_perceptual_loss_to_guide"}
    off |= {f"{whose}_calibration_error" for whose in ("interval", "calibrated")}  # held too often
    if best is not None and spec.name not in off:
        np.testing.assert_allclose(scored.values, best, atol=1e-4)


@pytest.mark.parametrize(
    "spec", [s for s in builtin_metrics() if NO_SPLIT in s.undefined], ids=lambda s: s.name
)
def test_without_a_split_every_measure_that_needs_one_says_so(spec):
    truth = section(2)
    asked = evaluation(truth, as_stack(truth, pixel_size_um=10.0))
    scored = resolve_target(spec.target)(replace(asked, split=None), **spec.params)
    assert scored.reasons == (NO_SPLIT, NO_SPLIT)
    assert np.isnan(scored.values).all()
    assert len(scored.values) == 2


def test_consistency_counts_in_noise_only_where_it_is_asked_to():
    truth = section()
    asked = evaluation(0.9 * truth, as_stack(truth), counts_per_unit=np.array([5.0, 50.0]))
    score = resolve_target("msibench.metrics.consistency:evaluate")
    low, prediction = asked.low.values, asked.prediction
    relative = consistency(prediction, low, degrade=mean3)
    counted = consistency(prediction, low, degrade=mean3, counts=[5.0, 50.0])
    np.testing.assert_array_equal(score(asked).values, relative)
    np.testing.assert_array_equal(score(asked, noise_units=True).values, counted)
    assert (relative != counted).all()


@pytest.mark.parametrize("size", [1e-3, 1.0])
def test_an_image_of_nothing_says_so_and_a_faint_one_has_a_value(size):
    truth = size * section()
    truth[1] = 0
    tissue = np.zeros((9, 15), bool)
    tissue[2:] = True
    asked = evaluation(truth, as_stack(truth, mask=tissue))
    for name, reason in (
        ("conservation", "the low image holds no intensity"),
        ("off_tissue", "the prediction is zero everywhere"),
        ("consistency", "the low image is zero: there is nothing to be consistent with"),
    ):
        scored = resolve_target(f"msibench.metrics.{name}:evaluate")(asked)
        assert scored.reasons == ("", reason)
        assert list(np.isnan(scored.values)) == [False, True]
    score = resolve_target("msibench.metrics.off_tissue:evaluate")
    for bare in (replace(asked, truth=None), replace(asked, truth=as_stack(truth))):
        scored = score(bare)
        assert scored.reasons == ("no tissue mask is on record",) * 2
        assert np.isnan(scored.values).all()


def test_the_plain_function_keeps_its_name_in_the_package():
    assert consistency_value is consistency


def test_the_edge_loss_to_the_guide_rewards_the_guide_whatever_the_truth_is():
    truth = as_stack(section(channels=2))
    colours = np.random.default_rng(9).random((3, 9, 15)).astype(np.float32)
    grey = np.tensordot((0.299, 0.587, 0.114), colours, 1)
    score = resolve_target("msibench.metrics.edge_perceptual_loss:evaluate_to_guide")
    guided = {"guide": GuideImage(colours)}

    painted = score(evaluation(np.stack([grey, grey + 0.3]), truth, **guided))
    np.testing.assert_allclose(painted.values, 0, atol=1e-10)
    right = score(evaluation(truth.values, truth, **guided))
    expected = edge_perceptual_loss(truth.values, np.stack([grey, grey]))
    np.testing.assert_allclose(right.values, expected, rtol=1e-6)
    assert right.values.min() > 0.1
    assert not any(right.reasons)


@pytest.mark.parametrize(
    ("fine", "low", "factor"),
    [((2, 6, 9), (2, 2, 3), 3), ((6, 9), (6, 9), 1), ((6, 9), (6, 3), 0), ((6, 9), (4, 6), 0),
     ((2, 6, 9), (1, 2, 3), 0), ((2, 3), (6, 9), 0), ((6, 9), (0, 0), 0)],
)  # fmt: skip
def test_a_fine_grid_is_a_whole_multiple_of_the_coarse_one(fine, low, factor):
    if factor:
        assert factor_between(np.zeros(fine), np.zeros(low)) == factor
    else:
        with pytest.raises(ValueError, match="whole multiple of the coarse grid"):
            factor_between(np.zeros(fine), np.zeros(low))
