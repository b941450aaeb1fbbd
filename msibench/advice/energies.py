"""The energies that advice is made of, measured on a section and on what a method makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from msibench.advice.expected import Added
from msibench.degradation import area_mean
from msibench.degradation.grid import reduce_mask
from msibench.image import MSImage, Problem
from msibench.uncertainty.difficulty import noise_gain

Floats = NDArray[np.float64]

Upscaler = Callable[[Problem], NDArray[np.floating]]
"""Puts a problem on its fine grid, ``(channel, row, column)``; NaN where not measured."""

PIECE = 64
"""Edge in coarse pixels of the piece that is run with noise added."""


LEAST_COUNTED = 0.1
"""Share of the variance between neighbours that is taken for counting noise at least."""


def counting_variance(section: MSImage) -> Floats:
    """Return the variance of the counting noise in a pixel of each ion image, mean over the image.

    What neighbours do not share (`noise_variance`) is counting noise, which falls fourfold where 2 x 2 pixels are
    averaged, and structure of the size of a pixel, which stays about as large. Both are told apart by
    measuring twice: in the image and in the image made twice coarser. The share that is counting noise is
    the mean of an ion's own and the median of all ions.
    """
    whole = noise_variance(section)
    rows, columns = (side // 2 * 2 for side in section.shape)
    if min(rows, columns) < 4:
        return whole
    cut = section.crop(slice(rows), slice(columns))
    mean = area_mean(np.nan_to_num(np.asarray(cut.values, dtype=np.float64)), 2)
    coarser = replace(cut, values=mean.astype(np.float32), mask=reduce_mask(cut.mask, 2))
    falls = np.clip((whole - noise_variance(coarser)) * 4 / 3, 0, whole)
    seen = whole > 0
    share = np.divide(falls, whole, out=np.ones_like(whole), where=seen)
    common = float(np.median(share[seen])) if seen.any() else 1.0
    return np.asarray(whole * np.maximum((share + common) / 2, LEAST_COUNTED))


def noise_variance(section: MSImage) -> Floats:
    """Return the variance that neighbouring pixels do not share, of each ion image, mean over the image."""
    images = [np.asarray(image, dtype=np.float64) for image in section.values]
    means = [float(np.nan_to_num(image).mean()) for image in images]
    gains = [noise_gain(image, section.mask) for image in images]
    return np.array([gain * mean for gain, mean in zip(gains, means, strict=True)])


def finest_octaves(section: MSImage) -> Floats:
    """Return the energy per pixel in two octaves, ``(2, channel)``.

    Of each ion image less the means of its blocks of 2 x 2, and of those less theirs.
    """
    image = np.nan_to_num(np.asarray(section.values, dtype=np.float64))
    found = []
    for _ in range(2):
        rows, columns = (side // 2 * 2 for side in image.shape[-2:])
        mean = area_mean(image[:, :rows, :columns], 2)
        found.append(_energy(image[:, :rows, :columns] - repeated(mean, 2)))
        image = mean
    return np.array(found)


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
    gain = _detail(upscale(problem), problem)
    found = _detail(upscale(up), up)
    wanted = _unseen(truth, factor)
    piece, noisy, power = _noisier(problem, variance, seed)
    moved = _detail(upscale(noisy), noisy) - _detail(upscale(piece), piece)
    passed = np.divide(_energy(moved), power, out=np.full_like(power, np.nan), where=power > 0)
    common = float(np.nanmedian(passed)) if np.isfinite(passed).any() else 0.0
    return Added(
        energy=_energy(gain),
        energy_up=_energy(found),
        shared_up=np.asarray((found * wanted).mean(axis=(1, 2))),
        detail_up=_energy(wanted),
        passed=np.where(np.isfinite(passed), passed, common),
    )


def skill_one_scale_up(upscale: Upscaler, up: Problem, truth: MSImage) -> Floats:
    """Return a method's skill on the section made coarser once more, ``(channel,)``; NaN: no detail."""
    found, wanted = _detail(upscale(up), up), _unseen(truth, up.factor)
    error, whole = _energy(found - wanted), _energy(wanted)
    return 1 - np.divide(error, whole, out=np.full_like(whole, np.nan), where=whole > 0)


def _unseen(truth: MSImage, factor: int) -> Floats:
    image = np.nan_to_num(truth.values.astype(np.float64))
    return image - repeated(area_mean(image, factor), factor)


def _noisier(problem: Problem, variance: Floats, seed: int) -> tuple[Problem, Problem, Floats]:
    """Return a piece of a problem, the piece with noise added, and the power of that noise per ion.

    The noise is at most a quarter of an intensity, so that nothing is clipped at 0.
    """
    piece = middle(problem, PIECE)
    values = piece.low.values.astype(np.float64)
    drawn = np.random.default_rng(seed).normal(size=values.shape)
    noise = drawn * np.minimum(np.sqrt(variance)[:, None, None] / 2, values / 4)
    low = replace(piece.low, values=(values + noise).astype(np.float32))
    return piece, replace(piece, low=low), _energy(np.nan_to_num(noise))


def middle(problem: Problem, edge: int) -> Problem:
    """Return at most ``edge x edge`` coarse pixels about the middle, with the guide that belongs to them."""
    return piece_about(problem, edge, (problem.low.shape[0] // 2, problem.low.shape[1] // 2))


def piece_about(problem: Problem, edge: int, centre: tuple[int, int]) -> Problem:
    """Return at most ``edge x edge`` coarse pixels about a pixel, with the guide that belongs to them."""
    starts = [
        int(np.clip(here - edge // 2, 0, max(0, side - edge)))
        for here, side in zip(centre, problem.low.shape, strict=True)
    ]
    rows, columns = (slice(start, start + edge) for start in starts)
    fine = [slice(one.start * problem.factor, one.stop * problem.factor) for one in (rows, columns)]
    guide, second = problem.guide, problem.second
    if guide is not None:
        mask = None if guide.mask is None else guide.mask[fine[0], fine[1]]
        guide = replace(guide, values=guide.values[:, fine[0], fine[1]], mask=mask)
    if second is not None:
        second = second.crop(fine[0], fine[1])
    return replace(problem, low=problem.low.crop(rows, columns), guide=guide, second=second)


def repeated(coarse: NDArray[np.floating], factor: int) -> Floats:
    """Return every pixel repeated ``factor x factor`` times."""
    return np.asarray(coarse, dtype=np.float64).repeat(factor, -2).repeat(factor, -1)


def _detail(fine: NDArray[np.floating], problem: Problem) -> Floats:
    """Return what was added to the pixels repeated; 0 where nothing was measured."""
    flat = repeated(problem.low.values, problem.factor)
    return np.nan_to_num(np.asarray(fine, dtype=np.float64) - flat)


def _energy(images: Floats) -> Floats:
    return np.asarray((images * images).mean(axis=(-2, -1)))
