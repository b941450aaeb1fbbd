import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from msibench import GuideImage, MSImage, Problem, Skip
from msibench.training.ions import (
    bilinear_weights,
    ion_identities,
    magnify,
    network_guide,
    reason_to_skip,
    scale_ions,
)


def ions(values):
    values = np.asarray(values, np.float32)
    return MSImage(values, np.arange(values.shape[0]) + 100.0)


@given(
    rows=st.integers(1, 7),
    columns=st.integers(1, 6),
    factor=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_magnification_is_bilinear_interpolation_on_pixel_centres(rows, columns, factor, seed):
    values = np.random.default_rng(seed).random((2, rows, columns), np.float32)
    scaled = scale_ions(ions(values))

    fine, weight = magnify(
        scaled, slice(0, 2), factor, range(rows * factor), range(columns * factor)
    )

    expected = F.interpolate(
        torch.from_numpy(scaled.values)[None], scale_factor=factor, mode="bilinear"
    )[0].numpy()
    np.testing.assert_allclose(fine, expected, atol=1e-5)
    assert (weight == 1).all()


def test_a_rectangle_is_cut_out_of_the_whole():
    scaled = scale_ions(ions(np.random.default_rng(0).random((3, 9, 7))))
    whole, _ = magnify(scaled, slice(0, 3), 4, range(36), range(28))

    part, _ = magnify(scaled, 1, 4, range(5, 23), range(20, 28))

    np.testing.assert_array_equal(part[0], whole[1, 5:23, 20:28])


def test_unknown_pixels_take_no_part_in_magnification():
    values = np.full((1, 4, 5), 6.0)
    values[0, :, 3:] = np.nan
    fine, weight = magnify(scale_ions(ions(values)), 0, 3, range(12), range(15))

    np.testing.assert_allclose(fine[0, :, :9], 1, rtol=1e-6)
    assert weight[0, :, :9].all()
    assert not weight[0, :, 11:].any()


def test_scaling_comes_back_to_the_unit_of_the_input():
    values = np.random.default_rng(0).random((2, 4, 3)).astype(np.float32) * [[[7]], [[3000]]]
    low = ions(values)
    scaled = scale_ions(low)

    assert scaled.values.max(axis=(1, 2)).tolist() == [1, 1]
    np.testing.assert_allclose(scaled.restore(scaled.values), low.values, rtol=1e-6)


def test_what_holds_no_signal_is_named_and_comes_back_as_zero():
    values = np.stack([np.zeros((3, 4)), np.full((3, 4), np.nan), np.full((3, 4), 5.0)])
    scaled = scale_ions(ions(values))

    assert scaled.with_signal == (2,)
    restored = scaled.restore(np.full((3, 6, 8), np.nan, np.float32))
    assert (restored == 0).all()


def test_predictions_come_back_finite_and_never_negative():
    scaled = scale_ions(ions(np.full((1, 2, 2), 4.0)))
    restored = scaled.restore(np.array([[[-1, np.nan], [np.inf, 0.5]]], np.float32))
    np.testing.assert_array_equal(restored, [[[0, 0], [4, 2]]])


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(1, (0, 0, 0)), (2, (0, 1, 1)), (3, (0, 1, 2)), (4, (0, 1, 2)), (6, (0, 1, 2))],
)
def test_a_guide_of_any_channel_count_becomes_three(channels, expected):
    values = np.random.default_rng(0).random((channels, 4, 3), np.float32)

    result = network_guide(GuideImage(values))

    np.testing.assert_array_equal(result, values[list(expected)])


def test_a_guide_that_was_never_scaled_is_scaled_and_holes_become_zero():
    values = np.array([[[0, 65535], [np.nan, 32767.5]]], np.float32)
    result = network_guide(GuideImage(values), None)
    np.testing.assert_allclose(result, [[[0, 1], [0, 0.5]]])


def test_reasons_to_skip_are_said():
    low = ions(np.ones((1, 2, 3)))
    guide = GuideImage(np.zeros((3, 4, 6)))
    empty = MSImage(low.values, low.mz, mask=np.zeros((2, 3), bool))

    assert "needs a guide" in reason_to_skip(Problem(low=low, factor=2)).reason
    assert isinstance(reason_to_skip(Problem(low=empty, factor=2, guide=guide)), Skip)
    assert reason_to_skip(Problem(low=low, factor=2, guide=guide)) is None


def test_weights_of_a_single_coarse_pixel_are_one():
    weights, where = bilinear_weights(range(3), 1, 3)
    np.testing.assert_array_equal(weights, np.ones((3, 1)))
    assert where == slice(0, 1)


def test_an_ion_keeps_its_identity_wherever_it_stands_in_the_stack():
    low = MSImage(np.zeros((4, 2, 3)), [798.54, 741.53, np.nan, np.nan])
    first, second, *rest = ion_identities(low)
    assert ion_identities(low.select([1, 0, 2])) == (second, first, 0)
    assert first != second
    assert rest == [0, 0]
