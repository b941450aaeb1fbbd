"""How much of the detail that a method invents comes from the guide.

Invented is what a prediction adds beyond what its input and any local filter of the truth's own unseen
detail explain. Of that, the share is told that the guide explains in pixels that the explanation was not
fitted to, beyond what guides explain that cannot be right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.contracts.metric import Evaluation, Scored
from msibench.metrics.arrays import (
    NOT_FINITE,
    Floats,
    check_pair,
    factor_between,
    finite_images,
    first_reason,
    to_host,
)
from msibench.metrics.detail import LEAST_ADDED, ROUNDING, Degradation, Splitter, splitter_of
from msibench.metrics.detail_ceiling import ceilings_by_estimate, detail_ceiling
from msibench.metrics.detail_specs import NO_DETAIL, NO_SPLIT
from msibench.metrics.pairs import ImagesT
from msibench.metrics.products import one_thread
from msibench.metrics.upsampling import bicubic

REACH = 2
"""Pixels by which guide and truth may be shifted against the prediction, along each axis."""
TILE = 16
"""Fine pixels along a tile in which the guide is fitted anew, at least: paint may change its sign."""
BAND = 128
"""Rows that are processed together, so that a large image needs little memory."""
RIDGE = 0.03
"""Of the mean of a Gram matrix' diagonal, added to it."""
WEAKEST = 0.01
"""Share of the largest eigenvalue below which a direction of the truth's shifts is left out."""
SECOND = 0.1
"""Share of the first component's strength that a guide's second colour must have to be used."""
LEAST_TISSUE = 0.25
"""Share of a tile that must lie inside the mask."""
DEVIATIONS = 1.96
End = Literal["value", "low"]

ALL_SHIFTS = tuple((a, b) for a in range(-REACH, REACH + 1) for b in range(-REACH, REACH + 1))
FAR_SHIFTS = tuple((a, b) for a in (-REACH, 0, REACH) for b in (-REACH, 0, REACH))
NEAR_SHIFTS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
SQUARE_SHIFTS = tuple((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1))

PATCH = 8
"""Fine pixels along a patch that is compared with the guide near it."""
SEARCH = 4
"""Pixels by which a patch is sought in the guide, along each axis."""
SOUGHT_SHIFTS = tuple(
    (a, b) for a in range(-SEARCH, SEARCH + 1) for b in range(-SEARCH, SEARCH + 1)
)
MOST_SOUGHT = 1 << 20
"""Pixels in which patches are sought: of a larger image every k-th band of rows."""


