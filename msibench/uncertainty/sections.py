"""From a method's results on sections with a known truth to intervals for one without."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.method import Uncertain
from msibench.contracts.metric import CalibratedInterval
from msibench.degradation import area_mean, protocol
from msibench.degradation.grid import crop_to_multiple, reduce_mask
from msibench.errors import ConfigurationError, DataError
from msibench.image import MSImage, Problem, Skip
from msibench.uncertainty.conformal import (
    Calibration,
    Grown,
    KnownPixels,
    calibrate,
    difficulty,
    known_pixels,
    together,
)
from msibench.uncertainty.difficulty import Floats, features, scale_of
from msibench.uncertainty.growth import growths
from msibench.uncertainty.noise import noise_gain

OF_ITS_OWN = 1000
"""Pixels with a known truth from which on an ion has a calibration of its own; else all ions share one."""
ONE_DEVIATION = 0.6827
"""Level at which a method's own interval is asked for its width."""
LEVELS = np.arange(50, 100) / 100
"""At which `calibrated_interval` knows the quantiles."""


def one_scale_up(problem: Problem) -> tuple[Problem, MSImage]:
    """Make a problem's coarse image coarser once more; return that problem and its truth.

    A coarser pixel of which less than half was measured is NaN; a guide or a second modality is averaged
    onto the grid of the coarse image.

    Raises
    ------
    DataError
        Fewer than two of the coarser pixels would stand along an edge.
    """
    factor = problem.factor
    if min(problem.low.shape) < 2 * factor:
        raise DataError(
            f"{problem.low.shape[0]} x {problem.low.shape[1]} pixels are too few to be coarsened by {factor}: expected at least {2 * factor} along each edge. Use a smaller factor or a larger section, or give fine sections of the same kind for calibration"
        )
    truth, _ = crop_to_multiple(problem.low, factor)
    rows, columns = truth.shape
    chain = protocol(problem.protocol or f"area-x{factor}@1")
    here = np.isfinite(truth.values)
    share = chain.degrade(here.astype(np.float64))
    total = chain.degrade(np.where(here, truth.values, 0).astype(np.float64))
    values = np.divide(total, share, out=np.full(total.shape, np.nan), where=share >= 0.5)
    low = replace(
        truth,
        values=np.where(np.isnan(values), np.nan, np.maximum(values, 0)).astype(np.float32),
        pixel_size_um=truth.pixel_size_um * factor,
        mask=reduce_mask(truth.mask, factor),
    )
    guide, second = problem.guide, problem.second
    cut = (slice(None), slice(rows * factor), slice(columns * factor))
    if guide is not None:
        mean = area_mean(guide.values[cut], factor).astype(np.float32)
        where = None if guide.mask is None else reduce_mask(guide.mask[cut[1:]], factor)
        guide = replace(guide, values=mean, mask=where, pixel_size_um=guide.pixel_size_um * factor)
    if second is not None:
        mean = area_mean(second.values[cut], factor).astype(np.float32)
        where = None if second.mask is None else reduce_mask(second.mask[cut[1:]], factor)
        second = replace(
            second, values=mean, mask=where, pixel_size_um=second.pixel_size_um * factor
        )
    return replace(problem, low=low, guide=guide, second=second, middle=None), truth


