"""Anchored regression: the contract, and what it must learn."""

import dataclasses

import numpy as np
import pytest

from msibench import Budget, MSImage, Pair, Problem, Skip
from msibench.testing import MethodContract
from msibench_anchored import SPEC
from msibench_anchored.config import DEFAULTS
from msibench_anchored.method import AnchoredRegression
from msibench_anchored.regression import blocks, unblocks

QUICK = {**DEFAULTS, "anchors": 8, "samples": 50_000}


class TestAnchoredRegression(MethodContract):
    spec = SPEC
    config = QUICK


def section(seed, factor=4, shape=(20, 24)):
    """Edges of one kind: a coarse pixel tells where inside of it the edge runs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0] * factor, : shape[1] * factor]
    fine = np.zeros((2, *y.shape))
    for image in fine:
        for _ in range(6):
            (a, b), c = rng.normal(size=2), rng.uniform(20, 60)
            image += rng.uniform(0.1, 1) / (
                1 + np.exp(-np.clip((a * y + b * x - c) / 0.1, -50, 50))
            )
    low = fine.reshape(2, shape[0], factor, shape[1], factor).mean((2, 4))
    mz = np.array([400.0, 500.0])
    return Pair(
        low=MSImage(low.astype(np.float32), mz),
        high=MSImage(fine.astype(np.float32), mz),
        factor=factor,
        section=f"s{seed}",
    )


def fitted(sections=3, **changes):
    method = AnchoredRegression(**{**QUICK, **changes})
    method.fit([section(100 + seed) for seed in range(sections)], seed=0, budget=Budget())
    return method


def squared_error(fine, pair):
    return float(((fine - pair.high.values) ** 2).mean())


def test_it_learns_what_is_inside_a_coarse_pixel():
    from scipy.ndimage import zoom

    pair = section(11)
    problem = Problem(low=pair.low, factor=4)
    cubic = [zoom(image, 4, order=3, grid_mode=True, mode="nearest") for image in pair.low.values]
    assert squared_error(fitted(12, anchors=32).upscale(problem), pair) < 0.9 * squared_error(
        cubic, pair
    )


def test_every_coarse_pixel_is_kept():
    pair = section(12)
    bright = dataclasses.replace(pair.low, values=pair.low.values + 5)
    fine = fitted().upscale(Problem(low=bright, factor=4))
    means = fine.astype(np.float64).reshape(2, 20, 4, 24, 4).mean((2, 4))
    np.testing.assert_allclose(means, bright.values, rtol=1e-5)


def test_twice_the_intensity_gives_twice_the_image():
    pair, method = section(13), fitted()
    once = method.upscale(Problem(low=pair.low, factor=4))
    double = dataclasses.replace(pair.low, values=2 * pair.low.values)
    np.testing.assert_allclose(method.upscale(Problem(low=double, factor=4)), 2 * once, rtol=1e-5)


def test_without_training_sections_it_declines():
    method = AnchoredRegression(**QUICK)
    answer = method.upscale(Problem(low=section(1).low, factor=4))
    assert isinstance(answer, Skip)
    assert "training split" in answer.reason
    other = fitted().upscale(Problem(low=section(1).low, factor=2))
    assert "another factor" in other.reason


@pytest.mark.parametrize("factor", [2, 3])
def test_blocks_go_back_to_their_place(factor):
    fine = np.random.default_rng(0).random((4 * factor, 5 * factor))
    np.testing.assert_array_equal(unblocks(blocks(fine, factor), (4, 5), factor), fine)


def test_one_thread_and_two_give_the_same_bytes():
    from threadpoolctl import threadpool_limits

    problem = Problem(low=section(5).low, factor=4)
    given = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            given.append(fitted().upscale(problem).tobytes())
    assert given[0] == given[1]
