"""Point-spread functions of the probe: a Gaussian beam or a round laser spot, then sampling.

The probe stands at the centre of each coarse pixel. What it gathers is the mean of the tissue
under it, weighted with its profile; at the border the part of the profile that lies on the image
counts alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msibench.degradation.binning import check_divides, repeat_pixels
from msibench.degradation.line_projector import SeparableStep
from msibench.degradation.resampling import Line, resample_separably, taps
from msibench.degradation.step import NoiseSource
from msibench.errors import ConfigurationError

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
TRUNCATE_SIGMA = 4.0
SUBSAMPLES = 16


def gaussian_beam(
    values: NDArray[np.floating], factor: int, *, fwhm: float = 1.0
) -> NDArray[np.float64]:
    """Sample ``(channel, row, column)`` with a Gaussian beam.

    Parameters
    ----------
    values
        Both sides multiples of `factor`.
    factor
        Fine pixels along each edge of a coarse one.
    fwhm
        Full width at half maximum of the beam, in coarse pixels.

    Raises
    ------
    ConfigurationError
        If a side is not a multiple of `factor`, or `fwhm` is not positive.
    """
    if not fwhm > 0:
        raise ConfigurationError(f"fwhm must be a positive number of coarse pixels, got {fwhm}")
    rows, columns = values.shape[-2:]
    check_divides((rows, columns), factor)
    line = GaussianBeam(factor, fwhm).line
    return resample_separably(np.asarray(values, dtype=np.float64), line(rows), line(columns))


def _gaussian_taps(fine: int, factor: int, fwhm: float) -> Line:
    sigma = fwhm / FWHM_PER_SIGMA

    def profile(distance: NDArray[np.float64]) -> NDArray[np.float64]:
        # Relative to the pixel nearest to the centre, which even a beam much thinner than a fine
        # pixel hits; the weights are brought to a sum of 1 afterwards.
        nearest = np.abs(distance).min(axis=-1, keepdims=True)
        weight = np.exp(0.5 * (nearest**2 - distance**2) / sigma**2)
        reach = np.maximum(TRUNCATE_SIGMA * sigma, nearest + 1e-12)
        return np.where(np.abs(distance) <= reach, weight, 0.0)

    support = max(TRUNCATE_SIGMA * sigma, 1.0 / factor)
    return taps(fine, factor, profile, support, "renormalise")


def round_spot(
    values: NDArray[np.floating], factor: int, *, diameter: float = 1.0
) -> NDArray[np.float64]:
    """Sample ``(channel, row, column)`` with a round spot of even intensity.

    Parameters
    ----------
    values
        Both sides multiples of `factor`.
    factor
        Fine pixels along each edge of a coarse one.
    diameter
        Of the spot, in coarse pixels; above 1 neighbouring spots overlap (oversampling).

    Raises
    ------
    ConfigurationError
        If a side is not a multiple of `factor`, or `diameter` is not positive.
    """
    if not diameter > 0:
        raise ConfigurationError(f"diameter must be a positive number of pixels, got {diameter}")
    rows, columns = values.shape[-2:]
    check_divides((rows, columns), factor)
    spot, offset = _spot_coverage(factor, diameter)
    pad = -offset
    stack = np.asarray(values, dtype=np.float64)
    around = ((0, 0), (pad, pad), (pad, pad))
    padded = np.pad(stack, around)
    known = np.pad(np.ones((1, rows, columns)), around)
    out = np.zeros((stack.shape[0], rows // factor, columns // factor))
    seen = np.zeros((1, rows // factor, columns // factor))
    for row, column in zip(*np.nonzero(spot), strict=True):
        # offset <= 0, so that the padded image starts exactly where the spot of pixel 0 may.
        window = (
            slice(None),
            slice(row, row + rows, factor),
            slice(column, column + columns, factor),
        )
        out += spot[row, column] * padded[window]
        seen += spot[row, column] * known[window]
    return out / seen


def _spot_coverage(factor: int, diameter: float) -> tuple[NDArray[np.float64], int]:
    """Share of each fine pixel under the spot, and the pixel (<= 0) at which the square begins."""
    centre = (factor - 1) / 2
    radius = diameter * factor / 2
    first = min(0, int(np.floor(centre - radius + 0.5)))
    last = factor - 1 - first
    sub = (np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES - 0.5
    axis = (np.arange(first, last + 1)[:, None] + sub[None, :]).ravel() - centre
    hit = (axis[:, None] ** 2 + axis[None, :] ** 2 <= radius**2).astype(np.float64)
    side = last - first + 1
    cover = hit.reshape(side, SUBSAMPLES, side, SUBSAMPLES).mean(axis=(1, 3))
    if not cover.any():  # a spot smaller than the sampling: the pixels under its centre
        nearest = np.abs(np.arange(first, last + 1) - centre)
        under = (nearest == nearest.min()).astype(np.float64)
        cover = np.outer(under, under)
    return cover, first


@dataclass(frozen=True, slots=True)
class GaussianBeam(SeparableStep):
    """The step of a chain that samples with a Gaussian beam."""

    factor: int
    """Fine pixels along each edge of a coarse one."""
    fwhm: float = 1.0
    """Full width at half maximum in coarse pixels."""

    def definition(self) -> dict[str, object]:
        """Return name and parameters, ready for JSON."""
        return {
            "step": "gaussian-beam",
            "factor": self.factor,
            "fwhm_coarse_pixels": self.fwhm,
            "truncate_sigma": TRUNCATE_SIGMA,
        }

    def apply(self, values: NDArray[np.float64], noise: NoiseSource) -> NDArray[np.float64]:
        """Return the sampled stack."""
        return gaussian_beam(values, self.factor, fwhm=self.fwhm)

    def line(self, fine: int) -> Line:
        """Return the taps of a line of `fine` pixels."""
        return _gaussian_taps(fine, self.factor, self.fwhm)


@dataclass(frozen=True, slots=True)
class RoundSpot:
    """The step of a chain that samples with a round, even laser spot."""

    factor: int
    """Fine pixels along each edge of a coarse one."""
    diameter: float = 1.0
    """In coarse pixels."""

    @property
    def linear(self) -> bool:
        """Always."""
        return True

    def definition(self) -> dict[str, object]:
        """Return name and parameters, ready for JSON."""
        return {
            "step": "round-spot",
            "factor": self.factor,
            "diameter_coarse_pixels": self.diameter,
            "subsamples": SUBSAMPLES,
        }

    def apply(self, values: NDArray[np.float64], noise: NoiseSource) -> NDArray[np.float64]:
        """Return the sampled stack."""
        return round_spot(values, self.factor, diameter=self.diameter)

    def seen(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the sampled stack fixes, where spots do not overlap.

        Then the rows of A are disjoint, and each spot fixes one number of its own pixels:
        ``w (w · x) / (w · w)`` with its weights w.

        Raises
        ------
        ConfigurationError
            If neighbouring spots overlap.
        """
        return self.least_norm(self.apply(values, NoiseSource(0, "", np.empty(0))))

    def least_norm(self, low: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the image of least norm that gives `low`, where spots do not overlap.

        Raises
        ------
        ConfigurationError
            If neighbouring spots overlap.
        """
        if self.diameter > 1:
            raise ConfigurationError(
                f"spots of {self.diameter:g} coarse pixels overlap, which has no closed form; expected a diameter of at most 1"
            )
        spot, _ = _spot_coverage(self.factor, self.diameter)
        weight = spot * (spot.sum() / (spot * spot).sum())
        return np.asarray(repeat_pixels(low, self.factor) * np.tile(weight, low.shape[1:]))