def errors_on(
    problem: Problem, truth: MSImage, fine: Floats, spread: Floats | None, *, own: bool
) -> list[KnownPixels | None]:
    """Return a method's errors where the truth is known, one entry per ion.

    Parameters
    ----------
    problem, truth
        What the method was given, and what it should have made of it.
    fine, spread
        What it made, ``(channel, row, column)``, and the standard deviation that it or its seeds tell.
    own
        The truth is the coarse image of the section that is asked for (`one_scale_up`).
    """
    factor, present = problem.factor, set(problem.low.present())
    found: list[KnownPixels | None] = []
    for channel in range(problem.low.channels):
        coarse = problem.low.values[channel].astype(np.float64)
        true = truth.values[channel].astype(np.float64)
        if channel not in present:
            found.append(None)
            continue
        # On the section itself the truth is the measurement, whose noise is seen; elsewhere it is
        # foretold from the coarse image in the way in which it will be foretold.
        gain = (
            noise_gain(true, truth.mask)
            if own
            else factor**2 * noise_gain(coarse, problem.low.mask)
        )
        scale = scale_of(coarse)
        made = features(
            fine[channel],
            factor=factor,
            gain=gain,
            scale=scale,
            spread=None if spread is None else spread[channel],
        )
        found.append(
            known_pixels(fine[channel], true, made, factor=factor, scale=scale, mask=truth.mask)
        )
    return found


def calibrations_of(
    known: Sequence[Sequence[KnownPixels | None]], truths: Sequence[MSImage], low: MSImage
) -> list[Calibration | None]:
    """Return one calibration per ion: its own where its pixels are many, that of all ions elsewhere.

    Parameters
    ----------
    known
        The errors on every section, one entry per ion.
    truths
        Those sections.
    low
        The section that is asked for.
    """
    every = [one for section in known for one in section if one is not None]
    if not every:
        return [None] * low.channels
    alike = all(
        truth.channels == low.channels and np.allclose(truth.mz, low.mz, equal_nan=True, rtol=1e-5)
        for truth in truths
    )
    own: list[list[KnownPixels]] = []
    for channel in range(low.channels):
        mine = [section[channel] for section in known] if alike else []
        here = [one for one in mine if one is not None]
        own.append(here if sum(len(one.residual) for one in here) >= OF_ITS_OWN else [])
    shared = None if all(own) else calibrate(together(every))
    return [calibrate(together(here)) if here else shared for here in own]


def calibrations_of_itself(
    known: Sequence[KnownPixels | None],
    truth: MSImage,
    low: MSImage,
    factor: int,
    corner: tuple[int, int] = (0, 0),
) -> list[Calibration | None]:
    """Return one calibration per ion of a section that is calibrated on itself, one scale up.

    Parameters
    ----------
    known
        The errors there, one entry per ion.
    truth
        What was measured: the section, or a part of it.
    low
        The section.
    factor
        Fine pixels along the edge of a measured one.
    corner
        Row and column of the section at which `truth` begins.
    """
    fine = [
        slice(start * factor, (start + side) * factor)
        for start, side in zip(corner, truth.shape, strict=True)
    ]
    found = []
    every = growths(known, truth, factor, enough=OF_ITS_OWN)
    for one, calibrated, growth in zip(
        known, calibrations_of([known], [truth], low), every, strict=True
    ):
        if one is None or calibrated is None or not len(one.residual):
            found.append(calibrated)
            continue
        size = one.unit * _root_mean_square(difficulty(one.features, calibrated.weights))
        grown = Grown(
            measurement=size * growth.measurement,
            signal=size * growth.signal,
            where=(fine[0], fine[1]),
        )
        found.append(replace(calibrated, grown=grown))
    return found


