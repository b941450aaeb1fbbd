"""Intervals by split conformal prediction on images.

Where the truth is known, residuals are divided by a difficulty: a sum of `features` with weights of at
least 0, fitted to the absolute residuals. The interval of another image is its prediction plus and minus
the difficulty times the quantile of those ratios [1]_ [2]_. Nothing is assumed of the method or of the
distribution of its errors, only that pixels whose truth is known and pixels whose truth is asked for are
exchangeable given their features. Weights are fitted on one half of the blocks of a checkerboard and
ratios taken on the other, both ways, so that no ratio is judged by a fit that saw it.

References
----------
.. [1] Lei et al., J. Am. Stat. Assoc. 113 (2018) 1094-1111, section 5.2 (locally weighted split conformal).
.. [2] Angelopoulos et al., Image-to-Image Regression with Distribution-Free Uncertainty Quantification,
   ICML 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

import numpy as np
from numpy.typing import NDArray

from msibench.errors import ConfigurationError
from msibench.uncertainty.difficulty import FEATURES, LEAST, Floats

FEWEST = 200
"""Pixels with a known truth below which no quantile is given."""
MOST = 60_000
"""Pixels of one ion that a fit uses at most; of more, an even choice."""
BLOCK = 4
"""Edge of a block of the checkerboard in coarse pixels."""
LONGER = (1.0, 3.0)
"""Range of how much further an interval may reach up than down, or down than up."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class KnownPixels:
    """Pixels of one ion whose truth is known, all relative to the ion's intensity."""

    residual: Floats
    """Truth minus prediction, ``(pixel,)``."""
    features: Floats
    """``(feature, pixel)``."""
    half: NDArray[np.bool_]
    """On which colour of the checkerboard a pixel lies."""
    unit: float = 1.0
    """Intensity of the ion that residuals and features are relative to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """Root mean square of the difficulty of an ion image that is calibrated on the section itself."""

    measurement: float
    """For pixels as they would be measured, in the unit of the image."""
    signal: float
    """For the signal in them."""
    where: tuple[slice, slice]
    """Fine pixels that it is the mean over: those below what was calibrated on."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Calibration:
    """What turns the features of an ion image into an interval of any level."""

    weights: Floats
    """One per feature, at least 0."""
    up: float
    """How far the interval reaches up, down being 1."""
    ratios: Floats
    """Sorted; what the difficulty must be multiplied with to hold each known pixel."""
    grown: Grown | None = None
    """How large the difficulty is to be at the wanted scale; None: as its features say."""

    def quantile(self, level: float) -> float:
        """Return the factor of the difficulty at which a share `level` of the known pixels is held.

        Raises
        ------
        ConfigurationError
            The level does not lie between 0 and 1, or is too high for so few pixels.
        """
        if not 0 < level < 1:
            raise ConfigurationError(
                f"the level must lie between 0 and 1, got {level}; 0.9 means 90 %"
            )
        count = len(self.ratios)
        rank = int(np.ceil(level * (count + 1)))
        if rank > count:
            raise ConfigurationError(
                f"{count} pixels with a known truth are too few for an interval of {level:.8g}; "
                f"choose a level of at most {floor(1e4 * count / (count + 1)) / 1e4:.4f}"
            )
        # Where pixels are known exactly (all zero off the tissue), an interval still has a width.
        least = self.ratios[np.searchsorted(self.ratios, 0.0, side="right")]
        return float(max(self.ratios[rank - 1], least))

    def reach(self, features: NDArray[np.floating], level: float) -> tuple[Floats, Floats]:
        """Return how far the interval reaches down and up, ``(row, column)`` each."""
        width = self.quantile(level) * difficulty(features, self.weights)
        return width, width * self.up


