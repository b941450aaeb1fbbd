"""What a low image fixes and what it cannot see, against the dense pseudo-inverse."""

import numpy as np
import pytest

from msibench.degradation import DegradationProtocol, Scaling, protocol, protocol_families
from msibench.degradation.bicubic import Bicubic
from msibench.degradation.binning import AreaMean
from msibench.degradation.counting_noise import CountingNoise
from msibench.degradation.line_projector import UNSEEN_BELOW, LineProjector
from msibench.degradation.psf import GaussianBeam, RoundSpot
from msibench.degradation.resampling import matrix_of
from msibench.errors import ConfigurationError


def named(family, factor):
    return protocol(family.replace("xN", f"x{factor}"))


def made_of(*steps, factor=3):
    return DegradationProtocol(
        name="mine", factor=factor, steps=steps, scaling=Scaling(), quantise8=False, border=0
    )


class EveryOther:
    """A linear step that does not know what it fixes."""

    linear = True

    def definition(self):
        return {"step": "every-other"}

    def apply(self, values, noise):
        return values[:, ::2, ::2]


def dense(chain, shape):
    """The operator as a matrix, ``(coarse pixel, fine pixel)``: one impulse after the other."""
    pixels = shape[0] * shape[1]
    return chain.degrade(np.eye(pixels).reshape(pixels, *shape)).reshape(pixels, -1).T


def images(*shape, seed=0):
    return np.random.default_rng(seed).gamma(0.5, 1.0, shape)


@pytest.mark.parametrize("family", protocol_families())
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
def test_every_family_agrees_with_the_dense_pseudo_inverse(family, factor):
    chain, shape = named(family, factor), (4 * factor, 3 * factor)
    operator = dense(chain, shape)
    fine = images(2, *shape)
    expected = fine.reshape(2, -1) @ np.linalg.pinv(operator) @ operator
    seen, unseen = chain.split(fine)
    np.testing.assert_allclose(seen.reshape(2, -1), expected, atol=1e-13)
    np.testing.assert_allclose(unseen, fine - seen, atol=1e-15)
    low = images(2, 4, 3, seed=1)
    least = low.reshape(2, -1) @ np.linalg.pinv(operator).T
    np.testing.assert_allclose(chain.least_norm(low).reshape(2, -1), least, atol=1e-12)


@pytest.mark.parametrize(
    "step",
    [
        RoundSpot(3, diameter=0.5),
        RoundSpot(3, diameter=1e-3),
        GaussianBeam(3, fwhm=0.4),
        GaussianBeam(3, fwhm=1.6),
        Bicubic(3, edges="symmetric"),
    ],
)
def test_operators_of_other_widths_too(step):
    chain, shape = made_of(step), (12, 15)
    operator = dense(chain, shape)
    fine = images(2, *shape)
    expected = fine.reshape(2, -1) @ np.linalg.pinv(operator) @ operator
    np.testing.assert_allclose(chain.split(fine)[0].reshape(2, -1), expected, atol=1e-11)


@pytest.mark.parametrize("family", protocol_families())
def test_the_two_parts_are_what_they_are_called(family):
    chain = named(family, 4)
    seen, unseen = chain.split(images(3, 20, 36))
    low = chain.degrade(images(3, 20, 36))
    np.testing.assert_allclose(chain.degrade(seen), low, atol=1e-12)
    np.testing.assert_allclose(chain.degrade(unseen), 0, atol=1e-12)
    np.testing.assert_allclose((seen * unseen).sum((1, 2)), 0, atol=1e-10)
    again, nothing = chain.split(seen)
    np.testing.assert_allclose(again, seen, atol=1e-12)
    np.testing.assert_allclose(nothing, 0, atol=1e-12)


def test_the_area_mean_fixes_every_pixel_repeated():
    fine = images(2, 8, 12)
    blocks = np.kron(protocol("area-x4@1").degrade(fine), np.ones((4, 4)))
    np.testing.assert_allclose(protocol("area-x4@1").split(fine)[0], blocks, atol=1e-15)


def test_a_direction_that_hardly_passes_counts_as_unseen():
    beam = GaussianBeam(2, fwhm=2.5)  # so wide that the finest coarse stripes all but vanish
    operator = matrix_of(beam.line(48), 48).toarray()
    _, strength, right = np.linalg.svd(operator, full_matrices=False)
    assert strength[-1] < UNSEEN_BELOW * strength[0] < strength[0]
    kept = right[strength >= UNSEEN_BELOW * strength[0]]
    lines = images(48, 7)
    np.testing.assert_allclose(
        LineProjector(beam.line(48), 48)(lines), kept.T @ kept @ lines, atol=1e-10
    )
    np.testing.assert_allclose(
        LineProjector(beam.line(48), 48).inverse(operator @ lines), kept.T @ kept @ lines, atol=1e-9
    )
    seen, unseen = made_of(beam, factor=2).split(images(1, 48, 48))
    np.testing.assert_allclose((seen * unseen).sum(), 0, atol=1e-9)