def difficulties(
    fine: NDArray[np.floating],
    spread: NDArray[np.floating] | None,
    calibrations: Sequence[Calibration | None],
    low: MSImage,
    factor: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32], dict[int, str]]:
    """Return how hard each pixel is, with and without its own counting noise, and where that is undefined."""
    reach = np.full(fine.shape, np.nan, dtype=np.float32)
    signal = np.full(fine.shape, np.nan, dtype=np.float32)
    undefined: dict[int, str] = {}
    present = set(low.present())
    for channel, calibrated in enumerate(calibrations):
        coarse = low.values[channel].astype(np.float64)
        if channel not in present:
            undefined[channel] = "nothing is present in this ion image"
        elif calibrated is None:
            undefined[channel] = (
                "too few pixels with a known truth, or none in which anything differs"
            )
        else:
            made = features(
                fine[channel],
                factor=factor,
                gain=factor**2 * noise_gain(coarse, low.mask),
                scale=scale_of(coarse),
                spread=None if spread is None else spread[channel],
            )
            reach[channel] = difficulty(made, calibrated.weights)
            # Without the counting noise of a fine pixel's own measurement; that of the coarse pixel,
            # `factor` times smaller, is in the prediction and stays.
            made[0] /= factor
            signal[channel] = difficulty(made, calibrated.weights)
            if (grown := calibrated.grown) is not None:
                there = np.isfinite(fine[channel][grown.where])
                if low.mask is not None:
                    there &= low.mask.repeat(factor, 0).repeat(factor, 1)[grown.where]
                for hard, wanted in ((reach, grown.measurement), (signal, grown.signal)):
                    hard[channel] *= wanted / _root_mean_square(hard[channel][grown.where][there])
    return reach, signal, undefined


def _root_mean_square(values: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(values**2, dtype=np.float64)))


def ends_of(
    fine: NDArray[np.floating],
    reach: NDArray[np.float32],
    calibrations: Sequence[Calibration | None],
    level: float,
    floor: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return lower and upper ends of a level, ``(channel, row, column)``; NaN where nothing is calibrated."""
    lower, upper = (np.full(fine.shape, np.nan, dtype=np.float32) for _ in range(2))
    for channel, calibrated in enumerate(calibrations):
        if calibrated is None:
            continue
        width = calibrated.quantile(level) * reach[channel]
        # The prediction itself may be below the floor by rounding; it stays inside.
        lower[channel] = np.minimum(np.maximum(fine[channel] - width, floor), fine[channel])
        upper[channel] = fine[channel] + calibrated.up * width
    return lower, upper


def told_spread(method: Uncertain, problem: Problem) -> Floats | Skip:
    """Return half the width of the interval of one standard deviation that a method gives, 0 for absent ions."""
    present = problem.low.present()
    told = method.interval(replace(problem, low=problem.low.select(present)), level=ONE_DEVIATION)
    if isinstance(told, Skip):
        return told
    spread = np.zeros((problem.low.channels, *problem.fine_shape))
    spread[present] = (np.asarray(told.upper, dtype=np.float64) - told.lower) / 2
    return spread


def words_of(factor: int, sections: int) -> str:
    """Return what intervals were calibrated on, and what that assumes; no `sections`: on the section itself."""
    if not sections:
        return (
            f"on this section itself, made {factor} times coarser once more: assumes that errors "
            "one scale up are like those here, counting noise scaled to the smaller pixels"
        )
    return (
        f"on {sections} calibration section{'s' if sections > 1 else ''}: assumes that this "
        "section was measured and looks like them"
    )


def calibrated_interval(
    problem: Problem,
    fine: NDArray[np.floating],
    spread: Floats | None,
    calibrations: Sequence[Calibration | None],
    *,
    never_negative: bool,
    words: str,
) -> CalibratedInterval:
    """Return the intervals of a prediction at all `LEVELS`, as a run keeps them.

    A level that an ion's known pixels are too few for is NaN.
    """
    reach, signal, undefined = difficulties(fine, spread, calibrations, problem.low, problem.factor)
    quantiles = np.full((len(fine), len(LEVELS)), np.nan)
    up = np.ones(len(fine))
    for channel, calibrated in enumerate(calibrations):
        if calibrated is None or channel in undefined:
            continue
        up[channel] = calibrated.up
        for place, level in enumerate(LEVELS):
            with suppress(ConfigurationError):
                quantiles[channel, place] = calibrated.quantile(float(level))
    return CalibratedInterval(
        reach=reach,
        signal=signal,
        quantiles=quantiles,
        levels=LEVELS,
        up=up,
        floor=0.0 if never_negative else -np.inf,
        calibrated=words,
    )
