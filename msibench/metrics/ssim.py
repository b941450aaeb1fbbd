"""Structural similarity of Wang et al. (2004)."""

from __future__ import annotations

from typing import Any

import numpy as np

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
from msibench.metrics.separable import correlate_valid, gaussian_weights

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03
TOO_SMALL = f"the image is smaller than the {WINDOW} x {WINDOW} window"
NO_CENTRE = "no window that lies inside the image has its centre in the mask"
TOO_FAR = "the images lie so far from zero that the precision does not hold their contrast"


def ssim(
    test: ImagesT,
    reference: ImagesT,
    *,
    data_range: float = 1.0,
    mask: Mask | None = None,
    dtype: Precision = "float64",
) -> ImagesT:
    """Structural similarity as its authors' code computes it; 1 at best.

    Mean over all 11 x 11 Gaussian windows (standard deviation 1.5 pixels) that lie inside the image of
    ``(2 μt μr + C1)(2 σtr + C2) / ((μt² + μr² + C1)(σt² + σr² + C2))`` with population variances,
    ``C1 = (0.01 data_range)²`` and ``C2 = (0.03 data_range)²``; no downsampling. Variances are taken
    about each image's mean: those of images far from zero would drown in rounding.

    Parameters
    ----------
    test, reference
        Images ``(..., row, column)``, numpy arrays or torch tensors.
    data_range
        Distance between the smallest and the largest possible intensity; sets C1 and C2.
    mask
        bool ``(row, column)``: average over the windows whose centre is inside. Windows at the edge
        of the tissue still see the pixels around it.
    dtype
        Precision to compute in.

    Returns
    -------
    One float64 value per image, ``(...)``, in [-1, 1]; NaN for images smaller than the window or with
    NaN, and where numbers of the images' size are farther apart than ``0.03 data_range`` in `dtype`.
    Constant images have a value: C1 and C2 keep both fractions finite.

    References
    ----------
    .. [1] Wang et al., IEEE Trans. Image Process. 13 (2004) 600-612; ``ssim_index.m`` 1.0.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.random.default_rng(0).random((20, 31))
    >>> float(ssim(image, image)), float(ssim(image, 1 - image)) < 0
    (1.0, True)
    """
    c1, c2 = ((k * check_data_range(data_range)) ** 2 for k in (K1, K2))
    pair = pair_images(test, reference, mask=mask, dtype=dtype)
    centres = _centres(pair)
    if _without_window(pair, centres):
        return pair.undefined()  # type: ignore[no-any-return]
    means = []
    for part in pair.chunks(pixels=1 << 24):
        with np.errstate(over="ignore", invalid="ignore"):  # squares of enormous numbers: NaN
            similarity = _similarity_map(part, c1, c2)
        inside = similarity.mean((-2, -1)) if centres is None else similarity[:, centres].mean(-1)
        means.append(pair.xp.where(_too_far(part, data_range), inside * float("nan"), inside))
    values: ImagesT = pair.values(pair.xp.concatenate(means))
    return values


def why_undefined(
    test: Images,
    reference: Images,
    *,
    data_range: float = 1.0,
    mask: Mask | None = None,
    dtype: Precision = "float64",
    **_: object,
) -> list[str]:
    """Return for each image why `ssim` is NaN; empty where it is defined."""
    pair = pair_images(test, reference, mask=mask, dtype=dtype)
    without = pair.usable & _without_window(pair, _centres(pair))
    small = too_small(pair, WINDOW)
    far = _too_far(pair, data_range) if min(pair.shape) >= WINDOW else small
    return pair.reasons((small, TOO_SMALL), (without, NO_CENTRE), (far, TOO_FAR))


def _similarity_map(pair: ImagePair, c1: float, c2: float) -> Any:
    weights = gaussian_weights(WINDOW, SIGMA)
    xp = pair.xp
    offset_test, offset_reference = (_offset(image) for image in (pair.test, pair.reference))
    test, reference = pair.test - offset_test, pair.reference - offset_reference
    mean_test, mean_reference = (correlate_valid(image, weights, xp) for image in (test, reference))
    # Both variances enter as a sum only, so one filter serves them.
    power = correlate_valid(test * test + reference * reference, weights, xp)
    product = correlate_valid(test * reference, weights, xp)
    variances = (power - mean_test * mean_test - mean_reference * mean_reference).clip(0)
    covariance = product - mean_test * mean_reference
    half = variances / 2  # no covariance is larger; rounding must not make one
    covariance = xp.minimum(xp.maximum(covariance, -half), half)
    mean_test, mean_reference = mean_test + offset_test, mean_reference + offset_reference
    means_product = mean_test * mean_reference
    means_power = mean_test * mean_test + mean_reference * mean_reference
    return ((2 * means_product + c1) * (2 * covariance + c2)) / (
        (means_power + c1) * (variances + c2)
    )


def _offset(images: Any) -> Any:
    """Return each image's mean, ``(image, 1, 1)``."""
    return images.mean((-2, -1))[:, None, None]


def _too_far(pair: ImagePair, data_range: float) -> Any:
    """Return bool ``(image,)``: neighbouring numbers of this size differ by more than C2 resolves.

    Where only one of the two images is that far, their means differ so much that 0 is right.
    """
    gap = float(pair.xp.finfo(pair.test.dtype).eps)
    nearer = pair.xp.minimum(abs(_offset(pair.test)), abs(_offset(pair.reference)))[:, 0, 0]
    return nearer * gap > K2 * data_range


def _without_window(pair: ImagePair, centres: Any) -> bool:
    no_centre = centres is not None and not bool(centres.any())
    return min(pair.shape) < WINDOW or no_centre or not len(pair.test)


def _centres(pair: ImagePair) -> Any:
    """Return the mask on the grid of window centres, or None without a mask."""
    half = WINDOW // 2
    return None if pair.mask is None else pair.mask[half:-half, half:-half]
