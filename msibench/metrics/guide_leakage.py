"""How much of the detail that a method invents comes from the guide.

Invented is what a prediction adds beyond what its input and any local filter of the truth's own unseen
detail explain. Of that, the share is told that the guide explains in pixels that the explanation was not
fitted to, beyond what guides explain that cannot be right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
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
from msibench.metrics.guide_lending import (
    ALL_SHIFTS,
    AT_ONCE,
    NEAR_SHIFTS,
    Judged,
    Tiles,
    in_patches,
    in_tiles,
    kept_for_the_next,
    patches_kept,
    patches_of,
    shifted,
    tiles_of,
)
from msibench.metrics.pairs import ImagesT
from msibench.metrics.products import one_thread
from msibench.metrics.upsampling import bicubic

RIDGE = 0.03
"""Of the mean of a Gram matrix' diagonal, added to it."""
WEAKEST = 0.01
"""Share of the largest eigenvalue below which a direction of the truth's shifts is left out."""
SECOND = 0.1
"""Share of the first component's strength that a guide's second colour must have to be used."""
DEVIATIONS = 1.96
End = Literal["value", "low"]
Once = Callable[[str, Callable[[], "list[_Invented | Leakage]"]], "list[_Invented | Leakage]"]

SQUARE_SHIFTS = tuple((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1))


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
    once: Once | None = None,
) -> list[Leakage]:
    """Return value and error of every image; arguments as `guide_leakage`.

    Parameters
    ----------
    once
        `Evaluation.once`: what the images invent is the same for every guide.
    """
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
    where = Judged(inside, split, factor)

    def invented() -> list[_Invented | Leakage]:
        return [
            _judged(image, other, small, where, share)
            for image, other, small, share in zip(*stacks, shares, strict=True)
        ]

    with one_thread():
        name = f"invented in {hashlib.sha256(inside.tobytes()).hexdigest()}"
        return _attributed(once(name, invented) if once else invented(), colours, where)


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
            evaluation.prediction,
            reference,
            low,
            shown,
            protocol=split,
            mask=mask,
            noise=noise,
            once=evaluation.once,
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
    where: Judged,
    noise: float | None,
) -> _Invented | Leakage:
    """Return what one image invents; a value where nothing is added or known."""
    mask, split = where.mask, where.split
    if not (finite_images(image, truth) and finite_images(low)):
        return Leakage(float("nan"), 0.0)
    added, wanted = split(image)[1], split(truth)[1]
    energy = float((added[mask] ** 2).sum())
    of_truth = float((wanted[mask] ** 2).sum())
    if not of_truth > ROUNDING**2 * float((truth[mask] ** 2).sum()):
        return Leakage(float("nan"), 0.0)
    if energy < LEAST_ADDED**2 * of_truth:
        return Leakage(0.0, 0.0)
    enlarged = split(bicubic(low, where.factor))[1]
    if noise is None or not np.isfinite(noise):
        noise = 1 - float(np.mean(ceilings_by_estimate(truth, split=split, mask=mask)))
    match = float((added * wanted)[mask].sum()) ** 2 / (energy * of_truth)
    noise = min(noise, 1 - match)
    return _Invented(_invented(added, wanted, enlarged, mask, split, noise), enlarged, energy)


def _attributed(
    judged: list[_Invented | Leakage], colours: list[Floats], where: Judged
) -> list[Leakage]:
    """Attribute what every image invents to the guide, less what wrong guides explain of it."""
    inventions = [one for one in judged if isinstance(one, _Invented)]
    if not inventions:
        return [one for one in judged if isinstance(one, Leakage)]
    guides = [colours, *_wrong(colours)]
    by_patches = _sought(np.stack([one.left for one in inventions]), guides[:3], where)
    by_guide = _explained(inventions, guides, where)
    places = iter(zip(inventions, by_guide.swapaxes(0, 1), by_patches, strict=True))
    found = []
    for one in judged:
        if isinstance(one, Leakage):
            found.append(one)
            continue
        _, tiles, patches = next(places)
        ways = (
            _beyond(tiles[0], np.mean(tiles[1:], axis=0), one.energy),
            _beyond(*patches, one.energy),
        )
        found.append(max(ways, key=lambda each: (each.low, each.value)))
    return found


def _beyond(own: Floats, wrong: Floats, energy: float) -> Leakage:
    """Return the share of the added energy that the guide explains beyond wrong ones, by places."""
    value = max(own.sum(), 0.0) - max(wrong.sum(), 0.0)
    scatter = own - wrong
    error = float(np.sqrt(len(scatter)) * scatter.std(ddof=1)) if len(scatter) > 1 else 0.0
    return Leakage(float(np.clip(value / energy, 0.0, 1.0)), error / energy)


