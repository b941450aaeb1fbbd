"""The charted phantom: every ion image is a stated function of the guide, or of nothing in it.

The guide is that of the phantom (another generator's stained image, its folds and noise included), taken as
it is: what an ion shows is computed from the guide's colours pixel by pixel, so that a method which can
learn such a function has no excuse, and one that gains on the other ions invents. Three kinds:

* held by the guide: linear in its colours, with the guide's contrast and with the reverse; nonlinear, as
  steep, as a band of tones, as a product of two colours; linear with a slope that drifts over the section;
* not held by it: islands, dots and waves drawn from random numbers of their own;
* the second modality: mixtures of all of them, in 20 channels (rich) or 4 (poor).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from msibench_datasets.phantom.generator import make_phantom

Map = NDArray[np.float64]

HELD: Mapping[str, float] = {
    "linear": 401.1001,
    "linear, reversed contrast": 402.2002,
    "linear, difference of colours": 403.3003,
    "nonlinear, steep": 404.4004,
    "nonlinear, a band of tones": 405.5005,
    "nonlinear, product of colours": 406.6006,
    "linear, slope drifts": 407.7007,
}
"""What an ion is to the guide, and its m/z label."""
NOT_HELD: Mapping[str, float] = {
    "islands": 701.1001,
    "dots": 702.2002,
    "waves": 703.3003,
}
CHANNELS = (*HELD, *NOT_HELD)
RICH, POOR = 20, 4
"""Channels of the second modality."""


@dataclass(frozen=True, slots=True, eq=False)
class Charted:
    """A section and everything behind it."""

    ions: NDArray[np.float32]
    """``(channel, row, column)``: counts, or the signal itself where there is no noise."""
    expected: NDArray[np.float32]
    """The signal, same shape."""
    mz: NDArray[np.float64]
    guide: NDArray[np.float32]
    """RGB in [0, 1], ``(3, row, column)``, moved where it is misregistered."""
    second: NDArray[np.float32]
    second_mz: NDArray[np.float64]


def make_charted(
    *,
    seed: int,
    shape: tuple[int, int] = (160, 200),
    counts: float | None = None,
    second_channels: int = RICH,
    rotation_deg: float = 0.0,
    shift_px: tuple[float, float] = (0.0, 0.0),
) -> Charted:
    """Make one section.

    Parameters
    ----------
    seed
        Another seed is another section.
    shape
        ``(row, column)``, each at least 48.
    counts
        Expected counts of a pixel at full scale, Poisson distributed; None: no noise, full scale 1.
    second_channels
        Channels of the second modality.
    rotation_deg, shift_px
        Misregistration of the guide: about the centre, then (row, column). Ions stay where they are.
    """
    stained = make_phantom(seed=seed, shape=shape).guide
    rng = np.random.default_rng([20261127, seed])
    signal = np.stack([*_held(stained.astype(np.float64), rng), *_not_held(rng, shape)])
    mixture = _mixture(rng, second_channels, len(signal))
    second = np.tensordot(mixture, signal, 1)
    guide = stained
    if rotation_deg or any(shift_px):
        guide = _moved(stained, rotation_deg, shift_px)
    if counts is None:
        ions, seen = signal, second
    else:
        signal, second = signal * counts, second * counts
        ions, seen = rng.poisson(signal).astype(np.float64), rng.poisson(second).astype(np.float64)
    return Charted(
        ions=ions.astype(np.float32),
        expected=signal.astype(np.float32),
        mz=np.array([*HELD.values(), *NOT_HELD.values()]),
        guide=guide,
        second=seen.astype(np.float32),
        second_mz=200.0 + np.arange(second_channels, dtype=np.float64),
    )


def _held(guide: Map, rng: np.random.Generator) -> tuple[Map, ...]:
    """Return the ions of `HELD`, each in [0, 1]."""
    red, green, blue = guide
    grey = guide.mean(0)
    drift = _smooth(rng, grey.shape, 0.25 * min(grey.shape))
    return (
        0.2 + 0.5 * red + 0.3 * green,
        1 - 0.3 * red - 0.6 * green - 0.1 * blue,
        0.35 + 0.6 * (blue - green),
        np.clip(1 - grey, 0, 1) ** 3,
        np.exp(-0.5 * ((grey - 0.6) / 0.12) ** 2),
        (1 - green) * blue,
        (0.3 + 0.7 * drift) * (1 - green),
    )


def _not_held(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Map, ...]:
    """Return the ions of `NOT_HELD`, each in [0, 1]."""
    islands = _soft((_smooth(rng, shape, 4.0) - 0.5) * 25)
    dots = ndimage.gaussian_filter((rng.random(shape) < 0.006).astype(float), 1.3)
    rows, columns = np.indices(shape)
    angle, period = rng.uniform(0, np.pi), rng.uniform(9, 13)
    phase = 2 * np.pi * (rows * np.sin(angle) + columns * np.cos(angle)) / period
    bent = 4 * _smooth(rng, shape, 15.0)
    return islands, np.clip(dots / 0.12, 0, 1), 0.5 + 0.4 * np.cos(phase + bent)


def _mixture(rng: np.random.Generator, channels: int, maps: int) -> Map:
    """Return positive weights, ``(channel, map)``, rows of sum 1; a few maps weigh most in each."""
    weights = rng.gamma(0.4, 1.0, (channels, maps)) + 0.02
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _moved(
    guide: NDArray[np.float32], degrees: float, shift: tuple[float, float]
) -> NDArray[np.float32]:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(guide.shape[1:]) - 1) / 2
    back = turn.T
    offset = centre - back @ (centre + np.asarray(shift))
    moved = [
        ndimage.affine_transform(band, back, offset, order=1, mode="nearest") for band in guide
    ]
    return np.asarray(np.clip(np.stack(moved), 0, 1), dtype=np.float32)


def _smooth(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Map:
    """Random field in [0, 1] with structures about `scale` pixels wide."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), scale, mode="reflect")
    return np.asarray((field - field.min()) / np.ptp(field))


def _soft(distance: Map) -> Map:
    return 1 / (1 + np.exp(-np.clip(distance, -30, 30)))
