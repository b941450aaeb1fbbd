"""A section made into a problem: the truth, the low image and what a reader should know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from msibench.image import MSImage


@dataclass(frozen=True, slots=True)
class Clipped:
    """How many intensities lay outside [0, 1] after the scaling."""

    below: int = 0
    above: int = 0
    of: int = 0

    def __add__(self, other: Clipped) -> Clipped:
        return Clipped(self.below + other.below, self.above + other.above, self.of + other.of)

    def notes(self) -> tuple[str, ...]:
        """Return what a reader of the scores should know about it."""
        said = []
        if self.below:
            said.append(f"{self.below} negative intensities were set to 0")
        if self.above:
            said.append(
                f"{100 * (self.above / self.of):.3f} % of the intensities lay above the scale: "
                "clipped to 1"
            )
        return tuple(said)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Prepared:
    """One section made into a problem: what the method gets, and what its result is compared with."""

    truth: MSImage
    """The fine section, scaled to [0, 1] and cropped to whole coarse pixels; unit ``"scaled"``."""
    low: MSImage
    """What the protocol leaves of `truth`; unit ``"scaled"``."""
    scale: NDArray[np.float64]
    """``(channel,)``: intensity of the section that became 1."""
    counts_per_unit: NDArray[np.float64] | None
    """``(channel,)``: ions per scaled intensity of 1 in a pixel of `truth`; None: not on record."""
    cropped: tuple[int, int]
    """Rows and columns that were cut off the lower and the right edge."""
    section_notes: tuple[str, ...]
    """What holds for all ion images of the section: pixels not measured, normalisation, crop."""
    clipped: Clipped
    """How many intensities the scaling changed."""
    count_notes: tuple[str, ...]
    """How the ion counts were treated."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the scores should know, one sentence each."""
        return Prepared.joint_notes([self])

    @staticmethod
    def joint_notes(parts: Sequence[Prepared]) -> tuple[str, ...]:
        """Return the notes of a section that was prepared in these groups."""
        clipped = sum((part.clipped for part in parts), Clipped())
        return (*parts[0].section_notes, *clipped.notes(), *parts[0].count_notes)

    def without_truth(self) -> Prepared:
        """Return it without the ion images of the truth, once they are on disk."""
        nothing = np.empty((0, *self.truth.shape), dtype=np.float32)
        return replace(self, truth=replace(self.truth, values=nothing, mz=np.empty(0)))