def _sought(left: Floats, guides: list[list[Floats]], where: Judged) -> list[tuple[Floats, Floats]]:
    """Return per image the squared error that the guide, and wrong ones, take off each patch.

    Each patch takes the best of `SOUGHT_SHIFTS`, with its own amplitude. What wrong guides take off where
    they show anything is chance, and expected wherever the guide shows something: elsewhere there is
    nothing to compare. All images are looked at together, as the guide's shifted details are the same.
    """
    share = where.bands_sought()[1]
    (own, could), *others = (_taken_by(guide, left, where) for guide in guides)
    taken, total = (
        np.sum([each.sum(axis=1) for each in side], axis=0) for side in zip(*others, strict=True)
    )
    by_chance = np.divide(taken, total, out=np.zeros_like(taken), where=total > 0)
    return list(zip(own / share, by_chance[:, None] * could / share, strict=True))


def _taken_by(guide: list[Floats], left: Floats, where: Judged) -> tuple[Floats, Floats]:
    """Return the squared error that a guide takes off, and what there is where it shows anything.

    Each ``(image, patch)``.
    """
    taken: list[Floats] = [np.zeros((len(left), 0))]
    possible: list[Floats] = [np.zeros((len(left), 0))]
    lent = kept_for_the_next("patches", guide, where, lambda: patches_of(guide, where))
    for _, parts in groupby(lent, key=lambda part: part.band.start):
        highest: Floats = np.zeros(())
        seen, images = np.zeros((), np.bool_), None
        for part in parts:
            if images is None:
                inside = where.mask[part.band].astype(np.float64)
                cut = in_patches(left[:, part.band] * inside)[:, patches_kept(inside)]
                images = np.ascontiguousarray(cut.swapaxes(0, 1))  # (patch, image, pixel)
            highest = np.maximum(highest, ((images @ part.shown) ** 2).max(axis=2))
            seen = seen | part.seen
        assert images is not None
        taken.append(highest.T)
        possible.append((images**2).sum(axis=2).T * seen)
    return np.concatenate(taken, axis=1), np.concatenate(possible, axis=1)


def _invented(
    added: Floats,
    wanted: Floats,
    enlarged: Floats,
    mask: NDArray[np.bool_],
    split: Splitter,
    noise: float,
) -> Floats:
    """Return what neither a filter of the true detail nor the low image explains of the added detail."""
    own = np.stack([*shifted(wanted, ALL_SHIFTS), *shifted(enlarged, SQUARE_SHIFTS)])
    lines = own[:, mask]
    gram = _products(lines, lines)
    if noise > 0:
        white = split(np.random.default_rng(0).standard_normal(wanted.shape) * mask)[1]
        blank = np.stack([*shifted(white, ALL_SHIFTS)])[:, mask]
        of_noise = _products(blank, blank)
        middle, count = len(ALL_SHIFTS) // 2, len(ALL_SHIFTS)
        gram[:count, :count] -= of_noise * (noise * gram[middle, middle] / of_noise[middle, middle])
    strength, direction = np.linalg.eigh(gram)
    kept = direction[:, strength > WEAKEST * strength[-1]]
    share = kept.T @ _products(lines, added[mask][None])[:, 0]
    weights = kept @ (share / strength[strength > WEAKEST * strength[-1]])
    return np.asarray(added - np.einsum("f,fij->ij", weights, own))


