"""The summary behind a leaderboard: one row per protocol and method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msibench.contracts.metric import ANYTHING
from msibench.metrics.specs import builtin_metrics
from msibench.scoring.bootstrap import Interval, mean_and_sem, two_level_bootstrap
from msibench.scoring.composite import ImageScores, score_images
from msibench.scoring.cube import Cube, cubes
from msibench.scoring.multiple_tests import holm
from msibench.scoring.paired import every_pair
from msibench.scoring.ranking import LEAST_DIFFERENCE, rank_groups, ranks, weight_sensitivity
from msibench.scoring.replicates import MINIMUM_SECTIONS, SECTIONS
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
    beside: Sequence[Scheme] = (),
) -> pd.DataFrame:
    """Summarise rows to one line per protocol and method, best first within a protocol.

    A method can be ranked when it has a composite, has rows for every expected image, and its
    composite is made of as many metrics as the most complete one; ``rank_reason`` says what stood in
    the way. Fewer than five specimens (sections, where nothing is known of specimens) decide
    nothing about others: methods are then sorted by their composite and nobody has a rank or group. From five on, a group begins with the first
    method that Holm's correction over all pairs of the protocol tells apart from the first of the group above
    (family-wise error at most 1 - `level`, a difference of at least `LEAST_DIFFERENCE` where scores are scaled); other methods of two groups need not be told apart. The same rows in any order give the same table.

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
    beside
        Schemes whose mean score is shown too, without a rank; not anchored ones.

    Returns
    -------
    Columns ``protocol method rank rank_group rank_kept rank_reason composite composite.sem
    composite.low composite.high composite.scope composite.note missing undefined images sections
    coverage``, ``specimens`` where some have several sections, per scheme of `beside` its name and ``<name>.missing``, and, per metric and region, ``<metric>.<region>.{mean,sem,low,high,images,undefined}``.
    ``images`` stand behind the composite, ``<metric>.<region>.images`` behind that metric's mean;
    ``rank_kept`` is the share of weight draws in which the place in the order stays.

    Raises
    ------
    DataError, ConfigurationError
        As in `composite`.
    """
    tables = []
    for cube in cubes(rows):
        start = seed_from("summary", cube.protocol, seed)
        ions = cube.ion_images()
        scored = score_images(ions, scheme, control_method=control_method)
        coverage = _coverage(ions, expected)
        reasons = _rank_reasons(scored, coverage)
        measures = [m for m in range(len(ions.measures)) if ions.present[..., m].any()]
        blocks = [  # one set of draws serves both
            scored.composite,
            ions.values[..., measures].reshape(len(ions.images), len(ions.methods) * len(measures)),
        ]
        interval = two_level_bootstrap(
            np.hstack(blocks),
            ions.sections,
            specimens=ions.specimens,
            draws=draws,
            seed=start,
            level=level,
        )
        ends = np.cumsum([block.shape[1] for block in blocks])
        composite = interval.part(0, ends[0])
        if scheme.normalisation == "bounded":
            composite = composite.within(-1.0, 1.0)
        table = _composite_table(ions, scored, composite, coverage, reasons)
        score = np.where([reason == "" for reason in reasons], interval.mean[: ends[0]], np.nan)
        decided = round_significant(score)
        if len(np.unique(ions.specimens)) < MINIMUM_SECTIONS:
            decided = np.full_like(score, np.nan)
        least = 0.0 if scheme.normalisation == "none" else LEAST_DIFFERENCE
        groups = rank_groups(decided, _separated(ions, scored.composite, decided, level, least))
        table["rank"] = _whole(ranks(decided))
        table["rank_group"] = _whole(np.where(np.isnan(decided), np.nan, groups))
        table["rank_kept"] = _rank_kept(scored, score, start, draws)
        columns = _measure_columns(ions, measures, interval.part(ends[0], ends[1]))
        columns |= _section_columns(cube, start, draws, level)
        table = pd.concat([table, pd.DataFrame(_other_scores(ions, beside))], axis=1)
        names = sorted(columns, key=lambda column: column.rsplit(".", 1)[0])
        table = pd.concat([table, pd.DataFrame({name: columns[name] for name in names})], axis=1)
        order = np.lexsort(
            (table["method"], -table["composite"].fillna(-np.inf), table["rank_reason"] != "")
        )
        tables.append(table.iloc[order])
    if not tables:
        return pd.DataFrame(columns=["protocol", "method", "rank", "rank_group", "composite"])
    result = pd.concat(tables, ignore_index=True)
    for column in result.select_dtypes("float"):
        result[column] = round_significant(result[column].to_numpy())
    return result


def _other_scores(ions: Cube, schemes: Sequence[Scheme]) -> dict[str, object]:
    """Mean score of every method under other schemes, and the metrics that each is made without."""
    columns: dict[str, object] = {}
    for scheme in schemes:
        scored = score_images(ions, scheme)
        columns[scheme.name] = [mean_and_sem(column)[0] for column in scored.composite.T]
        columns[f"{scheme.name}.missing"] = [", ".join(names) for names in scored.missing]
    return columns


def round_significant(values: NDArray[np.float64], digits: int = DIGITS) -> NDArray[np.float64]:
    """Round to significant digits, so that arithmetic in another order prints the same.

    Examples
    --------
    >>> round_significant(np.array([123.456789, 0.00012345678]), 4)
    array([1.235e+02, 1.235e-04])
    """
    return np.array([float(f"{value:.{digits}g}") for value in values], dtype=np.float64)


def _coverage(cube: Cube, expected: int | Mapping[str, int] | None) -> NDArray[np.float64]:
    """Share of the expected ion images that every method has rows for."""
    covered = cube.present.any(axis=2).sum(axis=0)
    images = len(cube.images)
    if isinstance(expected, Mapping):
        wanted = np.array([expected.get(name, images) for name in cube.methods])
    else:
        wanted = np.full(len(cube.methods), images if expected is None else expected)
    share = np.full(len(wanted), np.nan)
    np.divide(covered, wanted, out=share, where=wanted > 0)
    return share


def _rank_reasons(scored: ImageScores, coverage: NDArray[np.float64]) -> list[str]:
    """Return per method why it has no rank; empty where it has one."""
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


def _separated(
    ions: Cube,
    composite: NDArray[np.float64],
    score: NDArray[np.float64],
    level: float,
    least: float,
) -> NDArray[np.bool_]:
    """Return which methods differ, ``(method, method)``, by Holm's correction over all ranked pairs.

    And by `least` in the mean.
    """
    apart = np.zeros((len(score),) * 2, dtype=np.bool_)
    ranked = np.flatnonzero(~np.isnan(score))
    if len(ranked) > 1:
        first, second, found = every_pair(
            composite[:, ranked], ions.sections, specimens=ions.specimens, level=level
        )
        p = holm(np.where(found.scope == SECTIONS, found.p, np.nan))
        matters = np.abs(found.mean) >= least
        apart[ranked[first], ranked[second]] = (p <= 1.0 - level) & matters
    return apart | apart.T


def _composite_table(
    cube: Cube,
    scored: ImageScores,
    interval: Interval,
    coverage: NDArray[np.float64],
    reasons: list[str],
) -> pd.DataFrame:
    seen = cube.present.any(axis=2)
    return pd.DataFrame(
        {
            "protocol": cube.protocol,
            "method": np.array(cube.methods, dtype=object),
            "rank": 0,
            "rank_group": 0,
            "rank_kept": np.nan,
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
            **({"specimens": interval.specimens} if several_a_specimen(cube) else {}),
            "coverage": coverage,
        }
    )


def several_a_specimen(cube: Cube) -> bool:
    """Whether a specimen has more than one section."""
    return len(np.unique(cube.specimens)) < len(np.unique(cube.sections))


def _whole(numbers: NDArray[np.float64]) -> pd.Series[int]:
    """Whole numbers, empty where NaN."""
    return pd.Series(numbers).astype("Int64")


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


def _section_columns(cube: Cube, seed: int, draws: int, level: float) -> dict[str, object]:
    """Columns of the measures that are one number per section (channel -1)."""
    whole = (cube.images["channel"] < 0).to_numpy()
    measures = [m for m in range(len(cube.measures)) if cube.present[whole][..., m].any()]
    measures = [m for m in measures if not cube.present[~whole][..., m].any()]
    if not measures:
        return {}
    part = cube.part(whole)
    interval = two_level_bootstrap(
        part.values[..., measures].reshape(len(part.images), len(part.methods) * len(measures)),
        part.sections,
        specimens=part.specimens,
        draws=draws,
        seed=seed,
        level=level,
    )
    return _measure_columns(part, measures, interval)


@cache
def bounds_of_metrics() -> Mapping[str, tuple[float, float]]:
    """Return metric → lowest and highest value that it can have, of the core's."""
    return {spec.name: spec.bounds for spec in builtin_metrics()}


def _measure_columns(cube: Cube, measures: list[int], interval: Interval) -> dict[str, object]:
    """Mean, s.e.m. and interval of every measure, without scaling; `interval` holds method × measure.

    Intervals are cut at the bounds of their metrics.
    """
    columns: dict[str, object] = {}
    bounds = bounds_of_metrics()
    ends = np.array([bounds.get(cube.measures[measure][0], ANYTHING) for measure in measures])
    lowest, highest = np.tile(ends.reshape(-1, 2).T, len(cube.methods))
    interval = interval.within(lowest, highest)
    shape = (len(cube.methods), len(measures))
    for position, measure in enumerate(measures):
        name = ".".join(cube.measures[measure])
        values = cube.values[..., measure]
        absent = cube.present[..., measure] & ~np.isfinite(values)
        columns |= {
            f"{name}.mean": interval.mean.reshape(shape)[:, position],
            f"{name}.sem": [mean_and_sem(column)[1] for column in values.T],
            f"{name}.low": interval.low.reshape(shape)[:, position],
            f"{name}.high": interval.high.reshape(shape)[:, position],
            f"{name}.images": interval.images.reshape(shape)[:, position],
            f"{name}.undefined": absent.sum(axis=0),
        }
    return columns
