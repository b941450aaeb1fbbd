"""One section as the baselines see it, and the way from their predictions back to intensities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msibench import Problem, Skip
from msibench.degradation.binning import area_mean
from msibench.training.ions import ScaledIons, magnify, network_guide, reason_to_skip, scale_ions

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """Scaled ion images, the guide on both grids, and which coarse pixels may be learned from."""

    ions: ScaledIons
    """Ion images in [0, 1], each divided by its maximum."""
    guide: Floats
    """``(channel, row, column)`` on the fine grid, in [0, 1]; the guide's own channels, no opacity."""
    usable: Bools
    """Coarse pixels on tissue of which the guide is known, ``(row, column)``."""
    factor: int

    @classmethod
    def of(cls, problem: Problem) -> Section | Skip:
        """Prepare a problem, or return why that is not possible."""
        if (reason := reason_to_skip(problem)) is not None:
            return reason
        assert problem.guide is not None
        usable = np.asarray(np.isfinite(problem.guide.values).all(axis=0))
        if problem.guide.mask is not None:
            usable &= problem.guide.mask
        coarse = area_mean(np.asarray(usable, dtype=np.float32), problem.factor) >= 0.5
        if problem.low.mask is not None:
            coarse &= problem.low.mask
        if not coarse.any():
            return Skip(
                "needs a guide that shows some of the tissue; this one is unknown on all of it"
            )
        return cls(
            scale_ions(problem.low), network_guide(problem.guide, None), coarse, problem.factor
        )

    @property
    def shape(self) -> tuple[int, int]:
        """``(row, column)`` of the coarse grid."""
        return self.usable.shape[0], self.usable.shape[1]

    def to_coarse(self, images: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the area mean of fine images ``(…, row, column)``."""
        return area_mean(images, self.factor)

    def fine_usable(self) -> Bools:
        """Return which fine pixels lie in coarse ones that may be learned from, ``(row, column)``."""
        return self.usable.repeat(self.factor, 0).repeat(self.factor, 1)

    def standardised_guide(self) -> Floats:
        """Return the guide with mean 0 and deviation 1 in each channel over the usable pixels."""
        tissue = self.guide[:, self.fine_usable()]
        spread = tissue.std(1)
        spread = np.where(spread > 1e-6, spread, 1)
        scaled = (self.guide - tissue.mean(1)[:, None, None]) / spread[:, None, None]
        return np.asarray(scaled, dtype=np.float32)

    def interpolated(self) -> Floats:
        """Return the ion images magnified bilinearly, ``(ion, row, column)`` on the fine grid."""
        rows, columns = self.guide.shape[1:]
        return magnify(self.ions, slice(None), self.factor, range(rows), range(columns))[0]

    def patterns(self) -> Iterator[tuple[NDArray[np.intp], Bools]]:
        """Yield groups of ions that were measured at the same usable pixels, with those pixels.

        An ion is fitted to all of its own pixels, whichever pixels other ions lack.
        """
        known = (self.ions.known & self.usable).reshape(len(self.ions.values), -1)
        packed = np.packbits(known, axis=1)
        _, first, group = np.unique(packed, axis=0, return_index=True, return_inverse=True)
        for number, example in enumerate(first):
            members = np.flatnonzero(group.ravel() == number)
            yield members, known[example].reshape(self.shape)

    def restore(self, prediction: NDArray[np.floating]) -> Floats:
        """Return intensities from a prediction on the scaled ions, ``(ion, row, column)``.

        Fine pixels of coarse ones that were not learned from show the magnified ion image: the map
        from the guide says nothing about them.
        """
        painted = np.maximum(np.nan_to_num(prediction), 0)
        outside = ~self.fine_usable()
        if outside.any():
            painted = np.where(outside, self.interpolated(), painted)
        return self.ions.restore(np.asarray(painted, dtype=np.float32))
