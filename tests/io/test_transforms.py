"""Recorded intensity transforms: what they compute, and the order that they keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from msibench.errors import ConfigurationError, MissingDataError
from msibench.image import as_stack
from msibench.io.transforms import (
    clip_hotspots,
    logarithm,
    normalise,
    spectrum_norm,
    square_root,
)

SHAPE = (5, 7)
IMAGES = arrays(np.float32, (2, *SHAPE), elements=st.floats(0, 1e4, width=32))


def stack(seed=0):
    return as_stack(np.random.default_rng(seed).gamma(1.0, 10.0, (2, *SHAPE)), [100.0, 200.0])


@given(IMAGES, st.integers(0, 99))
def test_normalising_divides_by_the_norm_up_to_one_factor(values, seed):
    tic = np.random.default_rng(seed).uniform(0.5, 20, SHAPE)
    image, steps = normalise(as_stack(values), "tic", tic)
    np.testing.assert_allclose(image.values, values / tic * np.median(tic), 1e-5, atol=1e-40)
    assert steps[0].definition() == {"step": "normalise", "kind": "tic", "level": np.median(tic)}


def test_twice_the_laser_power_leaves_the_normalised_image_alone():
    image, tic = stack(), np.random.default_rng(1).uniform(1, 3, SHAPE)
    power = np.where(np.arange(7) > 3, 2.0, 1.0)[None, :]
    bright = as_stack(image.values * power, image.mz)
    first = normalise(image, "tic", tic).image.values / np.median(tic)
    second = normalise(bright, "tic", tic * power).image.values / np.median(tic * power)
    np.testing.assert_allclose(first, second, rtol=1e-5)


def test_a_missing_norm_is_an_error_and_not_the_raw_image():
    with pytest.raises(MissingDataError, match="tic normalisation needs the tic"):
        normalise(stack(), "tic", None)


@pytest.mark.parametrize("before", [clip_hotspots, square_root, logarithm])
def test_normalising_after_another_step_is_refused(before):
    with pytest.raises(ConfigurationError, match="normalise first"):
        normalise(before(stack()), "tic", np.ones(SHAPE))


def test_normalising_twice_or_after_scaling_is_refused():
    once = normalise(stack(), "rms", np.ones(SHAPE))
    with pytest.raises(ConfigurationError, match="after normalise"):
        normalise(once, "tic", np.ones(SHAPE))
    scaled = as_stack(stack().values / 100, unit="scaled")
    with pytest.raises(ConfigurationError, match="scaling"):
        normalise(scaled, "tic", np.ones(SHAPE))


def test_clipping_after_a_root_is_refused_and_a_whole_chain_is_recorded():
    with pytest.raises(ConfigurationError, match="clip cannot follow sqrt"):
        clip_hotspots(square_root(stack()))
    chain = logarithm(clip_hotspots(normalise(stack(), "median", np.ones(SHAPE)), 0.9), offset=2)
    assert [step.name for step in chain.steps] == ["normalise", "clip", "log"]
    assert len(dict(chain.steps[1].parameters)["limits"]) == 2


def test_pixels_without_a_norm_become_zero():
    tic = np.ones(SHAPE)
    tic[0, 0], tic[0, 1] = 0, np.nan
    image = normalise(stack(), "tic", tic).image
    assert not image.values[:, 0, :2].any()
    np.testing.assert_allclose(image.values[:, 1:], stack().values[:, 1:])


@pytest.mark.parametrize(
    "norm", [np.ones((7, 5)), -np.ones(SHAPE), np.full(SHAPE, np.inf), np.zeros(SHAPE)]
)
def test_a_norm_that_cannot_be_one_is_refused(norm):
    with pytest.raises(ConfigurationError):
        normalise(stack(), "tic", norm)


def test_the_hot_spot_quantile_leaves_zeros_and_dim_pixels_out():
    values = np.zeros((1, 20, 20), np.float32)
    values[0, 0, :10] = np.arange(1, 11)
    values[0, 1, :5] = 0.01  # below 10/256
    image, steps = clip_hotspots(as_stack(values), 0.9)
    limit = np.quantile(np.arange(1.0, 11.0), 0.9)
    assert dict(steps[0].parameters)["limits"] == pytest.approx((limit,))
    assert image.values.max() == pytest.approx(limit)
    np.testing.assert_array_equal(image.values[0, 1:], values[0, 1:])


@given(IMAGES)
def test_clipping_never_raises_an_intensity_and_leaves_the_input_alone(values):
    before = values.copy()
    image = clip_hotspots(as_stack(values)).image
    assert (image.values <= values).all()
    np.testing.assert_array_equal(values, before)


@given(IMAGES)
def test_root_and_logarithm_can_be_undone(values):
    root = square_root(as_stack(values)).image.values.astype(float)
    np.testing.assert_allclose(root**2, values, rtol=1e-5, atol=1e-30)
    log = logarithm(as_stack(values), offset=3).image.values.astype(float)
    np.testing.assert_allclose(3 * np.expm1(log), values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("step", [square_root, logarithm])
def test_negative_intensities_are_refused_where_they_have_no_root(step):
    with pytest.raises(ConfigurationError, match="never negative"):
        step(as_stack(np.full((1, 2, 3), -1.0)))


def test_the_norms_of_a_spectrum_are_those_of_their_names():
    peaks = [0.0, 3.0, 4.0, 5.0]
    assert spectrum_norm(peaks, "tic") == 12
    assert spectrum_norm(peaks, "rms") == pytest.approx(np.sqrt(50 / 4))
    assert spectrum_norm(peaks, "median") == 4
    assert [spectrum_norm([], kind) for kind in ("tic", "rms", "median")] == [0, 0, 0]
    with pytest.raises(ConfigurationError, match="tic, rms, median"):
        spectrum_norm(peaks, "tci")


@pytest.mark.parametrize("quantile", [0, -1, 1.5, float("nan")])
def test_a_quantile_outside_its_range_is_refused(quantile):
    with pytest.raises(ConfigurationError, match="quantile"):
        clip_hotspots(stack(), quantile)


def test_the_level_of_a_normalisation_is_that_of_the_tissue():
    tic = np.arange(1.0, 36.0).reshape(SHAPE)
    mask = np.zeros(SHAPE, bool)
    mask[0, :3] = True  # norms 1, 2, 3
    image = as_stack(stack().values, mask=mask)
    assert dict(normalise(image, "tic", tic).steps[0].parameters)["level"] == 2.0
    assert dict(normalise(image, "tic", np.where(tic == 1, 0, tic)).steps[0].parameters)[
        "level"
    ] == pytest.approx(2.5)
    with pytest.raises(ConfigurationError, match="zero in every tissue pixel"):
        normalise(image, "tic", np.where(mask, 0.0, tic))


def test_the_limit_of_a_clip_is_over_pixels_above_a_256th_of_the_largest():
    values = np.array([[[256.0, 1.0, 1.001, 100.0, np.nan]]])
    _, steps = clip_hotspots(as_stack(values), 0.5)
    assert dict(steps[0].parameters)["limits"] == pytest.approx((100.0,))
    whole, _ = clip_hotspots(as_stack(values), 1)
    np.testing.assert_array_equal(whole.values, as_stack(values).values)
    empty, steps = clip_hotspots(as_stack(np.zeros((1, 2, 3))))
    assert dict(steps[0].parameters) == {"quantile": 0.99, "limits": (0.0,)}
    assert not empty.values.any()


@pytest.mark.parametrize("offset", [0, -1.0, np.inf, np.nan])
def test_a_logarithm_needs_a_positive_offset_and_is_one_plus_the_ratio(offset):
    image = as_stack(np.array([[[0.0, 1.0, 3.0]]]))
    np.testing.assert_allclose(logarithm(image).image.values, np.log([[[1.0, 2.0, 4.0]]]))
    np.testing.assert_allclose(logarithm(image, 2.0).image.values, np.log([[[1, 1.5, 2.5]]]))
    assert logarithm(image).image.unit == "arbitrary"
    with pytest.raises(ConfigurationError, match="offset must be a positive intensity"):
        logarithm(image, offset)
