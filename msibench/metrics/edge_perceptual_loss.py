"""Edge perceptual loss of Zou et al. (2025), here between a test and its reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from msibench.contracts.metric import Evaluation, Scored
from msibench.metrics.pairs import (
    ImagePair,
    Images,
    ImagesT,
    Mask,
    Precision,
    check_data_range,
    pair_images,
    too_small,
)

LAPLACIAN = ((-1.0, -1.0, -1.0), (-1.0, 8.0, -1.0), (-1.0, -1.0, -1.0))
"""The eight-neighbour Laplacian. The paper has "a designated 3x3 kernel" and no numbers."""
SIDE = 3
TOO_SMALL = "the image is smaller than the 3 x 3 kernel"
LUMA = (0.299, 0.587, 0.114)
"""Rec. 601: how the three channels of a guide become one."""
NO_CENTRE = "no kernel that lies inside the image has its centre in the mask"


def edge_perceptual_loss(
    test: ImagesT,
    reference: ImagesT,
    *,
    data_range: float = 1.0,
    mask: Mask | None = None,
    dtype: Precision = "float64",
    kernel: Sequence[Sequence[float]] = LAPLACIAN,
) -> ImagesT:
    """Mean squared difference of the edges of two images; lower is better, 0 at best.

    ``mean((K * test - K * reference)²)`` with images on the scale where `data_range` is 1. Zou et al.
    compare the output with the microscopy image that guided it (`evaluate_to_guide`); here the reference
    is what was measured.

    Parameters
    ----------
    test, reference
        Images ``(..., row, column)``, numpy arrays or torch tensors.
    data_range
        Distance between the smallest and the largest possible intensity.
    mask
        bool ``(row, column)``: average over the positions whose centre is inside.
    dtype
        Precision to compute in.
    kernel
        The 3 x 3 edge kernel K; applied where it lies inside the image (the paper names no padding).

    Returns
    -------
    One float64 value per image, ``(...)``; NaN for images smaller than the kernel or with NaN.

    References
    ----------
    .. [1] Zou, Sun, Tang and Li (2025), loss controlled residual network (LCRN).

    Examples
    --------
    >>> import numpy as np
    >>> ramp = np.arange(20.0).reshape(4, 5)
    >>> float(edge_perceptual_loss(ramp + 3, ramp))
    0.0
    """
    weights = np.asarray(kernel, dtype=np.float64)
    if weights.shape != (SIDE, SIDE):
        raise ValueError(f"kernel must be 3 x 3, got shape {weights.shape}")
    scale = 1 / check_data_range(data_range)
    pair = pair_images(test, reference, mask=mask, dtype=dtype)
    centres = _centres(pair)
    if min(pair.shape) < SIDE or _no_centre(centres):
        return pair.undefined()  # type: ignore[no-any-return]
    height, width = (side - SIDE + 1 for side in pair.shape)
    difference = (pair.test - pair.reference) * scale
    edges = pair.xp.zeros_like(difference[:, :height, :width])
    for row, line in enumerate(weights.tolist()):
        for column, weight in enumerate(line):
            edges = edges + weight * difference[:, row : row + height, column : column + width]
    squared = edges**2
    mean = squared.mean((-2, -1)) if centres is None else squared[:, centres].mean(-1)
    values: ImagesT = pair.values(mean)
    return values


def why_undefined(
    test: Images, reference: Images, *, mask: Mask | None = None, **_: object
) -> list[str]:
    """Return for each image why `edge_perceptual_loss` is NaN; empty where it is defined."""
    pair = pair_images(test, reference, mask=mask)
    without = pair.usable if _no_centre(_centres(pair)) else ~pair.usable
    return pair.reasons((too_small(pair, SIDE), TOO_SMALL), (without, NO_CENTRE))


def evaluate_to_guide(evaluation: Evaluation) -> Scored:
    """Score one cell as the paper does: edges of the prediction against those of the guide, in grey.

    Both on the scale where 1 is full. A low value says that the prediction looks like the guide, whether or
    not the ion does: 0 is the guide itself. Read it beside the loss to the truth.
    """
    assert evaluation.guide is not None
    guide = evaluation.guide.values.astype(np.float64)
    weights = LUMA if len(guide) == 3 else (1 / len(guide),) * len(guide)
    grey = np.broadcast_to(np.tensordot(weights, guide, 1), evaluation.prediction.shape)
    values = edge_perceptual_loss(evaluation.prediction, grey)
    return Scored(np.asarray(values), tuple(why_undefined(evaluation.prediction, grey)))


def _centres(pair: ImagePair) -> Any:
    return None if pair.mask is None else pair.mask[1:-1, 1:-1]


def _no_centre(centres: Any) -> bool:
    return centres is not None and not bool(centres.any())