def passing(*strengths):
    """The taps of a line of pixels each of which passes by itself, with its strength."""
    return np.arange(len(strengths))[:, None], np.array(strengths)[:, None]


@pytest.mark.parametrize(
    ("strengths", "seen"),
    [
        ((2.0, 2.0, 0.03), (1, 1, 1)),  # 1.5 % of the largest
        ((2.0, 2.0, 0.1), (1, 1, 1)),
        ((2.0, 2.0, 0.01), (1, 1, 0)),  # 0.5 % of the largest
        ((0.01, 2.0, 2.0), (0, 1, 1)),
        ((2.0, 0.01, 0.01), (1, 0, 0)),
        ((0.2, 0.2, 0.001), (1, 1, 0)),
        ((0.05,), (1,)),
    ],
)
def test_a_pixel_is_seen_if_it_passes_with_a_hundredth_of_the_largest_strength(strengths, seen):
    line = LineProjector(passing(*strengths), len(strengths))
    assert (line._basis is None) is (min(seen) == 1)  # else all is solved banded, pixel by pixel
    lines = images(len(strengths), 4) + 1
    kept = np.array(seen)[:, None]
    np.testing.assert_allclose(line(lines), kept * lines)
    np.testing.assert_allclose(line.inverse(lines), kept * lines / np.array(strengths)[:, None])


def test_a_line_whose_directions_all_pass_is_solved_banded():
    for step in (Bicubic(4), GaussianBeam(4)):
        assert LineProjector(step.line(64), 64)._basis is None


def test_any_batch_and_each_image_by_itself():
    chain = protocol("bicubic-x4@1")
    stack = images(2, 3, 16, 24)
    seen, unseen = chain.split(stack)
    assert seen.shape == unseen.shape == stack.shape
    alone, _ = chain.split(stack[1, 2])
    np.testing.assert_array_equal(alone, seen[1, 2])


@pytest.mark.parametrize("family", ["area-x4@1", "gaussian-x4@1", "spot-x4@1"])
def test_a_pixel_that_was_not_measured_spoils_its_own_image_only(family):
    stack = images(3, 16, 24)
    whole = protocol(family).split(stack)
    stack[1, 3, 5] = np.nan
    for part, other in zip(protocol(family).split(stack), whole, strict=True):
        assert np.isnan(part[1]).all()
        np.testing.assert_array_equal(part[[0, 2]], other[[0, 2]])


def test_one_thread_and_two_give_the_same_bytes():
    from threadpoolctl import threadpool_limits

    parts = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            parts.append(protocol("gaussian-x4@1").split(images(2, 128, 160))[0].tobytes())
    assert parts[0] == parts[1]


def test_what_the_split_leaves_out_is_said():
    assert protocol("area-x4@1").split_note == ""
    assert "counting-noise" in protocol("area-poisson-x4@1").split_note
    assert "line-dropout" in protocol("area-dropout-x4@1").split_note
    assert "8 bits" in protocol("matlab8-x4@1").split_note
    assert "normalisation" in protocol("area-tic-x4@1").split_note


def test_what_cannot_be_split_is_refused():
    with pytest.raises(ConfigurationError, match="whole blocks of 4 x 4"):
        protocol("bicubic-x4@1").split(images(2, 16, 23))
    with pytest.raises(ConfigurationError, match="whole blocks of 4 x 4"):
        protocol("bicubic-x4@1").split(images(2, 15, 24))
    with pytest.raises(ConfigurationError, match=r"spots of 1\.5 coarse pixels overlap"):
        made_of(RoundSpot(3, diameter=1.5)).split(images(2, 12, 12))
    with pytest.raises(
        ConfigurationError, match=r"expected one linear step .*, got area-mean, area-mean"
    ):
        made_of(AreaMean(3), AreaMean(1)).split(images(2, 12, 12))
    with pytest.raises(ConfigurationError, match=r"expected one linear step .*, got none"):
        made_of(CountingNoise(9.0)).split(images(2, 12, 12))
    with pytest.raises(ConfigurationError, match=r"expected one linear step .*, got every-other"):
        made_of(EveryOther(), factor=2).split(images(2, 12, 12))
    with pytest.raises(ConfigurationError, match="expected images"):
        protocol("area-x4@1").split(np.zeros(16))
