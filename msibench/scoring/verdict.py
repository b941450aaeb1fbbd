"""From a paired comparison to a verdict: better, identical, equivalent, worse or undecided."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msibench.scoring.image_pairs import TOLERANCE, ImagePairs

Outcome = Literal["better", "identical", "equivalent", "worse", "undecided"]
MEAN_SHARE, LARGE_SHARE, WORST_SHARE = 0.9, 0.05, 0.05
"""How the admitted rate of false alarms is spent: on the mean, on a mean loss that is large even for so
few images, and on single sections and images."""
PRIOR_IMAGES = 10.0
"""Images that the stated spread of an image counts for beside the measured one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Result of a paired comparison of two runs of one method in one metric."""

    outcome: Outcome
    """``worse``: the loss is real and may exceed the margin, or the mean, a section or an image lost
    more than noise explains (`reason`); ``identical``: every image compared has exactly the value that
    it had, which is a fact about these images and asks for no interval; ``equivalent``: the whole
    interval lies within the margin; ``better``: the gain is real and may exceed it; ``undecided``: none
    of these."""
    noninferior: bool
    """A loss beyond the margin is ruled out."""
    base: float
    new: float
    """Mean values over the images compared, as they were measured."""
    difference: float
    """Mean of new - base, turned so that above 0 is better, in the metric's unit."""
    low: float
    high: float
    """95 % interval of the difference, the shift of a rerun included."""
    p: float
    """One-sided p of a loss; NaN where there are too few images."""
    p_holm: float
    """The same, corrected over all comparisons in which any image differs (`corrected_by_method`)."""
    images: int
    sections: int
    scope: str
    reason: Literal["", "mean", "large", "section", "image"] = ""
    place: str = ""
    """The section or image that lost most beyond what is allowed."""
    place_loss: float = float("nan")
    place_allowed: float = float("nan")
    note: str = ""


class _Place(NamedTuple):
    """A section or image that lost more than it may."""

    kind: Literal["section", "image"]
    name: str
    loss: float
    allowed: float


def undecided(reason: str) -> Verdict:
    """Return the verdict on what could not be compared."""
    nothing = float("nan")
    return Verdict(
        outcome="undecided",
        noninferior=False,
        base=nothing,
        new=nothing,
        difference=nothing,
        low=nothing,
        high=nothing,
        p=nothing,
        p_holm=nothing,
        images=0,
        sections=0,
        scope="",
        note=reason,
    )


def judge_pairs(
    pairs: ImagePairs, p_holm: float, *, count: int = 1, level: float = 0.95, worst: bool = True
) -> Verdict:
    """Judge one comparison of `count` in which any image differs.

    `worst`: a single section or image that lost too much makes it worse as well.
    """
    found, margin, alarm = pairs.found, pairs.terms.margin, 1.0 - level
    verdict, edge = _measured(pairs, p_holm), margin * (1 + TOLERANCE)
    mean, low, high = verdict.difference, verdict.low, verdict.high
    if pairs.identical:
        return replace(verdict, outcome="identical", noninferior=True)
    if len(pairs.difference) and not pairs.differs:
        whole = bool(np.isfinite(low))
        return replace(verdict, outcome="equivalent" if whole else "undecided")
    if p_holm <= MEAN_SHARE * alarm and mean < 0 and low < -edge:
        return replace(verdict, outcome="worse", reason="mean")
    if not len(pairs.difference):
        return verdict
    large = _large(pairs, LARGE_SHARE * alarm / count)
    everywhere = float(np.median(-pairs.difference)) > large
    if worst and margin > 0 and not everywhere:
        place = _worst_place(pairs, WORST_SHARE * alarm / count)
        if place is not None:
            return replace(
                verdict, outcome="worse", reason=place.kind, place=place.name,
                place_loss=place.loss, place_allowed=place.allowed,
            )  # fmt: skip
    if -mean > large:
        return replace(verdict, outcome="worse", reason="large")
    inner = found if pairs.terms.trains else pairs.bare
    if inner.low >= -edge and inner.high <= edge:
        return replace(verdict, outcome="equivalent")
    return replace(verdict, outcome="better") if low > 0 and high > edge else verdict


def _measured(pairs: ImagePairs, p_holm: float) -> Verdict:
    """Return the measured values, still undecided."""
    found = pairs.found
    inner = found if pairs.terms.trains else pairs.bare
    return Verdict(
        outcome="undecided",
        noninferior=bool(inner.low >= -pairs.terms.margin * (1 + TOLERANCE)),
        base=float(pairs.base.mean()) if len(pairs.base) else float("nan"),
        new=float(pairs.new.mean()) if len(pairs.new) else float("nan"),
        difference=float(found.mean),
        low=float(found.low),
        high=float(found.high),
        p=pairs.p,
        p_holm=float(p_holm),
        images=int(found.images),
        sections=int(found.sections),
        scope=str(found.scope),
        note=str(found.note),
    )


def _large(pairs: ImagePairs, alarm: float) -> float:
    """Return the mean loss that stated noise reaches at the rate `alarm`, margin included."""
    from scipy.special import ndtri

    margin = pairs.terms.margin
    if not margin:
        return float("inf")
    of_mean = pairs.terms.noise.of_mean(int(pairs.found.images), int(pairs.found.sections))
    return margin + -float(ndtri(alarm)) * (of_mean * margin)


def _worst_place(pairs: ImagePairs, alarm: float) -> _Place | None:
    """Return the section, else the image, that lost most beyond its allowance, or None."""
    names, number = np.unique(pairs.sections, return_inverse=True)
    several = len(names) > 1
    places = len(pairs.difference) + (len(names) if several else 0)
    if several:
        sizes = np.bincount(number)
        means = np.bincount(number, weights=pairs.difference) / sizes
        loss, allowed, worst = _most_beyond(pairs, means, sizes.astype(np.float64), alarm / places)
        if loss > allowed:
            return _Place("section", str(names[worst]), loss, allowed)
    one = np.ones(len(pairs.difference))
    loss, allowed, worst = _most_beyond(pairs, pairs.difference, one, alarm / places)
    return _Place("image", str(pairs.names[worst]), loss, allowed) if loss > allowed else None


def _most_beyond(
    pairs: ImagePairs, values: NDArray[np.float64], images: NDArray[np.float64], alarm: float
) -> tuple[float, float, int]:
    """Return the loss, the allowance and the number of the value that lost most beyond its allowance.

    Each value is a mean over `images`. The allowance grows with the number of values, through `alarm`,
    and with the spread of the others (median absolute deviation, the stated spread counting for
    `PRIOR_IMAGES` of them).
    """
    from scipy.special import stdtrit

    margin, noise, count = pairs.terms.margin, pairs.terms.noise, len(values)
    stated = (noise.section**2 + noise.image**2 / images) * margin**2
    robust = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    variance = (PRIOR_IMAGES * stated + count * robust**2) / (PRIOR_IMAGES + count)
    spread = np.sqrt(variance + pairs.rerun.deviation**2)
    allowed = margin + -float(stdtrit(PRIOR_IMAGES + count, alarm)) * spread
    over = int(np.argmax(-values - allowed))
    return float(-values[over]), float(allowed[over]), over
