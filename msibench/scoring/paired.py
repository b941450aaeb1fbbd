"""Two methods on the same ion images: differences, win rate, and a test where there are enough sections."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.scoring.bootstrap import Interval, two_level_bootstrap

Floats = NDArray[np.float64]

MINIMUM_SECTIONS_FOR_TEST = 6
"""With fewer sections the smallest two-sided p of the signed-rank test is above 0.05."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SignedRank:
    """Result of a Wilcoxon signed-rank test on section means, or why there is none."""

    p: float
    """Two-sided p; NaN where `reason` says why."""
    sections: int
    reason: str = ""


def paired_difference(
    test: ArrayLike,
    base: ArrayLike,
    sections: Sequence[object] | NDArray[np.generic],
    *,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean of ``test - base`` over the images that have both, with its interval.

    Parameters
    ----------
    test, base
        ``(image,)`` or ``(image, column)``; an image where either is undefined is left out.
    sections, draws, seed, level
        As in `two_level_bootstrap`.
    """
    difference = np.subtract(_finite(test), _finite(base))
    return two_level_bootstrap(difference, sections, draws=draws, seed=seed, level=level)


def win_rate(test: ArrayLike, base: ArrayLike) -> float:
    """Return the share of images on which `test` is above `base`; a tie counts half.

    Parameters
    ----------
    test, base
        ``(image,)``, higher is better.

    Returns
    -------
    In [0, 1]; NaN where no image has both.
    """
    difference = np.subtract(_finite(test), _finite(base))
    difference = difference[~np.isnan(difference)]
    if not difference.size:
        return float("nan")
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def section_means(
    values: ArrayLike, sections: Sequence[object] | NDArray[np.generic]
) -> tuple[list[str], Floats]:
    """Return the mean of every section that has a defined value, sections sorted by name."""
    flat = _finite(values)
    names, number = np.unique(np.asarray(sections).astype(str), return_inverse=True)
    defined = ~np.isnan(flat)
    count = np.bincount(number[defined], minlength=len(names))
    total = np.bincount(number[defined], weights=flat[defined], minlength=len(names))
    kept = count > 0
    return [str(name) for name in names[kept]], total[kept] / count[kept]


def signed_rank(
    test: ArrayLike, base: ArrayLike, sections: Sequence[object] | NDArray[np.generic]
) -> SignedRank:
    """Wilcoxon signed-rank test of paired section means, the section being the replicate.

    Parameters
    ----------
    test, base
        ``(image,)``.

    Returns
    -------
    Exact two-sided p up to 50 sections without ties; with fewer than `MINIMUM_SECTIONS_FOR_TEST`
    sections no p but a reason.
    """
    from scipy.stats import wilcoxon

    _, difference = section_means(np.subtract(_finite(test), _finite(base)), sections)
    count = len(difference)
    if count < MINIMUM_SECTIONS_FOR_TEST:
        few = f"too few sections ({count} < {MINIMUM_SECTIONS_FOR_TEST}) for a test"
        return SignedRank(p=float("nan"), sections=count, reason=few)
    if not difference.any():
        return SignedRank(p=1.0, sections=count, reason="all section means are equal")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ties: scipy says that it takes the normal approximation
        p = float(wilcoxon(difference, zero_method="zsplit").pvalue)
    return SignedRank(p=p, sections=count)


def holm(p: ArrayLike) -> Floats:
    """Adjust p-values of one family by Holm's step-down method; NaN stay NaN and are not counted.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])

    References
    ----------
    .. [1] Holm, Scand. J. Stat. 6 (1979) 65-70.
    """
    raw = np.asarray(p, dtype=np.float64)
    adjusted = np.full(raw.shape, np.nan)
    known = np.flatnonzero(~np.isnan(raw))
    order = known[np.argsort(raw[known], kind="stable")]
    steps = raw[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _finite(values: ArrayLike) -> Floats:
    table = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(table), table, np.nan)
