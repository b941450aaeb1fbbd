"""Mean squared error."""

from __future__ import annotations

from msibench.metrics.pairs import Images, ImagesT, Mask, Precision, check_data_range, pair_images


def mse(
    test: ImagesT,
    reference: ImagesT,
    *,
    data_range: float = 1.0,
    mask: Mask | None = None,
    dtype: Precision = "float64",
) -> ImagesT:
    """Mean squared error on the scale where `data_range` is 1; lower is better.

    Parameters
    ----------
    test, reference
        Images ``(..., row, column)``, numpy arrays or torch tensors.
    data_range
        Distance between the smallest and the largest possible intensity; the error is divided by its
        square, so that 8-bit images and their 0..1 copies have one score.
    mask
        Pixels to evaluate, bool ``(row, column)``.
    dtype
        Precision to compute in.

    Returns
    -------
    One float64 value per image, ``(...)``, 0 for identical images; NaN for images with NaN.

    Examples
    --------
    >>> import numpy as np
    >>> float(mse(np.full((3, 4), 0.5), np.zeros((3, 4))))
    0.25
    """
    peak = check_data_range(data_range)
    pair = pair_images(test, reference, mask=mask, dtype=dtype)
    values: ImagesT = pair.values(pair.mean((pair.test - pair.reference) ** 2) / peak**2)
    return values


def why_undefined(
    test: Images, reference: Images, *, mask: Mask | None = None, **_: object
) -> list[str]:
    """Return for each image why `mse` is NaN; empty where it is defined."""
    return pair_images(test, reference, mask=mask).reasons()