@dataclass(frozen=True, slots=True)
class Leakage:
    """Result of one image."""

    value: float
    """Share of the added detail, in [0, 1]."""
    error: float
    """Standard error, from the scatter of the tiles."""

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval, at least 0: above 0 the guide has leaked."""
        return max(self.value - DEVIATIONS * self.error, 0.0)


def guide_leakage(
    test: ImagesT,
    reference: ImagesT,
    low: ImagesT,
    guide: ImagesT,
    *,
    protocol: Degradation,
    mask: ArrayLike | None = None,
    noise: ArrayLike | None = None,
    end: End = "value",
) -> ImagesT:
    """Share of the added detail that is invented and follows the guide; 0 at best.

    With ``n`` and ``t`` the unseen parts of prediction and truth:

    1. *Invented* is ``r``, what is left of n after the least-squares fit of t shifted by up to 2 pixels
       (any local filter of the true detail: blurred, sharpened or displaced is not invented) and of the
       bicubically enlarged low image's own detail. The truth's noise, which would weaken the fit, is
       taken out of its normal equations; a prediction that matches the truth better than the noise
       allows shares that noise, and then it stays in.
    2. In every tile, r is regressed (ridge) on the guide's unseen part: its first colour shifted by up to
       2 pixels, its second, and its edge magnitude. What is fitted in one half of the coarse pixels, a
       checkerboard, is judged in the other. The explained energy is the difference in squared error
       with and without the guide.
    3. Beside it, every patch of 8 x 8 pixels of r is sought in the guide's unseen part, moved by up to 4
       pixels, with any amplitude and sign: so paint is found that changes its sign, its amplitude or its
       place from patch to patch. Of the two attributions, the one with the higher lower end counts.
    4. The same with guides that cannot be right (turned by half a circle, moved by half the image: three
       for the regression, two for the patches); their mean is taken away.

    Give ``prediction(true guide) - prediction(wrong guide)`` as `test` to judge what the guide brought.

    Parameters
    ----------
    test, reference
        Prediction and truth, ``(..., row, column)``; give the noise-free signal as `reference`
        where it is known, with ``noise=0``.
    low
        What the prediction was made from, ``(..., row / factor, column / factor)``.
    guide
        The guide's channels on the fine grid, ``(channel, row, column)``.
    protocol
        Name of the degradation protocol, the protocol, or its `split`.
    mask
        Pixels to judge, bool ``(row, column)``; None: all.
    noise
        Share of the energy of the truth's unseen detail that is noise, one per image; None: the middle
        of two estimates (`msibench.metrics.detail_ceiling`).
    end
        ``"value"``, or ``"low"``: the lower end of its 95 % interval, at least 0.

    Returns
    -------
    One value per image in [0, 1], ``(...)``; 0 where next to nothing is added, NaN where the truth has no
    unseen detail or a pixel is not finite.

    Notes
    -----
    Guides are looked at in bands of 128 rows: a large image needs about 10 times its own float64 size.
    Of an image of more than a million pixels, patches are sought in evenly spread bands of rows.
    """
    images, back = to_host(test, "test")
    found = leakages(images, reference, low, guide, protocol=protocol, mask=mask, noise=noise)
    values = [float(getattr(one, end)) for one in found]
    return back(np.array(values, dtype=np.float64).reshape(images.shape[:-2]))


def leakages(
    test: Any,
    reference: Any,
    low: Any,
    guide: Any,
    *,
    protocol: Degradation,
    mask: ArrayLike | None = None,
    noise: ArrayLike | None = None,
) -> list[Leakage]:
    """Return value and error of every image; arguments as `guide_leakage`."""
    images, _ = to_host(test, "test")
    truth, _ = to_host(reference, "reference")
    coarse, _ = to_host(low, "low")
    bands, _ = to_host(guide, "guide")
    check_pair(images, truth)
    factor = factor_between(images, coarse)
    if bands.ndim != 3 or bands.shape[-2:] != images.shape[-2:]:
        raise ValueError(
            f"guide must be (channel, row, column) on the grid {images.shape[-2:]}, got "
            f"{bands.shape}"
        )
    inside = np.ones(images.shape[-2:], bool) if mask is None else np.asarray(mask, dtype=bool)
    inside = inside & np.isfinite(bands).all(axis=0)
    split = splitter_of(protocol)
    with one_thread():
        colours = _colours(np.nan_to_num(bands))
    count = int(np.prod(images.shape[:-2], dtype=np.int64))
    shares = (
        [None] * count if noise is None else list(np.broadcast_to(noise, images.shape[:-2]).ravel())
    )
    stacks = [stack.reshape(-1, *stack.shape[-2:]) for stack in (images, truth, coarse)]
    with one_thread():
        invented = [
            _judged(image, other, small, inside, split, factor, share)
            for image, other, small, share in zip(*stacks, shares, strict=True)
        ]
        return _attributed(invented, colours, inside, split, factor)


def evaluate(evaluation: Evaluation, *, against: str = "guide", end: End = "value") -> Scored:
    """Score one cell inside the tissue mask.

    Parameters
    ----------
    evaluation
        The noise-free signal takes the place of the truth where it is known.
    against
        ``"guide"``, or ``"uncharted"``: only the structures of a synthetic guide that are known to
        have no chemical counterpart.
    end
        As `guide_leakage`.
    """
    assert evaluation.truth is not None
    truth = evaluation.truth
    if evaluation.split is None:
        return Scored(np.full(truth.channels, np.nan), (NO_SPLIT,) * truth.channels)
    if evaluation.noise_free is not None:
        reference, noise = evaluation.noise_free, np.zeros(truth.channels)
    else:
        ceilings = evaluation.once("detail_ceiling", lambda: detail_ceiling(evaluation))
        reference = truth.values
        noise = np.array([1 - (one.low + one.high) / 2 for one in ceilings])
    if against == "uncharted":
        assert evaluation.uncharted is not None
        shown, known = evaluation.uncharted[None], None
    else:
        assert evaluation.guide is not None
        shown, known = evaluation.guide.values, evaluation.guide.mask
    mask: NDArray[np.bool_] = np.ones(truth.shape, bool) if truth.mask is None else truth.mask
    mask = mask if known is None else mask & known
    split, low = evaluation.split, evaluation.low.values
    found = evaluation.once(
        f"leakage of {against}",
        lambda: leakages(
            evaluation.prediction, reference, low, shown, protocol=split, mask=mask, noise=noise
        ),
    )
    values = np.array([float(getattr(one, end)) for one in found], dtype=np.float64)
    bad = ~(
        finite_images(evaluation.prediction.astype(np.float64), reference.astype(np.float64))
        & finite_images(evaluation.low.values.astype(np.float64))
    )
    reasons = first_reason(len(values), (bad, NOT_FINITE), (np.isnan(values), NO_DETAIL))
    return Scored(values, reasons)


@dataclass(frozen=True, slots=True, eq=False)
class _Invented:
    """What is left of one prediction's added detail when all that is right is taken out."""

    left: Floats
    enlarged: Floats
    """The enlarged low image's own detail."""
    energy: float
    """Of the added detail."""


