"""Peak signal-to-noise ratio."""

from __future__ import annotations

import numpy as np

from msibench.metrics.pairs import Images, ImagesT, Mask, Precision, check_data_range, pair_images

IDENTICAL = "test and reference are identical: the ratio is infinite"


def psnr(
    test: ImagesT,
    reference: ImagesT,
    *,
    data_range: float = 1.0,
    mask: Mask | None = None,
    dtype: Precision = "float64",
) -> ImagesT:
    """Peak signal-to-noise ratio in dB: ``10 log10(data_range² / MSE)``; higher is better.

    Parameters
    ----------
    test, reference
        Images ``(..., row, column)``, numpy arrays or torch tensors.
    data_range
        Distance between the smallest and the largest possible intensity (1 for 0..1, 255 for 8 bit).
        It is never taken from the data: a brighter image would then have another scale.
    mask
        Pixels to evaluate, bool ``(row, column)``.
    dtype
        Precision to compute in.

    Returns
    -------
    One float64 value per image, ``(...)``; NaN for identical images (the ratio is infinite, and no
    infinity may enter a mean) and for images with NaN. See `why_undefined`.

    Examples
    --------
    >>> import numpy as np
    >>> reference = np.linspace(0, 1, 35).reshape(5, 7)
    >>> round(float(psnr(reference + 0.1, reference)), 6)
    20.0
    """
    peak = check_data_range(data_range)
    pair = pair_images(test, reference, mask=mask, dtype=dtype)
    error = pair.to_float64(pair.mean((pair.test - pair.reference) ** 2))
    with np.errstate(divide="ignore"):
        values: ImagesT = pair.values(10 * pair.xp.log10(peak**2 / error))
    return values


def why_undefined(
    test: Images, reference: Images, *, mask: Mask | None = None, **_: object
) -> list[str]:
    """Return for each image why `psnr` is NaN; empty where it is defined."""
    pair = pair_images(test, reference, mask=mask)
    return pair.reasons((pair.identical(), IDENTICAL))
