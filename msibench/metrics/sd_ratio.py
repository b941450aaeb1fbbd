"""Standard deviation of the test over that of the reference (SD of Cao et al.)."""

from __future__ import annotations

from typing import Any

import numpy as np

from msibench.metrics.pairs import ImagePair, Images, ImagesT, Mask, Precision, pair_images

REFERENCE_CONSTANT = "the reference is constant: its standard deviation is 0"


def sd_ratio(
    test: ImagesT,
    reference: ImagesT,
    *,
    data_range: float = 1.0,
    mask: Mask | None = None,
    dtype: Precision = "float64",
) -> ImagesT:
    """Ratio of standard deviations, ``std(test) / std(reference)``; the nearer to 1 the better.

    Below 1 the test is too smooth, above 1 it has contrast (or noise) that was not measured.

    Parameters
    ----------
    test, reference
        Images ``(..., row, column)``, numpy arrays or torch tensors.
    data_range
        Not used: the ratio has no scale.
    mask
        Pixels to evaluate, bool ``(row, column)``.
    dtype
        Precision to compute in.

    Returns
    -------
    One float64 value per image, ``(...)``, 0 for a constant test; NaN where the reference is constant
    or a pixel is NaN.

    References
    ----------
    .. [1] Cao et al. (2025), supporting information: the metric SD.

    Examples
    --------
    >>> import numpy as np
    >>> reference = np.arange(12.0).reshape(3, 4)
    >>> float(sd_ratio(0.5 * reference + 3, reference))
    0.5
    """
    pair = pair_images(test, reference, mask=mask, dtype=dtype)
    xp = pair.xp
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = _deviation(pair, pair.test) / _deviation(pair, pair.reference)
    undefined = pair.constant(pair.reference)
    values: ImagesT = pair.values(xp.where(undefined, xp.full_like(ratio, float("nan")), ratio))
    return values


def why_undefined(
    test: Images, reference: Images, *, mask: Mask | None = None, **_: object
) -> list[str]:
    """Return for each image why `sd_ratio` is NaN; empty where it is defined."""
    pair = pair_images(test, reference, mask=mask)
    return pair.reasons((pair.constant(pair.reference), REFERENCE_CONSTANT))


def _deviation(pair: ImagePair, images: Any) -> Any:
    """Return the standard deviation per image, exactly 0 for a constant one."""
    spread = pair.xp.sqrt(pair.mean((images - pair.mean(images)[:, None, None]) ** 2))
    return pair.xp.where(pair.constant(images), pair.xp.zeros_like(spread), spread)
