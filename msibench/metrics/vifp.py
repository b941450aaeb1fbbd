"""Visual information fidelity in the pixel domain (LIVE's ``vifp_mscale``)."""

from __future__ import annotations

from types import ModuleType
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

EYE_NOISE = 2.0
"""Variance of the noise in the eye, on the 0..255 scale."""
WINDOWS = (17, 9, 5, 3)
"""Side of the Gaussian window per scale, finest first; its standard deviation is a fifth of it."""
SMALLEST = 41
"""Shortest side for which the coarsest scale still has a window."""
TOLERANCE = 1e-10
TOO_SMALL = f"the image is smaller than {SMALLEST} pixels: the coarsest scale has no window"
REFERENCE_CONSTANT = "the reference is constant: it carries no information"


def vifp(
    test: ImagesT,
    reference: ImagesT,
    *,
    data_range: float = 1.0,
    mask: Mask | None = None,
    dtype: Precision = "float64",
) -> ImagesT:
    """Visual information fidelity, pixel domain; 1 for identical images, higher is better.

    A faster relative of `msibench.metrics.vif` with other numbers: never compare one with the other.

    Parameters
    ----------
    test, reference
        Images ``(..., row, column)``, numpy arrays or torch tensors. Not symmetric.
    data_range
        Distance between the smallest and the largest possible intensity. Images are brought onto the
        0..255 scale first, because the noise of the eye is given there.
    mask
        bool ``(row, column)``: both images are cut to its bounding box and are 0 outside of it.
    dtype
        Precision to compute in. float32 cannot tell a constant region from a faint one.

    Returns
    -------
    One float64 value per image, ``(...)``, at least 0; above 1 where contrast was enhanced. 0 for a
    constant test. NaN for a constant reference, a side (of the mask's bounding box) below 41 pixels,
    and images with NaN.

    Notes
    -----
    Global: the sums over windows run over the whole image, however large. Images are taken one after the other, each with
    about 13 times its own float64 size; nothing is tiled.

    References
    ----------
    .. [1] Sheikh and Bovik, IEEE Trans. Image Process. 15 (2006) 430-444; ``vifp_mscale.m``.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.random.default_rng(0).random((45, 56))
    >>> round(float(vifp(image, image)), 9), float(vifp(np.zeros((45, 56)), image))
    (1.0, 0.0)
    """
    scale = 255 / check_data_range(data_range)
    pair = pair_images(test, reference, mask=mask, dtype=dtype)
    xp = pair.xp
    whole = pair.cropped()
    if min(whole.shape) < SMALLEST or not len(whole.test):
        return pair.undefined()  # type: ignore[no-any-return]
    fractions = []
    for part in whole.chunks(pixels=1 << 24):
        carried, available = _information(part, scale)
        with np.errstate(divide="ignore", invalid="ignore"):
            fraction = part.to_float64(carried) / part.to_float64(available)
        fraction = xp.where(part.constant(part.test), xp.zeros_like(fraction), fraction)
        undefined = part.constant(part.reference)
        fractions.append(xp.where(undefined, xp.full_like(fraction, float("nan")), fraction))
    values: ImagesT = pair.values(xp.concatenate(fractions))
    return values


def why_undefined(
    test: Images, reference: Images, *, mask: Mask | None = None, **_: object
) -> list[str]:
    """Return for each image why `vifp` is NaN; empty where it is defined."""
    pair = pair_images(test, reference, mask=mask)
    whole = pair.cropped()
    constant = ~pair.usable if 0 in whole.shape else whole.constant(whole.reference)
    return pair.reasons((too_small(whole, SMALLEST), TOO_SMALL), (constant, REFERENCE_CONSTANT))


def _information(pair: ImagePair, scale: float) -> tuple[Any, Any]:
    """Return the information in the test and in the reference, ``(image,)`` each."""
    xp = pair.xp
    reference, test = pair.reference * scale, pair.test * scale
    carried = available = xp.zeros_like(reference[:, 0, 0])
    for window in WINDOWS:
        weights = gaussian_weights(window, window / 5)
        if window != WINDOWS[0]:
            reference = correlate_valid(reference, weights, xp)[:, ::2, ::2]
            test = correlate_valid(test, weights, xp)[:, ::2, ::2]
        gain, noise, variance = _distortion_channel(reference, test, weights, xp)
        strength = gain * gain * variance / (noise + EYE_NOISE)
        carried = carried + xp.log(1 + strength).sum((-2, -1))
        available = available + xp.log(1 + variance / EYE_NOISE).sum((-2, -1))
    return carried, available


def _distortion_channel(
    reference: Any, test: Any, weights: tuple[float, ...], xp: ModuleType
) -> tuple[Any, Any, Any]:
    """Return gain and noise of ``test = gain * reference + noise``, and the reference's variance."""
    zero = xp.zeros_like(reference[:1, :1, :1])
    mean, test_mean = correlate_valid(reference, weights, xp), correlate_valid(test, weights, xp)
    variance = xp.maximum(correlate_valid(reference * reference, weights, xp) - mean * mean, zero)
    test_variance = xp.maximum(
        correlate_valid(test * test, weights, xp) - test_mean * test_mean, zero
    )
    covariance = correlate_valid(reference * test, weights, xp) - mean * test_mean
    gain = covariance / (variance + TOLERANCE)
    noise = test_variance - gain * covariance
    # The order of these corrections is the original's.
    silent = variance < TOLERANCE
    gain, noise = xp.where(silent, zero, gain), xp.where(silent, test_variance, noise)
    variance = xp.where(silent, zero, variance)
    silent = test_variance < TOLERANCE
    gain, noise = xp.where(silent, zero, gain), xp.where(silent, zero, noise)
    noise = xp.where(gain < 0, test_variance, noise)
    return xp.maximum(gain, zero), xp.maximum(noise, zero + TOLERANCE), variance
