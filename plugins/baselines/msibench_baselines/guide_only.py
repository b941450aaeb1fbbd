"""The control: the guide itself, painted in each ion's intensities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench import Problem, Skip
from msibench_baselines.section import Section


class GuideOnly:
    """Give the grey guide each ion's mean, standard deviation and sign, and nothing else of the ion.

    What it shows looks sharp and may correlate well, but every detail comes from the guide: a measure of
    trust that does not expose it measures nothing.
    """

    def upscale(self, problem: Problem) -> NDArray[np.float32] | Skip:
        """Return ``(channel, row*factor, column*factor)`` in the unit of ``problem.low``."""
        section = Section.of(problem)
        if isinstance(section, Skip):
            return section
        grey = section.guide.mean(0, dtype=np.float64)
        coarse = section.to_coarse(grey)
        painted = np.zeros((problem.low.channels, *problem.fine_shape), dtype=np.float32)
        for members, pixels in section.patterns():
            if not pixels.any():
                continue
            seen = coarse[pixels]
            centre, spread = seen.mean(), seen.std()
            for ion in members:
                image = section.ions.values[ion][pixels].astype(np.float64)
                sign = -1.0 if ((seen - centre) * (image - image.mean())).sum() < 0 else 1.0
                slope = sign * image.std() / spread if spread > 1e-6 else 0.0
                painted[ion] = image.mean() + slope * (grey - centre)
        return section.restore(painted)