def _explained(inventions: list[_Invented], guides: list[list[Floats]], where: Judged) -> Floats:
    """Return the squared error that each guide takes off each image in every tile.

    ``(guide, image, tile)``. All images are looked at together, as what a guide may lend them is the same.
    """
    sizes = [_power(one.enlarged) for one in inventions]
    lent = [
        kept_for_the_next("tiles", guide, where, partial(tiles_of, guide, where))
        for guide in guides
    ]
    found = []
    for band, *tiles in zip(where.bands(), *lent, strict=True):
        halves = where.halves(band)
        chosen = halves.any(axis=(1, 2))
        together = max(AT_ONCE // (halves[:, 0].size * (len(NEAR_SHIFTS) + 1)), 1)
        gains = []
        for first in range(0, len(inventions), together):
            some = slice(first, first + together)
            lines = _lines(inventions[some], sizes[some], band, where.tile)
            first_half, other = (_Sums.of(lines * halves[:, h, None, None]) for h in (0, 1))
            gains.append([_gains((first_half, other), one)[chosen] for one in tiles])
        found.append(np.concatenate(gains, axis=2))  # (guide, tile, image)
    every = np.concatenate(found, axis=1).swapaxes(1, 2)
    return every if every.shape[2] else np.zeros((*every.shape[:2], 1))


def _power(enlarged: Floats) -> Floats:
    """Return what each of the enlarged image's near shifts is divided by; 0 where it is nothing."""
    moved = np.stack(shifted(enlarged, NEAR_SHIFTS))
    size = np.sqrt((moved**2).mean(axis=(1, 2)))
    return np.where(size > 1e-9 * size.max(), size, 0.0)


def _lines(inventions: list[_Invented], sizes: list[Floats], band: slice, tile: int) -> Floats:
    """Return the enlarged images' near shifts, of unit power, and what is to be explained.

    ``(tile, image, line, pixel)``
    """
    every = []
    for one, size in zip(inventions, sizes, strict=True):
        moved = np.stack(shifted(one.enlarged, NEAR_SHIFTS))[:, band]
        scale = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
        every += [moved * scale[:, None, None], one.left[None, band]]
    laid = in_tiles(np.concatenate(every), tile).swapaxes(0, 1)
    return np.ascontiguousarray(laid).reshape(len(laid), len(inventions), -1, laid.shape[-1])


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Sums over one half of each tile's pixels, for each image; the lines are those of `_lines`."""

    lines: Floats
    plain: Floats
    """Products of the enlarged image's shifts, ``(tile, image, shift, shift)``."""
    share: Floats
    """Their products with what is to be explained, ``(tile, image, shift, 1)``."""

    @staticmethod
    def of(lines: Floats) -> _Sums:
        """Return the sums of lines that are 0 outside their half."""
        every = lines @ lines.swapaxes(2, 3)
        return _Sums(lines, every[..., :-1, :-1], every[..., :-1, -1:])

    def with_guide(self, features: Floats) -> tuple[Floats, Floats]:
        """Return products with a guide's features: of the shifts, and of what is to be explained.

        ``(tile, image, shift, feature)`` and ``(tile, image, feature, 1)``.
        """
        tiles, images, lines, pixels = self.lines.shape
        flat = self.lines.reshape(tiles, images * lines, pixels) @ features.swapaxes(1, 2)
        every = flat.reshape(tiles, images, lines, -1)
        return every[..., :-1, :], every[..., -1, :, None]


def _gains(sums: tuple[_Sums, _Sums], lent: Tiles) -> Floats:
    """Squared error without the guide's features less that with them, each half judged by the other.

    The guide's part of the normal equations is diagonal in the eigenvectors of its Gram matrix, and is
    taken out of them; what is left has as many unknowns as the enlarged image has shifts.

    Returns
    -------
    ``(tile, image)``.
    """
    guided = [one.with_guide(lent.features) for one in sums]
    gain = np.zeros(sums[0].lines.shape[:2])
    for half, turned in ((0, lent.turned), (1, lent.turned.swapaxes(1, 2))):
        fitted, judged = sums[half], sums[1 - half]
        (cross, share), (other_cross, other_share) = guided[half], guided[1 - half]
        powers, other_powers = (lent.powers[:, each, None, :, None] for each in (half, 1 - half))
        trace = np.trace(fitted.plain, axis1=2, axis2=3)[..., None, None]
        count = fitted.plain.shape[-1]
        unit = np.eye(count)
        alone = np.linalg.solve(
            fitted.plain + unit * (RIDGE * trace / count + 1e-300), fitted.share
        )
        whole = trace + powers.sum(axis=2, keepdims=True)
        ridge = RIDGE * whole / (count + powers.shape[2]) + 1e-300
        part = 1 / (powers + ridge)
        plain = np.linalg.solve(
            fitted.plain + unit * ridge - cross @ (part * cross.swapaxes(2, 3)),
            fitted.share - cross @ (part * share),
        )
        ours = part * (share - cross.swapaxes(2, 3) @ plain)
        ours = (turned @ ours[..., 0].swapaxes(1, 2)).swapaxes(1, 2)[..., None]
        beside = 2 * (other_cross.swapaxes(2, 3) @ plain - other_share) + other_powers * ours
        with_guide = _quadratic(judged, plain) + ours.swapaxes(2, 3) @ beside
        gain += (_quadratic(judged, alone) - with_guide)[..., 0, 0]
    return gain


def _quadratic(judged: _Sums, weights: Floats) -> Floats:
    """Return the change of squared error that weights of the enlarged image's shifts make."""
    return np.asarray(weights.swapaxes(2, 3) @ (judged.plain @ weights - 2 * judged.share))


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


def _products(first: Floats, second: Floats) -> Floats:
    return np.asarray(first @ second.T)
