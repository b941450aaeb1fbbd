"""The summary behind a leaderboard: one row per protocol and method."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msibench.scoring.bootstrap import Interval, mean_and_sem, two_level_bootstrap
from msibench.scoring.composite import ImageScores, score_images
from msibench.scoring.cube import Cube, cubes
from msibench.scoring.ranking import rank_groups, ranks, weight_sensitivity
from msibench.scoring.schemes import Scheme
from msibench.scoring.seeds import seed_from

DIGITS = 10
"""Significant digits of every number: more than the last bit of any machine's arithmetic can reach."""


def summarise(
    rows: pd.DataFrame,
    scheme: Scheme,
    *,
    control_method: str | None = None,
    seed: int = 0,
    expected: int | Mapping[str, int] | None = None,
    draws: int = 10_000,
    level: float = 0.95,
) -> pd.DataFrame:
    """Summarise rows to one line per protocol and method, best first within a protocol.

    A method is ranked when it has a composite, has rows for every expected image, and its composite
    is made of as many metrics as the most complete one; ``rank_reason`` says what stood in the way.
    The same rows in any order give the same table.

    Parameters
    ----------
    rows
        Long table with the columns of ``msibench.scoring.cube.COLUMNS``.
    scheme, control_method
        As in `composite`.
    seed
        Start of the bootstrap and of the weight draws.
    expected
        Ion images that every method (or each method by name) should have in one protocol; None:
        every image that any method has.
    draws, level
        As in `two_level_bootstrap`.

    Returns
    -------
    Columns ``protocol method rank rank_group rank_kept rank_reason composite composite.sem
    composite.low composite.high composite.scope composite.note missing undefined images sections
    coverage`` and, per metric and region, ``<metric>.<region>.{mean,sem,low,high,images,undefined}``.
    ``images`` stand behind the composite, ``<metric>.<region>.images`` behind that metric's mean;
    ``rank_kept`` is the share of weight draws in which the rank stays.

    Raises
    ------
    DataError, ConfigurationError
        As in `composite`.
    """
    tables = []
    for cube in cubes(rows):
        start = seed_from("summary", cube.protocol, seed)
        table = _composite_table(cube, scheme, control_method, expected, start, draws, level)
        table = pd.concat([table, _measure_table(cube, start, draws, level)], axis=1)
        order = np.lexsort((table["method"], -table["composite"].fillna(-np.inf), table["rank"]))
        tables.append(table.iloc[order])
    if not tables:
        return pd.DataFrame(columns=["protocol", "method", "rank", "rank_group", "composite"])
    result = pd.concat(tables, ignore_index=True)
    for column in result.select_dtypes("float"):
        result[column] = round_significant(result[column].to_numpy())
    return result


def round_significant(values: NDArray[np.float64], digits: int = DIGITS) -> NDArray[np.float64]:
    """Round to significant digits, so that arithmetic in another order prints the same.

    Examples
    --------
    >>> round_significant(np.array([123.456789, 0.00012345678]), 4)
    array([1.235e+02, 1.235e-04])
    """
    return np.array([float(f"{value:.{digits}g}") for value in values], dtype=np.float64)


def _composite_table(
    cube: Cube,
    scheme: Scheme,
    control_method: str | None,
    expected: int | Mapping[str, int] | None,
    seed: int,
    draws: int,
    level: float,
) -> pd.DataFrame:
    ions = cube.ion_images()
    scored = score_images(ions, scheme, control_method=control_method)
    seen = ions.present.any(axis=2)
    covered = seen.sum(axis=0)
    wanted = np.array([_expected(expected, name, len(ions.images)) for name in ions.methods])
    coverage = np.divide(covered, wanted, out=np.full(len(wanted), np.nan), where=wanted > 0)
    interval = two_level_bootstrap(
        scored.composite, ions.sections, draws=draws, seed=seed, level=level
    )
    reasons = _rank_reasons(scored, coverage)
    score = np.where([reason == "" for reason in reasons], interval.mean, np.nan)
    groups = _groups(scored, ions, score, seed, draws, level)
    return pd.DataFrame(
        {
            "protocol": cube.protocol,
            "method": np.array(ions.methods, dtype=object),
            "rank": _whole(ranks(score)),
            "rank_group": _whole(np.where(np.isnan(score), np.nan, groups)),
            "rank_kept": _rank_kept(scored, score, seed, draws),
            "rank_reason": reasons,
            "composite": interval.mean,
            "composite.sem": [mean_and_sem(column)[1] for column in scored.composite.T],
            "composite.low": interval.low,
            "composite.high": interval.high,
            "composite.scope": interval.scope.astype(object),
            "composite.note": interval.note.astype(object),
            "missing": [", ".join(names) for names in scored.missing],
            "undefined": (seen & np.isnan(scored.composite)).sum(axis=0),
            "images": interval.images,
            "sections": interval.sections,
            "coverage": coverage,
        }
    )


