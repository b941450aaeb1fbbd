"""Step 5: rigid registration by gradient descent through PyTorch's grid sampling.

The descent is `msibench.registration.torch_affine`; here it is asked for the motion of one modality's
summed maps onto another's, and the maps are moved by what it finds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from msibench.errors import MSIBenchError
from msibench_cca.maps import Maps
from msibench_cca.masks import resample

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Where, among its own pixels, the moving modality shows what lies at each of them."""

    matrix: Floats
    """``(2, 2)``, on (row, column) of the moving modality's grid."""
    offset: Floats
    """``(2,)`` pixels."""
    angle_deg: float
    """Of the turn that was found."""
    correlation_before: float
    """Of the summed maps on the coarser grid, as the files lie."""
    correlation: float
    """The same after the motion."""
    refused: str = ""
    """Why nothing was moved; empty otherwise."""


def register_rigid(moving: Maps, fixed: Maps, *, steps: int, rate: float) -> Motion:
    """Find the rigid motion that makes the sum of all moving maps look like that of the fixed ones.

    Parameters
    ----------
    moving, fixed
        Over the same area; `moving` on the finer grid.
    steps
        Of Adam in all, shared by the passes from coarse to fine.
    rate
        Adam's learning rate, in half widths of the image.

    Returns
    -------
    The motion; none, with the reason, where there is nothing to go by or nothing better is found.
    """
    from msibench.registration.torch_affine import register_torch

    before = _likeness(moving, fixed)
    stay = Motion(np.eye(2), np.zeros(2), 0.0, before, before)
    ratio = np.array(moving.shape) / np.array(fixed.shape)
    try:
        found = register_torch(
            _total(moving), _total(fixed), steps=max(steps // 4, 1), learning_rate=rate
        )
    except MSIBenchError as error:
        return _refused(stay, str(error))
    turn = found.matrix / ratio[:, None]
    motion = Motion(
        found.matrix / ratio,
        found.offset + found.matrix @ (0.5 / ratio - 0.5),
        float(np.rad2deg(np.arctan2(turn[1, 0], turn[0, 0]))),
        before,
        0.0,
    )
    after = _likeness(move(moving, motion), fixed)
    if not after > before:
        return _refused(stay, "no motion makes the two more alike than they are")
    return Motion(motion.matrix, motion.offset, motion.angle_deg, before, after)


def move(maps: Maps, motion: Motion) -> Maps:
    """Return the maps moved (bilinear); pixels that come from outside are unknown."""
    if motion.refused:
        return maps
    layers = [*np.where(maps.known, maps.values, 0), maps.known.astype(np.float64)]
    moved = np.stack(
        [ndimage.affine_transform(x, motion.matrix, motion.offset, order=1) for x in layers]
    )
    share = moved[-1]
    values = np.where(share > 0.5, moved[:-1] / np.maximum(share, 0.5), 0)
    return Maps(values, share > 0.5, maps.spectra, maps.relative_error)


def _total(maps: Maps) -> Floats:
    return np.asarray(np.where(maps.known, maps.values.sum(0), 0))


def _likeness(moving: Maps, fixed: Maps) -> float:
    values, known = resample(moving, fixed.shape)
    pair = np.where(known, values.sum(0), 0).ravel(), _total(fixed).ravel()
    if min(np.ptp(image) for image in pair) == 0:
        return 0.0
    return float(np.corrcoef(*pair)[0, 1])


def _refused(stay: Motion, reason: str) -> Motion:
    return Motion(
        stay.matrix, stay.offset, 0.0, stay.correlation_before, stay.correlation_before, reason
    )
