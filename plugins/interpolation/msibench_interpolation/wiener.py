"""Wiener deconvolution of area means: the linear estimate of least expected error.

An ion image is taken as a random field whose power falls with the square of the frequency, as that of
pictures does, mirrored at its edges; a coarse pixel as the mean of its fine ones plus white noise. In the
cosine basis (DCT-II) the area mean maps each fine frequency to one coarse one (its alias), so that prior,
data and estimate are diagonal and exact. The noise of each ion image is the share of its variance under
which its own coarse image is most likely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from msibench import Problem

Floats = NDArray[np.float64]


class Wiener:
    """Deconvolves every ion image by itself.

    Parameters
    ----------
    slope
        Power of a frequency ω is ``(ω² + ω0²)^-slope``, with ω0 that of the longer side.
    noises
        Candidates of the noise's variance, as shares of the variance of a coarse image.
    """

    def __init__(self, slope: float, noises: Sequence[float]) -> None:
        self.slope = float(slope)
        self.noises = tuple(float(noise) for noise in noises)
        if not self.slope > 0 or not self.noises or not min(self.noises) > 0:
            raise ValueError(
                f"slope and noises must be positive numbers, got {slope} and {list(noises)}"
            )

    def upscale(self, problem: Problem) -> NDArray[np.float32]:
        """Return the estimate in the unit of ``problem.low``, negative values set to 0.

        A NaN pixel was not measured: the nearest measured one stands in for it.
        """
        low = problem.low.values
        axes = [Axis.of(side, problem.factor) for side in low.shape[1:]]
        fine = np.empty((low.shape[0], *problem.fine_shape), dtype=np.float32)
        for channel, image in enumerate(low):
            estimate = self._estimate(_filled(image.astype(np.float64)), *axes)
            fine[channel] = estimate if (image < 0).any() else np.maximum(estimate, 0)
        return fine

    def _estimate(self, image: Floats, rows: Axis, columns: Axis) -> Floats:
        mean = float(image.mean())
        data = fft.dctn(image - mean, norm="ortho")
        power = data**2
        total = float(power.sum())
        if not total > 0:
            return np.full((len(rows.alias), len(columns.alias)), mean)
        prior = _spectrum(len(rows.alias), len(columns.alias), self.slope)
        shape = rows.fold(columns.fold(prior.T).T)
        scale = float(shape.mean())
        expected = min(
            (shape / scale + noise for noise in self.noises),
            # minus twice the log-likelihood, with the amplitude that fits best
            key=lambda one: float(np.log((power / one).mean() * one).sum()),
        )
        weighed = rows.unfold(columns.unfold((data / expected / scale).T).T)
        return np.asarray(fft.idctn(prior * weighed, norm="ortho") + mean)


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """The area mean along one line in the cosine basis: where each fine frequency goes, how strong."""

    alias: NDArray[np.intp]
    """``(fine,)``: the coarse frequency that a fine one becomes."""
    gain: Floats
    """``(fine,)``: its factor, 0 where nothing passes."""
    coarse: int

    @classmethod
    def of(cls, coarse: int, factor: int) -> Axis:
        """Return the map of a line of `coarse` pixels, each `factor` fine ones."""
        fine = coarse * factor
        k = np.arange(fine)
        turn, place = np.divmod(k, 2 * coarse)
        alias = np.where(place <= coarse, place, 2 * coarse - place)
        sign = np.where(turn % 2 == 0, 1.0, -1.0) * np.where(place <= coarse, 1.0, -1.0)
        half = np.pi * k / (2 * fine)
        with np.errstate(invalid="ignore"):
            mean = np.where(k == 0, 1.0, np.sin(factor * half) / (factor * np.sin(half)))
        norm = np.sqrt(np.where(k == 0, 1, 2) / fine) / np.sqrt(np.where(alias == 0, 1, 2) / coarse)
        passes = alias < coarse  # the coarse Nyquist frequency itself vanishes at every centre
        return cls(np.where(passes, alias, 0), np.where(passes, sign * mean * norm, 0.0), coarse)

    def fold(self, spectrum: Floats) -> Floats:
        """Return the expected power ``(coarse, …)`` of coarse coefficients from that of fine ones."""
        out = np.zeros((self.coarse, *spectrum.shape[1:]))
        np.add.at(out, self.alias, self.gain[:, None] ** 2 * spectrum)
        return out

    def unfold(self, data: Floats) -> Floats:
        """Apply the transpose: coarse coefficients to each fine frequency that they hold."""
        return self.gain[:, None] * data[self.alias]


def _spectrum(rows: int, columns: int, slope: float) -> Floats:
    """Power of every fine frequency; that of the mean, which is taken as known, is 0."""
    row, column = (np.pi * np.arange(side) / side for side in (rows, columns))
    square = row[:, None] ** 2 + column[None, :] ** 2 + (np.pi / max(rows, columns)) ** 2
    power = square**-slope
    power[0, 0] = 0.0
    return np.asarray(power)


def _filled(image: Floats) -> Floats:
    known = np.isfinite(image)
    if known.all():
        return image
    if not known.any():
        return np.zeros_like(image)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(image[tuple(nearest)])
