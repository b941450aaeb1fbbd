"""How much of a noisy truth's unseen detail any method can have right: a range, and its source.

A truth's detail is that of its signal and that of its noise, and the noise cannot be predicted: the
ceiling of `detail_gain` (and of `skill`) is the signal's share, ``|N(signal)|² / |N(truth)|²``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.metric import Evaluation, Scored
from msibench.metrics.arrays import NOT_FINITE, Floats, finite_images, first_reason
from msibench.metrics.detail import Splitter, split_error
from msibench.metrics.detail_specs import NO_DETAIL, NO_SPLIT
from msibench.metrics.noise_ceiling import noise_map

EXACT, REPEATED, BOUNDED, THINNED, ESTIMATED = range(5)
"""Places in `CEILING_SOURCES`."""
DRAWS = 4
LARGEST_RATIO = 1.25
"""Of two repeats' difference in what the low image fixes over that in what it does not, per degree of
freedom: 1 for white noise (0.8 to 1.1 for Poisson counts of the phantom); above this the two differ by
more than noise and are not repeats."""
LARGEST_SHARE = 1.05
"""Above this a "ceiling" says that the repeat has more detail than the truth: no repeat either."""
End = Literal["low", "high", "source"]


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Range of one image's ceiling; equal ends where there is one value."""

    low: float
    high: float
    source: int


def ceiling_of_signal(
    signal: Floats, truth: Floats, *, split: Splitter, coarse: tuple[Floats, Floats]
) -> float:
    """Return the gain of the signal, scaled in every coarse pixel to the counts that were measured.

    Whoever knows the signal also sees the coarse image, whose noise is the truth's own: its best
    prediction is the signal times (coarse truth / coarse signal), clipped to [0, 1] as the truth is.

    Parameters
    ----------
    signal, truth
        ``(row, column)``.
    split
        Of the protocol.
    coarse
        Low images of truth and signal, noise-free but for the truth's own noise.
    """
    measured, expected = coarse
    ratio = np.divide(measured, expected, out=np.ones_like(measured), where=expected > 0)
    factor = signal.shape[0] // measured.shape[0]
    fine = np.repeat(np.repeat(ratio, factor, axis=0), factor, axis=1)
    best = np.clip(signal * fine, 0.0, 1.0)
    return float(split_error(best, truth, protocol=split).detail_gain)


def ceiling_of_repeat(truth: Floats, repeat: Floats, *, split: Splitter) -> float:
    """Return the share of the truth's unseen detail that a second measurement has too; NaN if it is none.

    ``⟨N(a), N(b)⟩ / ⟨N(b), N(b)⟩`` for a truth b and a repeat a that is brought to the truth's
    intensity by the norms of what the low image fixes (a regression of whole images would take their
    noise for a lower intensity). The two must differ by noise alone: as much, per degree of
    freedom, in what the low image fixes as in what it does not (`LARGEST_RATIO`).
    """
    (seen, unseen), (seen_again, unseen_again) = split(truth), split(repeat)
    again, wanted = float((seen_again * seen_again).sum()), float((unseen * unseen).sum())
    if not (again > 0 and wanted > 0):
        return float("nan")
    gain = float(np.sqrt((seen * seen).sum() / again))
    share = gain * float((unseen * unseen_again).sum()) / wanted
    of_input = float(((seen - gain * seen_again) ** 2).sum())
    of_detail = float(((unseen - gain * unseen_again) ** 2).sum())
    freedom = _unseen_share(truth.shape, split)
    allowed = LARGEST_RATIO * of_detail * (1 - freedom) / freedom
    if of_detail <= 1e-12 * wanted or of_input > allowed or share > LARGEST_SHARE:
        return float("nan")
    return float(np.clip(share, 0.0, 1.0))


def ceiling_of_counts(
    truth: Floats, ions: float, *, split: Splitter, seed: int, draws: int = DRAWS
) -> float:
    """Return the share of the detail on which binomial halves of the counts agree.

    Each ion goes to one of two halves; for Poisson counts their noise is independent, so
    ``4 ⟨N(a), N(b)⟩`` estimates the signal's energy. Mean over `draws` thinnings.

    Parameters
    ----------
    truth
        ``(row, column)``; a clipped pixel has the counts at which it was clipped.
    ions
        Counts per unit of `truth`.
    """
    counts = np.maximum(np.rint(truth * ions), 0).astype(np.int64)
    rng = np.random.default_rng(seed)
    wanted = float((split(counts.astype(np.float64))[1] ** 2).sum())
    if not wanted > 0:
        return float("nan")
    total = 0.0
    for _ in range(draws):
        half = rng.binomial(counts, 0.5)
        first, second = (split(part.astype(np.float64))[1] for part in (half, counts - half))
        total += 4 * float((first * second).sum())
    return float(np.clip(total / draws / wanted, 0.0, 1.0))


