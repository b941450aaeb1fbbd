"""Edge-preserving filters that take the edges from the guide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from msibench import Problem, Skip
from msibench.errors import ConfigurationError
from msibench.training.ions import bilinear_weights
from msibench_baselines.section import Section

Floats = NDArray[np.float64]


class GuidedFilter:
    """In every window of coarse pixels, each ion image is a linear function of the guide's channels.

    The function is fitted at the coarse grid against the guide's area means, averaged over the windows
    that hold a pixel, magnified bilinearly and applied to the fine guide (He and Sun 2015).

    Parameters
    ----------
    radius
        Of the square windows, in coarse pixels.
    epsilon
        Penalty on the slopes, for a guide in [0, 1].
    """

    def __init__(self, *, radius: int, epsilon: float) -> None:
        if radius < 1 or epsilon <= 0:
            raise ConfigurationError(
                f"radius must be at least 1 and epsilon positive, got {radius} and {epsilon}"
            )
        self.radius, self.epsilon = radius, epsilon

    def upscale(self, problem: Problem) -> NDArray[np.float32] | Skip:
        """Return ``(channel, row*factor, column*factor)`` in the unit of ``problem.low``."""
        section = Section.of(problem)
        if isinstance(section, Skip):
            return section
        guide = section.to_coarse(section.guide)
        rows, columns = (
            bilinear_weights(range(size * section.factor), size, section.factor)[0]
            for size in section.shape
        )
        painted = np.zeros((problem.low.channels, *problem.fine_shape), dtype=np.float32)
        for members, pixels in section.patterns():
            count = self._window(pixels.astype(np.float64))
            slopes_of = self._slopes_of(guide, pixels, count)
            # Windows without a measured pixel know nothing and are left out of the average.
            windows = np.maximum(self._window((count > 1e-9).astype(np.float64)), 1e-9)
            for ion in members:
                slopes, offset = slopes_of(section.ions.values[ion].astype(np.float64))
                fields = np.stack([self._window(field) for field in (*slopes, offset)]) / windows
                fine = rows @ fields @ columns.T
                painted[ion] = (fine[:-1] * section.guide).sum(0) + fine[-1]
        return section.restore(painted)

    def _window(self, image: Floats) -> Floats:
        """Return the sum over each window (as a mean: the constant factor cancels)."""
        return np.asarray(ndimage.uniform_filter(image, 2 * self.radius + 1, mode="constant"))

    def _slopes_of(
        self, guide: Floats, pixels: NDArray[np.bool_], count: Floats
    ) -> Callable[[Floats], tuple[Floats, Floats]]:
        """Return a function of one ion image that gives slopes ``(channel, …)`` and offset per window."""
        some = count > 1e-9
        norm = np.where(some, count, 1.0)

        def mean(image: Floats) -> Floats:
            return np.where(some, self._window(image * pixels) / norm, 0.0)

        channels = len(guide)
        centre = np.stack([mean(channel) for channel in guide])
        covariance = np.empty((*pixels.shape, channels, channels))
        for i in range(channels):
            for j in range(i + 1):
                both = mean(guide[i] * guide[j]) - centre[i] * centre[j]
                covariance[..., i, j] = covariance[..., j, i] = both
        inverse = np.linalg.inv(covariance + self.epsilon * np.eye(channels))

        def slopes(image: Floats) -> tuple[Floats, Floats]:
            average = mean(image)
            cross = np.stack(
                [mean(guide[i] * image) - centre[i] * average for i in range(channels)]
            )
            slope = np.einsum("rcij,jrc->irc", inverse, cross)
            return slope, average - (slope * centre).sum(0)

        return slopes


class JointBilateral:
    """Every fine pixel is a mean of coarse ones, those near in place and in guide colour weighing most.

    Parameters
    ----------
    radius
        Of the window around the coarse pixel that holds the fine one, in coarse pixels.
    sigma_space
        Standard deviation in coarse pixels.
    sigma_range
        Standard deviation of the colour difference, for a guide in [0, 1].
    """

    def __init__(self, *, radius: int, sigma_space: float, sigma_range: float) -> None:
        if radius < 1 or sigma_space <= 0 or sigma_range <= 0:
            raise ConfigurationError(
                "radius must be at least 1 and both sigmas positive, got "
                f"{radius}, {sigma_space}, {sigma_range}"
            )
        self.radius, self.sigma_space, self.sigma_range = radius, sigma_space, sigma_range

    def upscale(self, problem: Problem) -> NDArray[np.float32] | Skip:
        """Return ``(channel, row*factor, column*factor)`` in the unit of ``problem.low``."""
        section = Section.of(problem)
        if isinstance(section, Skip):
            return section
        known = section.ions.known & section.usable
        same = bool((known == known[:1]).all())  # one weight image serves all ions
        coarse_guide = section.to_coarse(section.guide).astype(np.float32)
        total = np.zeros((len(known), *problem.fine_shape), dtype=np.float32)
        weights = np.zeros((1 if same else len(known), *problem.fine_shape), dtype=np.float32)
        places = [self._offsets(size, section.factor) for size in section.shape]
        reach = range(-self.radius, self.radius + 1)
        for down in reach:
            for across in reach:
                rows, row_distance = (part[down + self.radius] for part in places[0])
                columns, column_distance = (part[across + self.radius] for part in places[1])
                place = np.ix_(np.clip(rows, 0, section.shape[0] - 1),
                               np.clip(columns, 0, section.shape[1] - 1))  # fmt: skip
                inside = ((rows >= 0) & (rows < section.shape[0]))[:, None] & (
                    (columns >= 0) & (columns < section.shape[1])
                )
                colour = ((section.guide - coarse_guide[:, *place]) ** 2).sum(0)
                distance = row_distance[:, None] ** 2 + column_distance**2
                weight = inside * np.exp(
                    -distance / (2 * self.sigma_space**2) - colour / (2 * self.sigma_range**2)
                )
                # Far from any colour in the window the nearest in place still count a little.
                weight += 1e-6 * inside * np.exp(-distance / (2 * self.sigma_space**2))
                weight = weight.astype(np.float32)
                seen = known[:1] if same else known
                weights += weight * seen[:, *place]
                total += weight * np.where(known, section.ions.values, 0)[:, *place]
        empty = weights <= 0
        painted = np.where(empty, section.interpolated(), total / np.where(empty, 1, weights))
        return section.restore(painted)

    def _offsets(self, size: int, factor: int) -> tuple[NDArray[np.intp], Floats]:
        """Return, per offset, the coarse neighbour of each fine pixel of a line and its distance."""
        fine = np.arange(size * factor)
        shift = np.arange(-self.radius, self.radius + 1)[:, None]
        neighbour = fine // factor + shift
        return neighbour.astype(np.intp), (fine + 0.5) / factor - 0.5 - neighbour
