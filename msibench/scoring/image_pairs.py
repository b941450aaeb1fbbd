"""Values of one metric on the same ion images, before and after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.contracts.metric import Direction, turned
from msibench.errors import ConfigurationError
from msibench.scoring.paired import Difference, paired_difference
from msibench.scoring.replicates import IMAGES, Names
from msibench.scoring.rerun_noise import Noise, RunShift

TOLERANCE = 1e-9
"""Share of a margin that is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How two sides are compared."""

    margin: float
    """Loss that does not matter, in the metric's unit, at least 0."""
    direction: Direction
    noise: Noise
    trains: bool = False
    """The method trains, so that its one run may be a lucky draw."""

    def __post_init__(self) -> None:
        if not self.margin >= 0:
            raise ConfigurationError(f"a margin must be at least 0, got {self.margin}")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImagePairs:
    """One comparison, image by image, before it is known how many comparisons there are."""

    base: NDArray[np.float64]
    new: NDArray[np.float64]
    difference: NDArray[np.float64]
    """Turned so that above 0 is better."""
    sections: NDArray[np.str_]
    specimens: NDArray[np.str_]
    names: NDArray[np.str_]
    found: Difference
    bare: Difference
    """Without the shift of a rerun."""
    terms: Terms
    rerun: RunShift

    @property
    def differs(self) -> bool:
        """Whether any image differs."""
        return bool((self.difference != 0).any())

    @property
    def identical(self) -> bool:
        """Whether every image has exactly the value that it had."""
        return bool(len(self.base)) and bool((self.base == self.new).all())

    @property
    def p(self) -> float:
        """One-sided p of a loss; NaN where no image differs."""
        return float(self.found.p_below()) if self.differs else float("nan")


def pair_values(
    base: ArrayLike,
    new: ArrayLike,
    sections: Names,
    terms: Terms,
    rerun: RunShift,
    names: NDArray[np.str_] | None = None,
    specimens: Names | None = None,
) -> ImagePairs:
    """Pair the values of two sides, ``(image,)`` each; images that lack either are left out.

    `names` are those of the images, by default those of their sections; `specimens` are those that the
    sections were cut from, by default each its own.
    """
    first, second = np.asarray(base, np.float64), np.asarray(new, np.float64)
    both = np.isfinite(first) & np.isfinite(second)
    first, second, where = first[both], second[both], np.asarray(sections).astype(str)[both]
    oriented = turned(second, terms.direction), turned(first, terms.direction)
    owner = where if specimens is None else np.asarray(specimens).astype(str)[both]
    bare = paired_difference(*oriented, where, specimens=owner)
    difference = oriented[0] - oriented[1]
    difference[np.abs(difference) <= TOLERANCE * terms.margin] = 0.0
    largest = float(np.abs(difference).max(initial=0.0))
    shared = rerun.deviation**2
    if str(bare.scope) == IMAGES:  # what these few sections share does not show in them
        shared += (terms.noise.section * terms.margin) ** 2 / int(bare.sections)
    shared = min(shared, largest**2)  # no shift is larger than the largest change seen
    found = paired_difference(
        *oriented,
        where,
        specimens=owner,
        shared_variance=shared,
        shared_freedom=rerun.freedom,
    )
    return ImagePairs(
        base=first,
        new=second,
        difference=difference,
        sections=where,
        specimens=owner,
        names=where if names is None else names[both],
        found=found,
        bare=bare,
        terms=terms,
        rerun=rerun,
    )
