"""Coefficient of determination."""

from __future__ import annotations

import numpy as np

from msibench.metrics.pairs import Images, ImagesT, Mask, Precision, pair_images

REFERENCE_CONSTANT = "the reference is constant: it has no variance to explain"


def r2(
    test: ImagesT,
    reference: ImagesT,
    *,
    data_range: float = 1.0,
    mask: Mask | None = None,
    dtype: Precision = "float64",
) -> ImagesT:
    """Share of the reference's variance that the test explains; higher is better, 1 at best.

    ``1 - Σ(reference - test)² / Σ(reference - mean(reference))²``. It is not the squared correlation:
    a wrong gain or offset costs, and a test worse than the constant mean is below 0.

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
    One float64 value per image, ``(...)``; NaN where the reference is constant or a pixel is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> reference = np.arange(12.0).reshape(3, 4)
    >>> float(r2(reference, reference)), float(r2(np.full((3, 4), 5.5), reference))
    (1.0, 0.0)
    """
    pair = pair_images(test, reference, mask=mask, dtype=dtype)
    xp = pair.xp
    residual = pair.mean((pair.test - pair.reference) ** 2)
    variance = pair.mean((pair.reference - pair.mean(pair.reference)[:, None, None]) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = 1 - residual / variance
    undefined = pair.constant(pair.reference)
    values: ImagesT = pair.values(
        xp.where(undefined, xp.full_like(explained, float("nan")), explained)
    )
    return values


def why_undefined(
    test: Images, reference: Images, *, mask: Mask | None = None, **_: object
) -> list[str]:
    """Return for each image why `r2` is NaN; empty where it is defined."""
    pair = pair_images(test, reference, mask=mask)
    return pair.reasons((pair.constant(pair.reference), REFERENCE_CONSTANT))