def _judged(
    image: Floats,
    truth: Floats,
    low: Floats,
    mask: NDArray[np.bool_],
    split: Splitter,
    factor: int,
    noise: float | None,
) -> _Invented | Leakage:
    """Return what one image invents; a value where nothing is added or known."""
    if not (finite_images(image, truth) and finite_images(low)):
        return Leakage(float("nan"), 0.0)
    added, wanted = split(image)[1], split(truth)[1]
    energy = float((added[mask] ** 2).sum())
    of_truth = float((wanted[mask] ** 2).sum())
    if not of_truth > ROUNDING**2 * float((truth[mask] ** 2).sum()):
        return Leakage(float("nan"), 0.0)
    if energy < LEAST_ADDED**2 * of_truth:
        return Leakage(0.0, 0.0)
    enlarged = split(bicubic(low, factor))[1]
    if noise is None or not np.isfinite(noise):
        noise = 1 - float(np.mean(ceilings_by_estimate(truth, split=split, mask=mask)))
    match = float((added * wanted)[mask].sum()) ** 2 / (energy * of_truth)
    noise = min(noise, 1 - match)
    return _Invented(_invented(added, wanted, enlarged, mask, split, noise), enlarged, energy)


def _attributed(
    judged: list[_Invented | Leakage],
    colours: list[Floats],
    mask: NDArray[np.bool_],
    split: Splitter,
    factor: int,
) -> list[Leakage]:
    """Attribute what every image invents to the guide, less what wrong guides explain of it."""
    guides = [colours, *_wrong(colours)]
    images = [one.left for one in judged if isinstance(one, _Invented)]
    sought = _sought(np.stack(images), guides[:3], mask, split, factor) if images else []
    inventions = [one for one in judged if isinstance(one, _Invented)]
    by_guide = [_explained(inventions, guide, mask, split, factor) for guide in guides]
    places = iter(zip(inventions, zip(*by_guide, strict=True), sought, strict=True))
    found = []
    for one in judged:
        if isinstance(one, Leakage):
            found.append(one)
            continue
        _, tiles, patches = next(places)
        by_tiles = _beyond(tiles[0], np.mean(tiles[1:], axis=0), one.energy)
        by_patches = _beyond(*patches, one.energy)
        found.append(max(by_tiles, by_patches, key=lambda each: (each.low, each.value)))
    return found


