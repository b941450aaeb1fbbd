"""Has a method become worse? Paired non-inferiority with a margin."""

from __future__ import annotations

from numpy.typing import ArrayLike

from msibench.contracts.metric import Direction
from msibench.scoring.image_pairs import Terms, pair_values
from msibench.scoring.replicates import Names
from msibench.scoring.rerun_noise import Noise, RunShift
from msibench.scoring.verdict import Verdict, judge_pairs


def noninferiority(
    base: ArrayLike,
    new: ArrayLike,
    sections: Names,
    *,
    specimens: Names | None = None,
    margin: float,
    direction: Direction = "higher",
    level: float = 0.95,
    noise: Noise | None = None,
    trains: bool = False,
) -> Verdict:
    """Judge by the mean whether `new` is worse than `base` on the same images.

    Parameters
    ----------
    base, new
        Values of one metric, ``(image,)``; images without both are left out.
    sections
        Name of the section of every image.
    specimens
        Name of the specimen that every image's section was cut from; None: every section is one.
    margin
        Loss that does not matter, in the metric's unit, at least 0.
    direction
        Which way is better.
    level
        1 - admitted rate of false alarms.
    noise
        What a rerun differs by; None: as stated in `Noise`.
    trains
        The method trains, so that its one run may be a lucky one: it is equivalent only if that is
        ruled out too.

    Raises
    ------
    ConfigurationError
        If the margin is negative or not a number.
    """
    terms = Terms(margin=margin, direction=direction, noise=noise or Noise(), trains=trains)
    shift = RunShift(deviation=terms.noise.rerun * margin)
    pairs = pair_values(base, new, sections, terms, shift, specimens=specimens)
    return judge_pairs(pairs, pairs.p, level=level, worst=False)
