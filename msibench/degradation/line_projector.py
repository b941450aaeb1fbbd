"""What a linear operator along one line of pixels fixes: ``A⁺A``, without ever forming it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from msibench.degradation.binning import check_divides
from msibench.degradation.resampling import Line, matrix_of

UNSEEN_BELOW = 0.01
"""Share of the largest singular value of a line's operator below which a direction counts as unseen.

A low image is known to about 1 % at best (8 bits, counting): what an operator passes with less than
that of its strength cannot be read back. No family of today has such a direction."""


class LineProjector:
    """Orthogonal projector ``A⁺A`` onto what ``A`` passes of a line of pixels.

    ``A⁺A x = Aᵀ (A Aᵀ)⁻¹ A x``: ``A`` is sparse and ``A Aᵀ`` banded, so a line of n pixels costs
    O(n). Where ``A`` passes some direction with less than `UNSEEN_BELOW` of its strength, its singular
    vectors are taken instead, and those directions left out.

    Parameters
    ----------
    line
        Taps of the operator.
    fine
        Pixels of the line.
    """

    def __init__(self, line: Line, fine: int) -> None:
        self._operator = matrix_of(line, fine)
        self._back = self._operator.T.tocsr()
        gram = (self._operator @ self._back).todia()
        size = int(gram.shape[0])
        band = np.zeros((int(np.abs(gram.offsets).max(initial=0)) + 1, size))
        for offset in range(len(band)):  # lower form: row k is the k-th subdiagonal
            band[offset, : size - offset] = gram.diagonal(-offset)
        weakest, strongest = (
            linalg.eigvals_banded(band, lower=True, select="i", select_range=(place, place))[0]
            for place in (0, size - 1)
        )
        self._basis: NDArray[np.float64] | None = None
        self._inverse: NDArray[np.float64] | None = None
        if weakest < UNSEEN_BELOW**2 * strongest:
            left, strength, right = linalg.svd(self._operator.toarray(), full_matrices=False)
            strong = strength >= UNSEEN_BELOW * strength[0]
            self._basis = right[strong]
            self._inverse = (self._basis.T / strength[strong]) @ left[:, strong].T
        else:
            self._factor = linalg.cholesky_banded(band, lower=True)

    def __call__(self, lines: NDArray[np.float64]) -> NDArray[np.float64]:
        """Project every column of ``(fine, line)``."""
        if self._basis is not None:
            return np.asarray(self._basis.T @ (self._basis @ lines))
        return self.inverse(np.asarray(self._operator @ lines))

    def inverse(self, coarse: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply ``A⁺`` to every column of ``(coarse, line)``."""
        if self._inverse is not None:
            return np.asarray(self._inverse @ coarse)
        return np.asarray(self._back @ linalg.cho_solve_banded((self._factor, True), coarse))


def project_separably(
    values: NDArray[np.float64], line: Callable[[int], LineProjector]
) -> NDArray[np.float64]:
    """Project ``(channel, row, column)`` along both axes.

    The pseudo-inverse of a Kronecker product is that of its factors, so ``A⁺A`` of a separable
    operator is the projector along the rows after that along the columns.

    Parameters
    ----------
    values
        Finite.
    line
        Gives the projector of a line of so many pixels.
    """
    down, across = line(values.shape[1]), line(values.shape[2])
    out = np.empty(values.shape)
    for channel, image in enumerate(values):
        out[channel] = across(np.ascontiguousarray(down(image).T)).T
    return out


def invert_separably(
    low: NDArray[np.float64], down: LineProjector, across: LineProjector
) -> NDArray[np.float64]:
    """Apply ``A⁺`` along both axes of ``(channel, row, column)``."""
    return np.stack(
        [across.inverse(np.ascontiguousarray(down.inverse(image).T)).T for image in low]
    )


class SeparableStep:
    """What a step of a chain fixes that reduces every line of pixels alone, down and then across.

    A subclass is a frozen dataclass, so that its projectors are kept.
    """

    __slots__ = ()
    factor: int

    @property
    def linear(self) -> bool:
        """Always."""
        return True

    def line(self, fine: int) -> Line:
        """Return the taps of a line of `fine` pixels."""
        raise NotImplementedError

    def seen(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the reduced stack fixes."""
        check_divides((values.shape[1], values.shape[2]), self.factor)
        return project_separably(values, partial(line_projector, self.line))

    def least_norm(self, low: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the image of least norm that gives `low`."""
        down, across = (line_projector(self.line, side * self.factor) for side in low.shape[1:])
        return invert_separably(low, down, across)


@lru_cache(maxsize=16)
def line_projector(taps_of: Callable[[int], Line], fine: int) -> LineProjector:
    """Return the projector of a line of `fine` pixels, kept for the next image.

    Parameters
    ----------
    taps_of
        Hashable; gives the taps of a line of so many pixels.
    """
    return LineProjector(taps_of(fine), fine)
