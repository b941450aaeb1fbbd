"""Ion images and guides as a network takes them, and the way back to intensities.

Shared by the fusion methods, which all fit themselves to one section: ion images hold counts of any
size, with holes (NaN); guides with one, three or four channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msibench.image import GuideImage, MSImage, Problem, Skip


@dataclass(frozen=True, slots=True, eq=False)
class ScaledIons:
    """Ion images divided by their own maximum."""

    values: NDArray[np.float32]
    """``(ion, row, column)`` in [0, 1]; 0 where nothing is known."""
    known: NDArray[np.bool_]
    """Where a finite intensity was measured, ``(ion, row, column)``."""
    scale: NDArray[np.float32]
    """Each ion's maximum, ``(ion,)``; 0 for an ion without any signal."""

    @property
    def with_signal(self) -> tuple[int, ...]:
        """Indices of the ions that hold something to fit."""
        return tuple(int(ion) for ion in np.flatnonzero(self.scale > 0))

    def restore(self, prediction: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``(ion, row, column)`` in the unit of the input: never negative, always finite."""
        finite = np.nan_to_num(prediction, nan=0.0, posinf=1.0, neginf=0.0)
        scaled: NDArray[np.float32] = np.maximum(finite, 0) * self.scale[:, None, None]
        return scaled.astype(np.float32, copy=False)


def scale_ions(low: MSImage) -> ScaledIons:
    """Divide every ion image by its largest finite value.

    Zero stays zero, so that "no signal" means the same before and after; negative values, which
    measured intensities do not have, count as zero.
    """
    known = np.isfinite(low.values)
    values = np.maximum(np.where(known, low.values, np.float32(0)), 0)
    scale = values.max(axis=(1, 2), initial=0).astype(np.float32)
    divisor = np.where(scale > 0, scale, 1).astype(np.float32)
    return ScaledIons((values / divisor[:, None, None]).astype(np.float32), known, scale)


def ion_identities(low: MSImage) -> tuple[int, ...]:
    """Return a whole number per ion, from its m/z: the same wherever the ion is in the stack.

    Channels without an m/z share one. Seeds are drawn from it, so that an ion's result does not
    depend on which others are fitted.
    """
    bits = np.ascontiguousarray(low.mz, dtype=np.float64).view(np.uint64)
    return tuple(0 if np.isnan(mz) else int(bit) for mz, bit in zip(low.mz, bits, strict=True))


def network_guide(guide: GuideImage, channels: int | None = 3) -> NDArray[np.float32]:
    """Return the guide as ``(channel, row, column)`` in [0, 1] without NaN.

    A fourth channel is taken for opacity and left out. With ``channels=3`` a grey guide is repeated
    and of more than three channels (after opacity) or two the network sees the first three, the
    last repeated where there are fewer. Values beyond 1 (a guide that was not scaled by its bit
    depth) are divided by their maximum.
    """
    values = np.nan_to_num(guide.values, nan=0.0, posinf=0.0, neginf=0.0)
    if values.shape[0] == 4:
        values = values[:3]
    peak = values.max(initial=0)
    values = np.clip(values / peak if peak > 1 else values, 0, 1)
    if channels is not None:
        pick = np.minimum(np.arange(channels), values.shape[0] - 1)
        values = values[pick]
    return np.ascontiguousarray(values, dtype=np.float32)


def reason_to_skip(problem: Problem) -> Skip | None:
    """Return why a method that is guided and fits itself cannot run on `problem`, or None."""
    if problem.guide is None:
        return Skip(
            "needs a guide: an optical image on the fine grid "
            f"{problem.fine_shape[0]} x {problem.fine_shape[1]}; this section has none"
        )
    if problem.guide.values.shape[0] == 0:
        return Skip("needs a guide with at least one channel; this one has none")
    if problem.low.mask is not None and not problem.low.mask.any():
        return Skip("needs tissue: the mask of this section is empty")
    return None


def bilinear_weights(fine: range, size: int, factor: int) -> tuple[NDArray[np.float32], slice]:
    """Return the matrix that magnifies one axis bilinearly, for some of its fine pixels.

    Pixel centres are those of OpenCV's ``INTER_LINEAR``: fine pixel i lies at
    ``(i + 0.5) / factor - 0.5`` on the coarse axis, clamped to its first and last centre.

    Parameters
    ----------
    fine
        The fine pixels that are wanted, consecutive.
    size
        Length of the coarse axis.
    factor
        Fine pixels per coarse one.

    Returns
    -------
    The weights ``(fine, coarse)`` and the slice of the coarse axis that they apply to.
    """
    centre = np.clip((np.arange(fine.start, fine.stop) + 0.5) / factor - 0.5, 0, size - 1)
    left = np.minimum(centre.astype(np.int64), max(size - 2, 0))
    first, last = int(left[0]), int(min(left[-1] + 1, size - 1))
    weights = np.zeros((len(centre), last - first + 1), np.float32)
    share = (centre - left).astype(np.float32)
    rows = np.arange(len(centre))
    weights[rows, left - first] = 1 - share
    weights[rows, np.minimum(left + 1, size - 1) - first] += share
    return weights, slice(first, last + 1)


def magnify(
    ions: ScaledIons, which: slice | int, factor: int, rows: range, columns: range
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return bilinearly magnified ion images on a rectangle of the fine grid, and what is known.

    Unknown coarse pixels are left out, and the weights of the others scaled up.

    Returns
    -------
    ``(ion, row, column)`` values in [0, 1] and weights, 1 where at least half of the bilinear
    weight is on measured pixels and 0 elsewhere.
    """
    chosen = slice(which, which + 1) if isinstance(which, int) else which
    down, vertical = bilinear_weights(rows, ions.values.shape[1], factor)
    across, horizontal = bilinear_weights(columns, ions.values.shape[2], factor)
    known = ions.known[chosen, vertical, horizontal].astype(np.float32)
    share = down @ known @ across.T
    summed = down @ ions.values[chosen, vertical, horizontal] @ across.T
    weight = (share >= 0.5).astype(np.float32)
    return np.where(share > 1e-6, summed / np.maximum(share, 1e-6), 0).astype(np.float32), weight