def _whole(numbers: NDArray[np.float64]) -> pd.Series[int]:
    """Whole numbers, empty where NaN."""
    return pd.Series(numbers).astype("Int64")


def _expected(expected: int | Mapping[str, int] | None, method: str, images: int) -> int:
    if expected is None:
        return images
    return expected if isinstance(expected, int) else expected.get(method, images)


def _rank_reasons(scored: ImageScores, coverage: NDArray[np.float64]) -> list[str]:
    """Say per method why it has no rank; empty where it has one."""
    with_composite = [
        names for names, no in zip(scored.missing, scored.refused, strict=True) if not no
    ]
    fewest = min(with_composite, key=lambda names: (len(names), names), default=())
    reasons = []
    for method, share in enumerate(coverage):
        if scored.refused[method]:
            reasons.append(f"no composite: {scored.refused[method]}")
        elif np.isnan(scored.composite[:, method]).all():
            reasons.append("no composite: undefined on every image")
        elif share < 1.0:
            reasons.append(f"covers {share:.1%} of the expected images")
        elif scored.missing[method] != fewest:
            reasons.append(f"its composite lacks {', '.join(scored.missing[method])}")
        else:
            reasons.append("")
    return reasons


def _groups(
    scored: ImageScores,
    cube: Cube,
    score: NDArray[np.float64],
    seed: int,
    draws: int,
    level: float,
) -> NDArray[np.int64]:
    """Rank groups from the paired intervals of all pairs of ranked methods."""
    best_first = [m for m in np.argsort(-score, kind="stable") if not np.isnan(score[m])]
    pairs = [(a, b) for i, a in enumerate(best_first) for b in best_first[i + 1 :]]
    low = np.full((len(score), len(score)), np.nan)
    if pairs:
        first, second = (np.array(side) for side in zip(*pairs, strict=True))
        difference = scored.composite[:, first] - scored.composite[:, second]
        interval = two_level_bootstrap(
            difference, cube.sections, draws=draws, seed=seed, level=level
        )
        low[first, second] = interval.low
    return rank_groups(score, low)


def _rank_kept(
    scored: ImageScores, score: NDArray[np.float64], seed: int, draws: int
) -> NDArray[np.float64]:
    """How often every ranked method keeps its rank when the weights are drawn anew."""
    kept = np.full(len(score), np.nan)
    ranked = np.flatnonzero(~np.isnan(score))
    if not len(ranked):
        return kept
    entering = scored.weights[ranked[0]] > 0
    behind = ~np.isnan(scored.composite[:, ranked])
    scores = np.where(behind[..., None], scored.scores[:, ranked][..., entering], np.nan)
    kept[ranked] = weight_sensitivity(
        np.nanmean(scores, axis=0), scored.weights[ranked[0]][entering], draws=draws, seed=seed
    )
    return kept


def _measure_table(cube: Cube, seed: int, draws: int, level: float) -> pd.DataFrame:
    """Mean, s.e.m. and interval of every measure, without scaling."""
    channel = cube.images["channel"].to_numpy()
    columns: dict[str, object] = {}
    for kind in (channel >= 0, channel < 0):  # ion images, then numbers of a whole section
        there = np.flatnonzero(cube.present[kind].any(axis=(0, 1)))
        if not len(there):
            continue
        values = cube.values[kind][..., there]
        interval = two_level_bootstrap(
            values.reshape(len(values), -1),
            cube.sections[kind],
            draws=draws,
            seed=seed,
            level=level,
        )
        undefined = (cube.present[kind][..., there] & ~np.isfinite(values)).sum(axis=0)
        for position, measure in enumerate(there):
            name = ".".join(cube.measures[measure])
            if f"{name}.mean" not in columns:
                columns |= _measure_columns(name, interval, values, undefined, position)
    names = sorted(columns, key=lambda column: column.rsplit(".", 1)[0])
    return pd.DataFrame({name: columns[name] for name in names})


def _measure_columns(
    name: str,
    interval: Interval,
    values: NDArray[np.float64],
    undefined: NDArray[np.intp],
    position: int,
) -> dict[str, object]:
    shape = values.shape[1:]
    return {
        f"{name}.mean": interval.mean.reshape(shape)[:, position],
        f"{name}.sem": [mean_and_sem(column)[1] for column in values[..., position].T],
        f"{name}.low": interval.low.reshape(shape)[:, position],
        f"{name}.high": interval.high.reshape(shape)[:, position],
        f"{name}.images": interval.images.reshape(shape)[:, position],
        f"{name}.undefined": undefined[:, position],
    }
