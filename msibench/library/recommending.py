"""From the skill that is expected of every method to a recommendation, ion by ion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from msibench.advice.expected import Detail, Expected, expected_detail
from msibench.image import MSImage
from msibench.library.advice_values import KEEP, Advice, Finer, GuideAdvice, IonAdvice
from msibench.metrics.detail import bounded
from msibench.uncertainty.difficulty import Floats
from msibench.uncertainty.octaves import finest_octaves
from msibench.uncertainty.tissue import tissue_of

MARGIN = 0.09
"""Expected skill of an ion from which on it may be sharpened, our choice (docs/confidence.md says how often it
misleads)."""
ERROR = {2: 0.37, 4: 0.48}
"""Half-width of the interval of an ion's expected skill over `doubt`, by factor: 90 % of all ions and methods of 25
sections were off by no more (docs/confidence.md). That of the largest factor counts beyond it."""
WORTH = 0.02
"""Expected skill of a section from which on sharpening is worth its name."""
FEW_COUNTS = 0.1
"""Share of signal in the finer detail below which an ion is too noisy to be sharpened."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Seen:
    """What is known of a section."""

    low: MSImage
    variance: Floats
    """Of the counting noise in a pixel, ``(channel,)``."""
    detail: Detail
    """Of the finer image."""

    def counts(self) -> Floats:
        """Return the counted ions per measured tissue pixel, ``(channel,)``; infinite where no noise is seen."""
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = tissue_of(self.low)
            average = np.array([float(np.nan_to_num(image).mean()) for image in self.low.values])
            # Both are means over the image, tissue or not: of tissue pixels they are 1 / inside times as large.
            return np.where(self.variance > 0, average**2 / (self.variance * inside.mean()), np.inf)


def advice_of(
    seen: Seen, factor: int, told: Mapping[str, Expected], about: tuple[GuideAdvice, ...]
) -> Advice:
    """Return what to do with a section at one factor.

    Parameters
    ----------
    seen
        The section.
    factor
        How many times finer.
    told
        What is expected of every method that was tried.
    about
        What is known of those that look at the guide.
    """
    low, detail = seen.low, seen.detail
    told = {
        name: replace(one, skill=np.minimum(one.skill, detail.ceiling))
        for name, one in told.items()
    }

    means = {name: mean_skill(one.skill) for name, one in told.items()}
    ranked = dict(sorted(means.items(), key=lambda item: -item[1]))
    painted = {one.method for one in about if one.verdict == "paints"}
    usable = [name for name in ranked if name not in painted]
    best = usable[0] if usable and ranked[usable[0]] >= WORTH else KEEP
    present = set(low.present())
    counts = seen.counts()
    ions = []
    for channel, name in enumerate(low.channel_names()):
        skills = {method: float(told[method].skill[channel]) for method in usable}
        ceiling, counted = float(detail.ceiling[channel]), float(counts[channel])
        ion = _ion(channel, name, skills, ceiling, factor)
        reason = ion.reason if channel in present else "nothing is present"
        ions.append(
            replace(ion, counts=counted, reason=reason, method=KEEP if reason else ion.method)
        )
    ions.sort(key=lambda ion: -np.inf if np.isnan(ion.skill) else ion.skill, reverse=True)
    may = [] if best == KEEP else [ion for ion in ions if ion.method != KEEP]
    right = [told[ion.method].signal_gain[ion.channel] for ion in may]
    gain = float(np.clip(np.median(right), 0, 1)) if right else 0.0
    shown = [ion.channel for ion in may] or sorted(present)
    return Advice(
        factor=factor,
        pixel_size_um=low.pixel_size_um,
        recommended=best,
        skill=0.0 if best == KEEP else ranked[best],
        effective_um=low.pixel_size_um / factor**gain,
        methods=ranked,
        left_out={},
        averaged=(),
        boards=(),
        ions=tuple(ions),
        guide=about,
        finer=_finer(seen, shown, counts, gain),
        assumptions=ASSUMPTIONS,
        per_ion={name: one.skill for name, one in told.items()},
    )


ASSUMPTIONS = (
    "the coarse pixels are area means of finer ones",
    "noise is that of counted ions, independent from pixel to pixel: a pixel f times smaller counts f² "
    "times fewer at equal dwell",
    "the signal's detail goes on below the pixel as it does above",
    "what is right of a method's detail one scale up is right here",
    "methods stand in the ratios that they have on boards of other sections: a quarter of what is expected of "
    "interpolation follows from that, and three quarters of what is expected of networks",
)


def _ion(
    channel: int, name: str, skills: Mapping[str, float], ceiling: float, factor: int
) -> IonAdvice:
    """Return the advice for one ion; `skills` are those expected of each method."""
    sound = {method: skill for method, skill in skills.items() if np.isfinite(skill)}
    best = max(sound, key=lambda method: sound[method]) if sound else KEEP
    skill = sound.get(best, float("nan"))
    off = ERROR[max(known for known in ERROR if known <= factor)] * float(doubt(skill, ceiling))
    reason = ""
    if not sound:
        reason = "nothing below the pixel"
    elif ceiling < FEW_COUNTS:
        reason = f"too few counts: {1 - ceiling:.0%} of finer detail would be noise"
    elif skill <= MARGIN:
        reason = "no method is expected to find enough of its detail"
    return IonAdvice(
        channel=channel,
        name=name,
        method=KEEP if reason else best,
        skill=skill,
        low=skill - off,
        high=min(skill + off, 1.0),
        ceiling=ceiling,
        counts=float("nan"),
        reason=reason,
    )


def doubt(
    skill: NDArray[np.floating] | float, ceiling: NDArray[np.floating] | float
) -> NDArray[np.floating]:
    """Return what errors of an expected skill are proportional to: more where there is more detail to gain."""
    return np.asarray(0.05 + (np.abs(skill) + ceiling) / 2)


def _finer(
    seen: Seen, shown: Sequence[int], counts: Floats, gain_of_method: float
) -> tuple[Finer, ...]:
    """Foretell finer measurements of the ions `shown`."""
    low = seen.low
    octaves, found = finest_octaves(low), []
    for step in (2, 4):
        gain = _median(expected_detail(octaves, seen.variance, step).ceiling[shown])
        found.append(
            Finer(
                factor=step,
                pixel_size_um=low.pixel_size_um / step,
                time=step * step,
                counts=_median(counts[shown]) / step**2,
                gain=gain,
                gain_of_method=gain_of_method,
                effective_um=low.pixel_size_um / step ** np.nan_to_num(gain),
            )
        )
    return tuple(found)


def mean_skill(skills: Floats) -> float:
    """Return the mean over ions of the skill, bounded below by -1 so that no ion alone decides."""
    known = skills[np.isfinite(skills)]
    return float(bounded(known).mean()) if known.size else float("nan")


def _median(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else float("nan")