def _beyond(own: Floats, wrong: Floats, energy: float) -> Leakage:
    """Return the share of the added energy that the guide explains beyond wrong ones, by places."""
    value = max(own.sum(), 0.0) - max(wrong.sum(), 0.0)
    scatter = own - wrong
    error = float(np.sqrt(len(scatter)) * scatter.std(ddof=1)) if len(scatter) > 1 else 0.0
    return Leakage(float(np.clip(value / energy, 0.0, 1.0)), error / energy)


def _sought(
    left: Floats,
    guides: list[list[Floats]],
    mask: NDArray[np.bool_],
    split: Splitter,
    factor: int,
) -> list[tuple[Floats, Floats]]:
    """Return per image the squared error that the guide, and wrong ones, take off each patch.

    Each patch takes the best of `SOUGHT_SHIFTS`, with its own amplitude. What wrong guides take off where
    they show anything is chance, and expected wherever the guide shows something: elsewhere there is
    nothing to compare. All images are looked at together, as the guide's shifted details are the same.
    """
    bands, share = _bands_sought(mask, factor)
    explained: list[list[Floats]] = [[np.zeros((len(left), 0))] for _ in guides]
    possible: list[list[Floats]] = [[np.zeros((len(left), 0))] for _ in guides]
    for band in bands:
        inside = mask[band].astype(np.float64)
        kept = _patches(inside, inside) >= PATCH * PATCH / 2
        if not kept.any():  # such as a last band with fewer rows than a patch
            continue
        images = left[:, band] * inside
        whole = _patches(images, images)
        for place, guide in enumerate(guides):
            highest, seen = np.zeros((len(left), *kept.shape)), np.zeros(kept.shape, np.bool_)
            for detail in _moved_details(guide, band, split, factor):
                shown = detail * inside
                energy = _patches(shown, shown)
                product = _patches(images, shown)
                usable = energy > 1e-4 * max(float(energy.mean()), 1e-300)
                taken = np.divide(product**2, energy, out=np.zeros_like(product), where=usable)
                np.maximum(highest, taken, out=highest)
                seen |= usable
            explained[place].append(highest[:, kept])
            possible[place].append((whole * seen)[:, kept])
    own, *wrong = (np.concatenate(parts, axis=1) / share for parts in explained)
    could, *others = (np.concatenate(parts, axis=1) / share for parts in possible)
    taken, total = (np.sum(parts, axis=(0, 2)) for parts in (wrong, others))
    by_chance = np.divide(taken, total, out=np.zeros_like(taken), where=total > 0)
    return list(zip(own, by_chance[:, None] * could, strict=True))


