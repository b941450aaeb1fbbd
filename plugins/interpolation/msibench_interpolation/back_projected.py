"""Interpolation that gives its low image back: the residual's least-norm image is added."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench import Problem
from msibench.degradation import protocol
from msibench_interpolation.method import Interpolation


class BackProjected:
    """Interpolates, then adds ``A⁺(low - A x)`` of the problem's degradation A.

    The result is the image nearest to the interpolated one that has this low image: its unseen detail is
    the kernel's, what the low image fixes is exact (but for values that were set to 0).

    Parameters
    ----------
    kernel, clip
        As `Interpolation`.
    """

    def __init__(self, kernel: str, *, clip: bool = True) -> None:
        self.interpolation = Interpolation(kernel, clip=clip)

    def upscale(self, problem: Problem) -> NDArray[np.float32]:
        """Return the stack in the unit of ``problem.low``.

        A problem that names no protocol was measured coarsely: its pixels are taken as area means.
        Where the low image is NaN, nothing is added.
        """
        chain = protocol(problem.protocol or f"area-x{problem.factor}@1")
        fine = self.interpolation.upscale(problem)
        for channel, low in enumerate(problem.low.values):
            residual = np.nan_to_num(low - chain.degrade(fine[channel : channel + 1])[0])
            fine[channel] += chain.least_norm(residual)
            if self.interpolation.clip and not (low < 0).any():
                np.maximum(fine[channel], 0, out=fine[channel])
        return fine
