"""Neighbourhoods of coarse pixels, their anchors, and one linear map an anchor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float64]

FLAT = 1e-6
"""Neighbourhoods whose standard deviation is below this share of the scale teach nothing."""
CONTRAST_WEIGHT = 0.5
"""Of the logarithms of contrast and brightness beside the shape, a vector of length one."""
FLOOR = 1e-3
"""Contrast, and ten times it brightness, below which all are alike; 1 is the image's scale."""
ROUNDS = 30


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """What was learned: anchors, and the linear map of each."""

    anchors: Floats
    """``(anchor, feature)``."""
    weights: Floats
    """``(anchor, neighbour, fine pixel)``; the sum over fine pixels is 0."""

    def detail(self, centred: Floats, mean: Floats) -> Floats:
        """Return the detail inside each coarse pixel, ``(coarse pixel, fine pixel)``."""
        found = np.zeros((len(centred), self.weights.shape[2]))
        nearest = nearest_anchor(features(centred, mean), self.anchors)
        for anchor in np.unique(nearest):
            chosen = nearest == anchor
            found[chosen] = centred[chosen] @ self.weights[anchor]
        return found


def neighbourhoods(low: Floats, radius: int) -> tuple[Floats, Floats]:
    """Return every coarse pixel's neighbourhood without its mean ``(pixel, neighbour)``, and the mean."""
    inner = min(low.shape) > radius
    around = np.pad(low, radius, mode="reflect" if inner else "edge")
    side = 2 * radius + 1
    windows = sliding_window_view(around, (side, side)).reshape(low.size, side * side)
    mean = windows.mean(axis=1)
    return windows - mean[:, None], mean


def features(centred: Floats, mean: Floats) -> Floats:
    """Return what anchors are compared by: shape, contrast and brightness, ``(pixel, feature)``."""
    contrast = np.linalg.norm(centred, axis=1, keepdims=True)
    shape = centred / np.maximum(contrast, 1e-12)
    level = np.log(np.maximum(mean[:, None], 0) + 10 * FLOOR)
    return np.hstack([shape, CONTRAST_WEIGHT * np.log(contrast + FLOOR), CONTRAST_WEIGHT * level])


def nearest_anchor(points: Floats, anchors: Floats) -> NDArray[np.intp]:
    """Return the number of the anchor nearest to each point."""
    length = (anchors**2).sum(axis=1)
    nearest = np.empty(len(points), dtype=np.intp)
    for first in range(0, len(points), 1 << 16):
        part = points[first : first + (1 << 16)]
        nearest[first : first + len(part)] = (length - 2 * part @ anchors.T).argmin(axis=1)
    return nearest


def blocks(fine: Floats, factor: int) -> Floats:
    """Return the fine pixels of every coarse one, ``(coarse pixel, fine pixel)``."""
    rows, columns = (side // factor for side in fine.shape)
    parts = fine.reshape(rows, factor, columns, factor).transpose(0, 2, 1, 3)
    return parts.reshape(rows * columns, factor * factor)


def unblocks(parts: Floats, shape: tuple[int, int], factor: int) -> Floats:
    """Put the fine pixels of every coarse one back in their place."""
    rows, columns = shape
    grid = parts.reshape(rows, columns, factor, factor).transpose(0, 2, 1, 3)
    return grid.reshape(rows * factor, columns * factor)


def eight_ways(image: Floats) -> Iterator[Floats]:
    """Yield an image turned and mirrored."""
    for turns in range(4):
        turned = np.rot90(image, turns, axes=(-2, -1))
        yield turned
        yield turned[..., ::-1]


def learn(
    centred: Floats, mean: Floats, detail: Floats, anchors: int, ridge: float, seed: int
) -> Maps:
    """Sort neighbourhoods to anchors, and fit the map of each by ridge regression.

    Parameters
    ----------
    centred, mean
        Of `neighbourhoods`.
    detail
        True fine pixels less their mean, ``(coarse pixel, fine pixel)``.
    anchors, ridge, seed
        How many; the penalty in units of the neighbours' mean power; and where k-means begins.
    """
    from sklearn.cluster import MiniBatchKMeans

    points = features(centred, mean)
    count = min(anchors, len(points))
    with threadpool_limits(1):  # sums in one order: the same bytes on any number of threads
        means = MiniBatchKMeans(
            count, random_state=seed, batch_size=4096, n_init=1, max_iter=ROUNDS
        ).fit(points)
        centres = np.asarray(means.cluster_centers_, dtype=np.float64)
        nearest = nearest_anchor(points, centres)
        weights = np.zeros((count, centred.shape[1], detail.shape[1]))
        for anchor in range(count):
            chosen = nearest == anchor
            if not chosen.any():
                continue
            given, wanted = centred[chosen], detail[chosen]
            power = given.T @ given
            penalty = ridge * np.trace(power) / len(power)
            weights[anchor] = np.linalg.solve(
                power + penalty * np.eye(len(power)), given.T @ wanted
            )
    return Maps(centres, weights - weights.mean(axis=2, keepdims=True))