def _bands_sought(mask: NDArray[np.bool_], factor: int) -> tuple[list[slice], float]:
    """Return bands of whole patches and coarse pixels, and the share of the mask that they hold."""
    rows, columns = mask.shape
    step = max(BAND // math.lcm(PATCH, factor), 1) * math.lcm(PATCH, factor)
    every = max(-(-rows * columns // MOST_SOUGHT), 1)
    bands = [slice(top, min(top + step, rows)) for top in range(0, rows, step)][::every]
    inside = sum(int(mask[band].sum()) for band in bands)
    return bands, inside / max(int(mask.sum()), 1) or 1.0


def _moved_details(
    colours: list[Floats], band: slice, split: Splitter, factor: int
) -> Iterator[Floats]:
    """Yield the unseen part of a guide's first colour at each of `SOUGHT_SHIFTS`, and of others nearby."""
    rows, columns = colours[0].shape
    margin = -(-SEARCH // factor) * factor
    outer = slice(max(band.start - margin, 0), min(band.stop + margin, rows))
    inner = slice(band.start - outer.start, band.stop - outer.start)
    for number, colour in enumerate(colours):
        padded = np.pad(colour, SEARCH, mode="edge")
        for row, column in NEAR_SHIFTS if number else SOUGHT_SHIFTS:
            moved = padded[
                SEARCH + row + outer.start : SEARCH + row + outer.stop,
                SEARCH + column : SEARCH + column + columns,
            ]
            yield split(moved)[1][inner]


def _patches(first: Floats, second: Floats) -> Floats:
    """Return sums of products over whole patches, ``(..., patch row, patch column)``."""
    rows, columns = (side // PATCH for side in second.shape[-2:])
    cut = [
        one[..., : rows * PATCH, : columns * PATCH].reshape(
            *one.shape[:-2], rows, PATCH, columns, PATCH
        )
        for one in (first, second)
    ]
    return np.asarray(np.einsum("...iajb,...iajb->...ij", *cut))


def _invented(
    added: Floats,
    wanted: Floats,
    enlarged: Floats,
    mask: NDArray[np.bool_],
    split: Splitter,
    noise: float,
) -> Floats:
    """Return what neither a filter of the true detail nor the low image explains of the added detail."""
    own = np.stack([*_shifted(wanted, ALL_SHIFTS), *_shifted(enlarged, SQUARE_SHIFTS)])
    lines = own[:, mask]
    gram = _products(lines, lines)
    if noise > 0:
        white = split(np.random.default_rng(0).standard_normal(wanted.shape) * mask)[1]
        blank = np.stack([*_shifted(white, ALL_SHIFTS)])[:, mask]
        of_noise = _products(blank, blank)
        middle, count = len(ALL_SHIFTS) // 2, len(ALL_SHIFTS)
        gram[:count, :count] -= of_noise * (noise * gram[middle, middle] / of_noise[middle, middle])
    strength, direction = np.linalg.eigh(gram)
    kept = direction[:, strength > WEAKEST * strength[-1]]
    share = kept.T @ _products(lines, added[mask][None])[:, 0]
    weights = kept @ (share / strength[strength > WEAKEST * strength[-1]])
    return np.asarray(added - np.einsum("f,fij->ij", weights, own))


def _explained(
    inventions: list[_Invented],
    colours: list[Floats],
    mask: NDArray[np.bool_],
    split: Splitter,
    factor: int,
) -> list[Floats]:
    """Return per image how much squared error the guide takes off it in every tile, ``(tile,)``.

    All images are looked at together, as what the guide may lend them is the same for them.
    """
    tile = max(TILE // factor, 2) * factor
    rows, columns = (np.arange(side) // factor for side in mask.shape)
    fold = (rows[:, None] + columns[None, :]) % 2
    plains = [_of_unit_power(np.stack(_shifted(one.enlarged, NEAR_SHIFTS))) for one in inventions]
    gains: list[list[float]] = [[] for _ in inventions]
    for band, features in _features(colours, split, tile) if inventions else ():
        inside, half = mask[band], fold[band]
        for one, plain, found in zip(inventions, plains, gains, strict=True):
            whole = np.concatenate([plain[:, band], features])
            for place in _tiles(whole.shape[1], whole.shape[2], tile):
                chosen = inside[place]
                if chosen.sum() < max(LEAST_TISSUE * tile * tile, 16):
                    continue
                lines, left = whole[:, *place][:, chosen], one.left[band][place][chosen]
                found.append(_gain(lines, left, half[place][chosen], len(plain)))
    return [np.array(found or [0.0]) for found in gains]


def _tiles(rows: int, columns: int, tile: int) -> Iterator[tuple[slice, slice]]:
    """Yield the places of tiles, row by row."""
    for top in range(0, rows, tile):
        for start in range(0, columns, tile):
            yield slice(top, top + tile), slice(start, start + tile)


def _gain(lines: Floats, left: Floats, fold: NDArray[np.integer], plain: int) -> float:
    """Squared error without the guide's features less that with them, each half judged by the other."""
    gain = 0.0
    for half in (0, 1):
        fitted, judged = lines[:, fold != half], lines[:, fold == half]
        gram = _products(fitted, fitted)
        share = _products(fitted, left[fold != half][None])[:, 0]
        errors = []
        for count in (plain, len(lines)):
            part = gram[:count, :count].copy()
            part[np.diag_indices(count)] += RIDGE * np.trace(part) / count + 1e-300
            weights = np.linalg.solve(part, share[:count])
            rest = left[fold == half] - np.einsum("f,fp->p", weights, judged[:count])
            errors.append(float((rest * rest).sum()))
        gain += errors[0] - errors[1]
    return gain


def _features(colours: list[Floats], split: Splitter, tile: int) -> Iterator[tuple[slice, Floats]]:
    """Yield bands of rows, and the unseen part of what the guide may lend them, each of unit power."""
    from scipy.ndimage import sobel

    rows = colours[0].shape[0]
    step = max(BAND // tile, 1) * tile
    for top in range(0, rows, step):
        outer = slice(max(top - tile, 0), min(top + step + tile, rows))
        band = slice(top, min(top + step, rows))
        cut = [colour[outer] for colour in colours]
        edges = np.hypot(sobel(cut[0], 0), sobel(cut[0], 1))
        shifted = [*_shifted(cut[0], ALL_SHIFTS), *_shifted(edges, FAR_SHIFTS)]
        for colour in cut[1:]:
            shifted += _shifted(colour, FAR_SHIFTS)
        unseen = split(np.stack(shifted))[1][:, band.start - outer.start : band.stop - outer.start]
        yield band, _of_unit_power(unseen)


def _of_unit_power(images: Floats) -> Floats:
    """Scale each image to a mean square of 1; one that is no more than rounding becomes 0."""
    size = np.sqrt((images**2).mean(axis=(1, 2), keepdims=True))
    return np.asarray(
        np.divide(images, size, out=np.zeros_like(images), where=size > 1e-9 * size.max())
    )


def _colours(bands: Floats) -> list[Floats]:
    """Return the guide's first one or two principal components, of unit power."""
    lines = bands.reshape(len(bands), -1)
    lines = lines - lines.mean(axis=1, keepdims=True)
    strength, direction = np.linalg.eigh(_products(lines, lines))
    kept = [
        place
        for place in (-1, -2)[: len(bands)]
        if strength[place] > 0 and strength[place] >= SECOND**2 * strength[-1]
    ]
    if not kept:
        return [np.zeros(bands.shape[-2:])]
    found = [np.einsum("c,cp->p", direction[:, place], lines) for place in kept]
    return [(one / np.sqrt((one**2).mean())).reshape(bands.shape[-2:]) for one in found]


def _wrong(colours: list[Floats]) -> list[list[Floats]]:
    """Return guides that cannot be right: turned by half a circle, and moved by half the image."""
    rows, columns = (side // 2 for side in colours[0].shape)
    return [
        [colour[::-1, ::-1] for colour in colours],
        [np.roll(colour, rows, axis=0) for colour in colours],
        [np.roll(colour, columns, axis=1) for colour in colours],
    ]


def _shifted(image: Floats, shifts: tuple[tuple[int, int], ...]) -> list[Floats]:
    """Return an image moved by whole pixels, edge pixels repeated."""
    rows, columns = image.shape
    padded = np.pad(image, REACH, mode="edge")
    return [
        padded[REACH + row : REACH + row + rows, REACH + column : REACH + column + columns]
        for row, column in shifts
    ]


def _products(first: Floats, second: Floats) -> Floats:
    return np.asarray(first @ second.T)