def checkerboard(shape: tuple[int, int], factor: int) -> NDArray[np.bool_]:
    """Return blocks of `BLOCK` coarse pixels in two colours, ``(row, column)`` on the fine grid."""
    row, column = (np.arange(side) // (BLOCK * factor) for side in shape)
    return np.asarray((row[:, None] + column[None, :]) % 2 == 1)


def known_pixels(
    prediction: Floats,
    truth: Floats,
    features: NDArray[np.floating],
    *,
    factor: int,
    scale: float,
    mask: NDArray[np.bool_] | None = None,
) -> KnownPixels:
    """Take the pixels of one ion image whose truth was measured, ``(row, column)`` each."""
    inside = np.isfinite(truth) & np.isfinite(prediction)
    if mask is not None:
        inside &= mask
    where = np.flatnonzero(inside)
    where = where[:: max(1, -(-len(where) // MOST))]
    unit = scale if scale > 0 else 1.0
    return KnownPixels(
        residual=(truth.ravel()[where] - prediction.ravel()[where]) / unit,
        features=features.reshape(len(features), -1)[:, where].astype(np.float64) / unit,
        half=checkerboard((truth.shape[0], truth.shape[1]), factor).ravel()[where],
        unit=unit,
    )


def together(known: Sequence[KnownPixels]) -> KnownPixels:
    """Return the pixels of several images as one sample."""
    return KnownPixels(
        residual=np.concatenate([one.residual for one in known]),
        features=np.concatenate([one.features for one in known], axis=1),
        half=np.concatenate([one.half for one in known]),
    )


def calibrate(known: KnownPixels) -> Calibration | None:
    """Fit the difficulty and keep the ratios; None where the truth is known in too few pixels.

    None also where every residual is 0: an interval of no width would claim a certainty that an image
    without content cannot give.
    """
    size = np.abs(known.residual)
    if len(size) < FEWEST or not size.any():
        return None
    ratios = np.empty_like(size)
    whole = _fit(known.features, size)
    up = _up(known, whole)
    for half in (known.half, ~known.half):
        if not half.any():
            continue
        learns = ~half if (~half).any() else half
        weights = _fit(known.features[:, learns], size[learns])
        ratios[half] = _ratio(known.residual[half], known.features[:, half], weights, up)
    return Calibration(weights=whole, up=up, ratios=np.sort(ratios))


def difficulty(features: NDArray[np.floating], weights: Floats) -> Floats:
    """Return the weighted sum of features, nowhere below `LEAST` of the ion's intensity."""
    least = LEAST * features[FEATURES.index("level")]
    return np.asarray(np.maximum(_sum(weights, features), least), dtype=np.float64)


def _ratio(residual: Floats, features: Floats, weights: Floats, up: float) -> Floats:
    reach = np.where(residual > 0, up, 1.0) * difficulty(features, weights)
    return np.asarray(np.abs(residual) / np.maximum(reach, np.finfo(np.float64).tiny))


def _up(known: KnownPixels, weights: Floats) -> float:
    """How much longer the tail above the prediction is than that below, at its 90 % quantile."""
    reach = difficulty(known.features, weights)
    ratio = known.residual / np.maximum(reach, np.finfo(np.float64).tiny)
    above, below = ratio[ratio > 0], -ratio[ratio < 0]
    if min(len(above), len(below)) < FEWEST // 4:
        return 1.0
    longer = float(np.quantile(above, 0.9) / max(np.quantile(below, 0.9), 1e-12))
    return float(np.clip(longer, 1 / LONGER[1], LONGER[1]))


def _sum(weights: Floats, features: NDArray[np.floating]) -> Floats:
    total = np.zeros(features.shape[1:])
    for weight, feature in zip(weights, features, strict=True):
        total += weight * feature
    return total


def _fit(features: Floats, size: Floats) -> Floats:
    """Least squares of the absolute residual with weights of at least 0, relative to its own size."""
    around = np.full(len(size), size.mean())
    weights = np.zeros(len(features))
    for _ in range(3):
        rows = features / around
        # einsum sums in one order, on one thread or two
        square = np.einsum("fp,gp->fg", rows, rows) + 1e-9 * np.eye(len(features))
        weights = _never_negative(square, np.einsum("fp,p->f", rows, size / around))
        found = _sum(weights, features)
        around = np.maximum(found, 0.1 * max(float(found.mean()), 1e-12))
    return weights


def _never_negative(square: Floats, right: Floats) -> Floats:
    """Return the weights of at least 0 with the least ``w @ square @ w / 2 - right @ w``.

    Every choice of features with a weight is solved, all at once, and the best without a negative weight taken: of five
    features that is quicker than to import SciPy's `nnls`, and ends whatever features have in common.
    """
    size = np.sqrt(np.diag(square))
    count = len(right)
    chosen = (np.arange(2**count)[:, None] >> np.arange(count)) % 2 == 1
    alike = square / np.outer(size, size) + 1e-10 * np.eye(count)
    systems = np.where(chosen[:, :, None] & chosen[:, None, :], alike, np.eye(count))
    wanted = np.where(chosen, right / size, 0.0)
    found = np.linalg.solve(systems, wanted[:, :, None])[:, :, 0]
    value = np.where((found >= 0).all(axis=1), -(wanted * found).sum(axis=1), np.inf)
    return np.asarray(found[value.argmin()] / size)
