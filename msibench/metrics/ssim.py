"""Structural similarity of Wang et al. (2004)."""

from __future__ import annotations

from typing import Any

from msibench.metrics.pairs import (
    ImagePair,
    ImagesT,
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


def ssim(
    test: ImagesT,
    reference: ImagesT,
    *,
    data_range: float = 1.0,
    mask: Any = None,
    dtype: Precision = "float64",
) -> ImagesT:
    """Structural similarity as its authors' code computes it; 1 at best.

    Mean over all 11 x 11 Gaussian windows (standard deviation 1.5 pixels) that lie inside the image of
    ``(2 μt μr + C1)(2 σtr + C2) / ((μt² + μr² + C1)(σt² + σr² + C2))`` with population variances,
    ``C1 = (0.01 data_range)²`` and ``C2 = (0.03 data_range)²``; no downsampling.

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
    NaN. Constant images have a value: C1 and C2 keep both fractions finite.

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
        similarity = _similarity_map(part, c1, c2)
        inside = similarity.mean((-2, -1)) if centres is None else similarity[:, centres].mean(-1)
        means.append(inside)
    values: ImagesT = pair.values(pair.xp.concatenate(means))
    return values


def why_undefined(test: Any, reference: Any, *, mask: Any = None, **_: Any) -> list[str]:
    """Say for each image why `ssim` is NaN; empty where it stands."""
    pair = pair_images(test, reference, mask=mask)
    without = pair.usable & _without_window(pair, _centres(pair))
    return pair.reasons((too_small(pair, WINDOW), TOO_SMALL), (without, NO_CENTRE))


def _similarity_map(pair: ImagePair, c1: float, c2: float) -> Any:
    weights = gaussian_weights(WINDOW, SIGMA)
    test, reference, xp = pair.test, pair.reference, pair.xp
    mean_test, mean_reference = (correlate_valid(image, weights, xp) for image in (test, reference))
    # Both variances enter as a sum only, so one filter serves them.
    power = correlate_valid(test * test + reference * reference, weights, xp)
    product = correlate_valid(test * reference, weights, xp)
    means_product = mean_test * mean_reference
    means_power = mean_test * mean_test + mean_reference * mean_reference
    covariance = product - means_product
    variances = power - means_power
    return ((2 * means_product + c1) * (2 * covariance + c2)) / (
        (means_power + c1) * (variances + c2)
    )


def _without_window(pair: ImagePair, centres: Any) -> bool:
    no_centre = centres is not None and not bool(centres.any())
    return min(pair.shape) < WINDOW or no_centre or not len(pair.test)


def _centres(pair: ImagePair) -> Any:
    """Return the mask on the grid of window centres, or None without a mask."""
    half = WINDOW // 2
    return None if pair.mask is None else pair.mask[half:-half, half:-half]
