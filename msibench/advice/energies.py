"""The energies that advice is made of, measured on a section and on what a method makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from msibench.advice.expected import Added
from msibench.degradation import area_mean
from msibench.image import MSImage, Problem
from msibench.uncertainty.octaves import mean_square, repeated

Floats = NDArray[np.float64]

Upscaler = Callable[[Problem], NDArray[np.floating]]
"""Puts a problem on its fine grid, ``(channel, row, column)``; NaN where not measured."""

PIECE = 64
"""Edge in coarse pixels of the piece that is run with noise added."""


def added(
    upscale: Upscaler, problem: Problem, up: Problem, truth: MSImage, variance: Floats, *, seed: int
) -> Added:
    """Run a method at the wanted scale and one scale up, there also with noise added to its input.

    Parameters
    ----------
    upscale
        The method.
    problem
        The section at the wanted factor.
    up, truth
        The section made coarser once more, and the section itself cut to its grid.
    variance
        Of the noise in a pixel of the section, ``(channel,)``.
    seed
        Of the noise that is added.
    """
    factor = problem.factor
    fine = upscale(problem)
    energy = np.array([mean_square(gain) for gain in _details(fine, problem)])
    found, wanted = _details(upscale(up), up), _unseen(truth, factor)
    energy_up, shared_up, detail_up = np.array(
        [
            (mean_square(a), float((a * u).mean()), mean_square(u))
            for a, u in zip(found, wanted, strict=True)
        ]
    ).T
    piece, noisy, power = _noisier(problem, variance, seed)
    clean = fine if piece is problem else upscale(piece)
    pairs = zip(_details(upscale(noisy), noisy), _details(clean, piece), strict=True)
    moved = np.array([mean_square(more - less) for more, less in pairs])
    passed = np.divide(moved, power, out=np.full_like(power, np.nan), where=power > 0)
    common = float(np.nanmedian(passed)) if np.isfinite(passed).any() else 0.0
    return Added(
        energy=energy,
        energy_up=energy_up,
        shared_up=shared_up,
        detail_up=detail_up,
        passed=np.where(np.isfinite(passed), passed, common),
    )


def skill_one_scale_up(upscale: Upscaler, up: Problem, truth: MSImage) -> Floats:
    """Return a method's skill on the section made coarser once more, ``(channel,)``; NaN: no detail."""
    pairs = zip(_details(upscale(up), up), _unseen(truth, up.factor), strict=True)
    error, whole = np.array([(mean_square(a - u), mean_square(u)) for a, u in pairs]).T
    lost = np.divide(error, whole, out=np.full_like(whole, np.nan), where=whole > 0)
    return np.asarray(1 - lost)


def _unseen(truth: MSImage, factor: int) -> Iterator[Floats]:
    """Yield, ion by ion, what the means over blocks do not hold; 0 where nothing was measured."""
    for one in truth.values:
        image = np.nan_to_num(one.astype(np.float64))
        yield image - repeated(area_mean(image, factor), factor)


def _noisier(problem: Problem, variance: Floats, seed: int) -> tuple[Problem, Problem, Floats]:
    """Return a piece of a problem, the piece with noise added, and the power of that noise per ion.

    The noise is at most a quarter of an intensity, so that nothing is clipped at 0.
    """
    piece = fullest(problem, PIECE)
    values = piece.low.values.astype(np.float64)
    drawn = np.random.default_rng(seed).normal(size=values.shape)
    noise = drawn * np.minimum(np.sqrt(variance)[:, None, None] / 2, values / 4)
    low = replace(piece.low, values=(values + noise).astype(np.float32))
    power = np.array([mean_square(np.nan_to_num(one)) for one in noise])
    return piece, replace(piece, low=low), power


def fullest(problem: Problem, edge: int) -> Problem:
    """Return at most ``edge x edge`` coarse pixels where the ions are strongest, with their part of the guide."""
    if max(problem.low.shape) <= edge:
        return problem
    return piece_of(problem, *window(problem.low, edge))


def window(low: MSImage, edge: int) -> tuple[slice, slice]:
    """Return rows and columns of at most ``edge x edge`` pixels where the ions are strongest, each weighted equally."""
    from scipy.ndimage import uniform_filter

    rows, columns = low.shape
    share = np.zeros((rows, columns))
    for image in low.values:
        there = np.nan_to_num(np.asarray(image, dtype=np.float64))
        share += there / max(float(there.max()), np.finfo(np.float64).tiny)
    held = uniform_filter(share, (min(edge, rows), min(edge, columns)), mode="constant")
    row, column = np.unravel_index(int(held.argmax()), held.shape)
    return window_about(low, edge, (int(row), int(column)))


def window_about(low: MSImage, edge: int, centre: tuple[int, int]) -> tuple[slice, slice]:
    """Return rows and columns of at most ``edge x edge`` pixels about a pixel."""
    starts = [
        int(np.clip(here - edge // 2, 0, max(0, side - edge)))
        for here, side in zip(centre, low.shape, strict=True)
    ]
    rows, columns = (slice(start, start + edge) for start in starts)
    return rows, columns


def piece_of(problem: Problem, rows: slice, columns: slice) -> Problem:
    """Return some coarse pixels of a problem, with their part of the guide."""
    fine = on_fine_grid(rows, columns, problem.factor)
    guide, second = problem.guide, problem.second
    if guide is not None:
        mask = None if guide.mask is None else guide.mask[fine]
        guide = replace(guide, values=guide.values[:, fine[0], fine[1]], mask=mask)
    if second is not None:
        second = second.crop(*fine)
    return replace(problem, low=problem.low.crop(rows, columns), guide=guide, second=second)


def on_fine_grid(rows: slice, columns: slice, factor: int) -> tuple[slice, slice]:
    """Return the fine pixels below some coarse ones."""
    first, second = (slice(one.start * factor, one.stop * factor) for one in (rows, columns))
    return first, second


def _details(fine: NDArray[np.floating], problem: Problem) -> Iterator[Floats]:
    """Yield, ion by ion, what was added to the pixels repeated; 0 where nothing was measured."""
    for image, coarse in zip(fine, problem.low.values, strict=True):
        detail = np.asarray(image, dtype=np.float64) - repeated(coarse, problem.factor)
        yield np.nan_to_num(detail, copy=False)
