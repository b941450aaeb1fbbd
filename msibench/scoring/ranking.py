"""Ranks that do not claim more than the data: groups, and ranks under other weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST_DIFFERENCE = 0.005
"""Scores nearer than this are of one group, however sure their order is: a copy of a method that is better
by a trifle everywhere is no other method. The margin of the gate for skill."""


def ranks(scores: ArrayLike) -> NDArray[np.float64]:
    """Return competition ranks, 1 the highest score; ties share the better rank, NaN has none.

    Examples
    --------
    >>> ranks([0.2, 0.5, 0.5, float("nan")])
    array([ 3.,  1.,  1., nan])
    """
    values = np.asarray(scores, dtype=np.float64)
    above = (values[None, :] > values[:, None]).sum(axis=1)
    return np.where(np.isnan(values), np.nan, above + 1.0)


def rank_groups(scores: ArrayLike, separated: ArrayLike) -> NDArray[np.int64]:
    """Put methods that do not differ from the best of their group into one group.

    Going down the scores, the first method opens group 1; a method joins while it is not separated
    from the group's leader, else it opens the next group and leads it.

    Parameters
    ----------
    scores
        ``(method,)``, higher is better; NaN for methods without a rank.
    separated
        ``(method, method)``: whether the data tell two methods apart, all pairs considered.

    Returns
    -------
    ``(method,)``, from 1; 0 for methods without a score.

    Examples
    --------
    >>> apart = np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0]], dtype=bool)
    >>> rank_groups([0.9, 0.8, 0.5], apart)
    array([1, 1, 2])
    """
    values = np.asarray(scores, dtype=np.float64)
    apart = np.asarray(separated, dtype=np.bool_)
    if apart.shape != (len(values), len(values)):
        raise ValueError(
            f"separated must be (method, method) = {(len(values),) * 2}, got {apart.shape}"
        )
    groups = np.zeros(len(values), dtype=np.int64)
    leader = -1
    for method in np.argsort(-values, kind="stable"):
        if np.isnan(values[method]):
            continue
        if leader < 0 or apart[leader, method]:
            leader = int(method)
            groups[method] = groups.max() + 1
        else:
            groups[method] = groups[leader]
    return groups


def weight_sensitivity(
    scores: ArrayLike,
    weights: Sequence[float] | NDArray[np.float64],
    *,
    draws: int = 10_000,
    concentration: float = 30.0,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return how often each method keeps its rank when the weights are drawn anew.

    Weights come from ``Dirichlet(concentration * weights)``, whose mean is the chosen weights: with
    six equal weights of 0.167 and the default concentration one weight has a standard deviation of
    0.067.

    Parameters
    ----------
    scores
        ``(method, metric)``: mean score of every method in every metric on the common scale.
    weights
        The chosen ones, ``(metric,)``, above 0.

    Returns
    -------
    Share of draws in [0, 1], ``(method,)``; NaN for a method with an undefined score.
    """
    table = np.asarray(scores, dtype=np.float64)
    chosen = np.asarray(weights, dtype=np.float64)
    if table.ndim != 2 or chosen.shape != table.shape[1:] or not (chosen > 0).all():
        raise ValueError(
            "expected scores (method, metric) and one weight above 0 per metric, got shapes "
            f"{table.shape} and {chosen.shape} with weights {chosen.tolist()}"
        )
    known = ~np.isnan(table).any(axis=1)
    share = np.full(len(table), np.nan)
    if not known.any():
        return share
    chosen = chosen / chosen.sum()
    drawn = np.random.default_rng(seed).dirichlet(concentration * chosen, size=draws)
    kept = table[known]
    before = _ranks_of(kept @ chosen[:, None])[:, 0]
    step = max(1, (1 << 21) // len(kept) ** 2)
    same = np.zeros(len(kept))
    for first in range(0, draws, step):
        after = _ranks_of(kept @ drawn[first : first + step].T)
        same += (after == before[:, None]).sum(axis=1)
    share[known] = same / draws
    return share


def _ranks_of(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank every column of ``(method, draw)``, 1 the highest, ties sharing the better rank."""
    above = np.round(scores, 12)
    return np.asarray((above[:, None, :] < above[None, :, :]).sum(axis=1) + 1)