def ceilings_by_estimate(
    truth: Floats, *, split: Splitter, mask: NDArray[np.bool_] | None = None
) -> tuple[float, float]:
    """Return the signal's share by two estimators of the noise: by the spatial nugget, by the wavelet MAD.

    The noise is taken as white from pixel to pixel, so that its unseen energy is its energy times the
    share of directions that are unseen.
    """
    wanted = float((split(truth)[1] ** 2).sum())
    unseen = _unseen_share(truth.shape, split)
    inside = np.ones(truth.shape, np.bool_) if mask is None or not mask.any() else mask
    # The image's zeros around the tissue were counted like the rest, and hold no noise.
    energies = (
        nugget(truth, inside) * np.count_nonzero(inside),
        float((np.nan_to_num(noise_map(truth[None], inside)[0]) ** 2).sum()),
    )
    first, second = (float(np.clip(1 - unseen * e / wanted, 0.0, 1.0)) for e in energies)
    return first, second


def nugget(image: Floats, mask: NDArray[np.bool_]) -> float:
    """Return the variance of the noise by the semivariogram, drawn on to a distance of 0.

    ``γ(h)`` is half the mean squared difference of pixels h apart along rows and columns; the straight
    line through h = 1 and 2 meets 0 at ``2 γ(1) - γ(2)``. What it takes for noise is what does not
    fade in two pixels; a structure one pixel wide is taken for noise too.
    """
    half = []
    for step in (1, 2):
        total, count = 0.0, 0
        for axis in (0, 1):
            first = np.moveaxis(image, axis, 0)
            inside = np.moveaxis(mask, axis, 0)
            pairs = inside[step:] & inside[:-step]
            total += float(((first[step:] - first[:-step])[pairs] ** 2).sum())
            count += int(np.count_nonzero(pairs))
        half.append(total / (2 * count) if count else 0.0)
    return max(2 * half[0] - half[1], 0.0)


def detail_ceiling(evaluation: Evaluation) -> list[Ceiling]:
    """Return the ceiling of every ion image, from the best available source."""
    assert evaluation.truth is not None
    assert evaluation.split is not None
    truth, split = evaluation.truth.values.astype(np.float64), evaluation.split
    found = []
    for channel, image in enumerate(truth):
        if (
            not split_error(image, image, protocol=split).wanted > 0
        ):  # NaN where a pixel is not finite
            found.append(Ceiling(float("nan"), float("nan"), ESTIMATED))
            continue
        if evaluation.noise_free is not None:
            signal = evaluation.noise_free[channel].astype(np.float64)
            coarse = evaluation.degrade(np.stack([image, signal]).astype(np.float32))
            value = ceiling_of_signal(
                signal, image, split=split,
                coarse=(coarse[0].astype(np.float64), coarse[1].astype(np.float64)),
            )  # fmt: skip
            found.append(Ceiling(value, value, EXACT))
            continue
        value, source = _measured(evaluation, channel, image, split)
        if np.isfinite(value):
            found.append(Ceiling(value, value, source))
            continue
        ends = sorted(ceilings_by_estimate(image, split=split, mask=evaluation.truth.mask))
        found.append(Ceiling(ends[0], ends[1], ESTIMATED))
    return found


def evaluate(evaluation: Evaluation, *, end: End = "low") -> Scored:
    """Return one end of the ceiling's range of every ion image, or the number of its source.

    The same for every method.
    """
    assert evaluation.truth is not None
    count = evaluation.truth.channels
    if evaluation.split is None:
        return Scored(np.full(count, np.nan), (NO_SPLIT,) * count)
    found = evaluation.once("detail_ceiling", lambda: detail_ceiling(evaluation))
    values = np.array([float(getattr(one, end)) for one in found], dtype=np.float64)
    nothing = np.array([np.isnan(one.low) for one in found])
    finite = finite_images(evaluation.truth.values.astype(np.float64))
    reasons = first_reason(count, (~finite, NOT_FINITE), (nothing, NO_DETAIL))
    return Scored(np.where(nothing, np.nan, values), reasons)


def _measured(
    evaluation: Evaluation, channel: int, image: Floats, split: Splitter
) -> tuple[float, int]:
    """Return the ceiling by a repeat or by the counts, and which; NaN where neither is known."""
    if evaluation.repeat is not None and np.isfinite(evaluation.repeat[channel]).all():
        value = ceiling_of_repeat(image, evaluation.repeat[channel].astype(np.float64), split=split)
        if np.isfinite(value):
            return value, BOUNDED if "".join(
                evaluation.repeat_shares[channel : channel + 1]
            ) else REPEATED
    counts = evaluation.counts_per_unit
    ions = float("nan") if counts is None else float(counts[channel])
    if np.isfinite(ions) and ions > 0:
        return ceiling_of_counts(image, ions, split=split, seed=evaluation.seed), THINNED
    return float("nan"), ESTIMATED


def _unseen_share(shape: tuple[int, ...], split: Splitter) -> float:
    """Return the share of all directions that are unseen, by white noise of a fixed seed."""
    noise = np.random.default_rng(0).standard_normal(shape)
    return float((split(noise)[1] ** 2).sum() / (noise**2).sum())
