"""Corrections of p for many comparisons at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

CAUCHY_OVERRUN = 1.25
"""What the Cauchy combination of one method's metrics may exceed its level by, at a level of 5 %."""


def holm(p: ArrayLike) -> NDArray[np.float64]:
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


def corrected_by_method(p: ArrayLike, owners: Sequence[object]) -> NDArray[np.float64]:
    """Correct p of many comparisons, of which those of one method are nearly the same.

    The metrics of a method are combined to one p by the Cauchy combination, which costs nothing where
    they agree and little more than Bonferroni where one stands alone, whatever their dependence [1]_;
    Holm runs over methods. Inside a method Holm runs over its metrics; the smallest p stands for the
    method itself.

    Parameters
    ----------
    p
        One-sided, ``(comparison,)``; NaN is left out.
    owners
        What each comparison belongs to: protocol and method.

    Returns
    -------
    ``(comparison,)``.

    References
    ----------
    .. [1] Liu & Xie, J. Am. Stat. Assoc. 115 (2020) 393-402; p above 1/2 is taken as 1/2, so that a
       gain elsewhere hides no loss.
    """
    raw = np.asarray(p, np.float64)
    known = np.isfinite(raw)
    names = list(dict.fromkeys(owner for owner, there in zip(owners, known, strict=True) if there))
    number = np.array([names.index(owner) if owner in names else -1 for owner in owners], np.intp)
    members = [np.flatnonzero(known & (number == place)) for place in range(len(names))]
    joint = np.array([_cauchy(raw[inside]) for inside in members])
    adjusted = np.full(raw.shape, np.nan)
    for inside, whole in zip(members, holm(joint), strict=True):
        own = holm(raw[inside])
        own[np.argmin(raw[inside])] = 0.0
        adjusted[inside] = np.maximum(own, whole)
    return adjusted


def _cauchy(p: NDArray[np.float64]) -> float:
    if p.min() == 0.0 or len(p) == 1:
        return float(p.min())
    small = np.minimum(p, 0.5)
    statistic = float(np.mean(1.0 / np.tan(np.pi * small)))
    return CAUCHY_OVERRUN * float(np.arctan2(1.0, statistic) / np.pi)
