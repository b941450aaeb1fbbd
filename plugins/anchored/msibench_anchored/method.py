"""The method: learns on the training sections, adds detail to replicated pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from msibench import Budget, MSImage, Pair, Problem, Skip
from msibench_anchored.regression import (
    FLAT,
    Floats,
    Maps,
    blocks,
    eight_ways,
    learn,
    neighbourhoods,
    unblocks,
)

SCALE_QUANTILE = 0.999


class AnchoredRegression:
    """Linear maps on neighbourhoods of coarse pixels, learned from other sections."""

    def __init__(self, *, radius: int, anchors: int, ridge: float, samples: int) -> None:
        self.radius, self.anchors, self.ridge, self.samples = radius, anchors, ridge, samples
        self.maps: Maps | None = None

    def fit(self, pairs: Iterable[Pair], *, seed: int, budget: Budget) -> None:
        """Learn from pairs of one factor; every ion image is scaled as `upscale` scales it."""
        held = list(pairs)
        ions = sum(pair.low.channels * pair.low.values[0].size for pair in held)
        keep = 8 if ions * 8 <= self.samples else max(1, int(self.samples // max(ions, 1)))
        centred, means, details = [], [], []
        for pair in held:
            for low, high in zip(pair.low.values, pair.high.values, strict=True):
                scale = scale_of(low)
                if scale <= 0:
                    continue
                fine, coarse = (as_floats(image) / scale for image in (high, low))
                ways = list(zip(eight_ways(coarse), eight_ways(fine), strict=True))
                for turned, truth in ways[:: max(1, 8 // keep)]:
                    around, mean = neighbourhoods(turned, self.radius)
                    parts = blocks(truth, pair.factor)
                    told = around.std(axis=1) > FLAT
                    centred.append(around[told])
                    means.append(mean[told])
                    details.append((parts - parts.mean(axis=1, keepdims=True))[told])
        if sum(map(len, centred)):
            self.maps = learn(
                np.concatenate(centred),
                np.concatenate(means),
                np.concatenate(details),
                anchors=self.anchors,
                ridge=self.ridge,
                seed=seed,
            )

    def learned(self) -> Mapping[str, Floats]:
        """Return the anchors and their maps."""
        if self.maps is None:
            return {}
        return {"anchors": self.maps.anchors, "weights": self.maps.weights}

    def restore(self, learned: Mapping[str, Floats]) -> None:
        """Take them again."""
        if learned:
            self.maps = Maps(learned["anchors"], learned["weights"])

    def upscale(self, problem: Problem) -> NDArray[np.float32] | Skip:
        """Return ``(channel, row*factor, column*factor)``, in the unit of ``problem.low``."""
        if self.maps is None:
            return Skip("it learns from other sections, and this data set has no training split")
        if self.maps.weights.shape[2] != problem.factor**2:
            return Skip(f"it has learned another factor than {problem.factor}")
        fine = np.empty((problem.low.channels, *problem.fine_shape), dtype=np.float32)
        with threadpool_limits(1, "blas"):
            for channel in range(problem.low.channels):
                fine[channel] = self._one(problem.low, channel, problem.factor)
        return fine

    def _one(self, low: MSImage, channel: int, factor: int) -> Floats:
        assert self.maps is not None
        image = as_floats(low.values[channel])
        scale = scale_of(image)
        if scale <= 0:
            return np.zeros((image.shape[0] * factor, image.shape[1] * factor))
        around, mean = neighbourhoods(image / scale, self.radius)
        detail = scale * self.maps.detail(around, mean)
        return np.maximum(unblocks(detail + image.reshape(-1, 1), image.shape, factor), 0.0)


def as_floats(image: NDArray[np.floating]) -> Floats:
    """Return an image in float64, with 0 where nothing was measured."""
    return np.nan_to_num(np.asarray(image, dtype=np.float64))


def scale_of(image: NDArray[np.floating]) -> float:
    """Return the intensity that stands for 1: the 0.999 quantile, or the maximum of a sparse image."""
    finite = np.nan_to_num(image)
    return float(np.quantile(finite, SCALE_QUANTILE)) or float(finite.max(initial=0.0))
