"""Compare two tables of rows, method by method and metric by metric, for gates in CI."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msibench.scoring.cube import IMAGE_KEY, SPECIMEN, Cube, cubes
from msibench.scoring.image_pairs import ImagePairs, Terms, pair_values
from msibench.scoring.multiple_tests import corrected_by_method
from msibench.scoring.rerun_noise import Noise, RunShift, run_shift, seed_spread
from msibench.scoring.table import round_significant
from msibench.scoring.verdict import Verdict, judge_pairs, undecided

TOGETHER = "(all that changed)"
"""Represents the methods of a measure that changed, taken together."""
COMPARED = [
    "protocol", "method", "metric", "region", "margin", *Verdict.__dataclass_fields__,
    "base_images", "new_images",
]  # fmt: skip
"""Columns of `compare_rows`."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Comparison:
    """One method and measure of one protocol on both sides."""

    protocol: str
    method: str
    metric: str
    region: str
    margin: float
    base_images: int
    new_images: int
    pairs: ImagePairs | None = None
    reason: str = ""
    """Why there are no pairs."""

    def line(self, verdict: Verdict) -> dict[str, object]:
        """Return a row of the table."""
        own = {name: getattr(self, name) for name in (*COMPARED[:5], *COMPARED[-2:])}
        return own | {name: getattr(verdict, name) for name in Verdict.__dataclass_fields__}


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One table of rows, ready to be compared."""

    cubes: Mapping[str, Cube]
    versions: Mapping[str, object]
    spreads: Mapping[tuple[str, str, str, str], tuple[float, int]]
    """Variance of the means of single seeds, and their number."""

    @classmethod
    def of(cls, rows: pd.DataFrame, margins: Mapping[str, float]) -> _Side:
        """Read a table of rows."""
        versions = rows[["metric", "metric_version"]].drop_duplicates()
        return cls(
            {cube.protocol: cube for cube in cubes(rows)},
            dict(versions.itertuples(index=False)),
            seed_spread(rows, margins),
        )


def compare_rows(
    base: pd.DataFrame,
    new: pd.DataFrame,
    margins: Mapping[str, float],
    *,
    level: float = 0.95,
    correct: bool = True,
    noise: Noise | None = None,
    trains: Collection[str] = (),
) -> pd.DataFrame:
    """Compare two tables of rows, method by method and metric by metric.

    Only what both hold under one protocol, method, metric, metric version and region is compared,
    image by image; what only one side holds is listed as undecided with its reason, never
    passed over. Where several methods changed in one measure, none of which is worse by itself, they
    are judged together as well, and listed as `TOGETHER` where that is a loss.

    Parameters
    ----------
    base, new
        Long tables with the columns of ``msibench.scoring.cube.COLUMNS``.
    margins
        Margin per metric, in its unit; other metrics are not judged.
    level
        1 - admitted rate of false alarms, of all comparisons together.
    correct
        Correct p over all comparisons in which any image differs (`corrected_by_method`); else each
        is judged alone.
    noise
        What a rerun differs by, in margins; None: as stated in `Noise`.
    trains
        Methods that train, see `noninferiority`.

    Returns
    -------
    ``protocol method metric region margin``, the fields of `Verdict`, ``base_images new_images``;
    sorted.
    """
    noise = noise or Noise()
    sides = _Side.of(base, margins), _Side.of(new, margins)
    compared = [
        one
        for protocol in sorted(sides[0].cubes.keys() | sides[1].cubes.keys())
        for one in _matched(protocol, sides, margins, noise, trains)
    ]
    together = _together(compared, noise)
    family = [one for one in (*compared, *together) if one.pairs is not None]
    p = corrected = np.array([one.pairs.p for one in family if one.pairs is not None])
    if correct:
        corrected = corrected_by_method(p, [(one.protocol, one.method) for one in family])
    adjusted = dict(zip(map(id, family), map(float, corrected), strict=True))
    count = 1
    if correct:
        count = max(1, sum(one.pairs.differs for one in family if one.pairs is not None))
    verdicts = [
        undecided(one.reason)
        if one.pairs is None
        else judge_pairs(one.pairs, adjusted[id(one)], count=count, level=level)
        for one in compared
    ]
    lines = [one.line(verdict) for one, verdict in zip(compared, verdicts, strict=True)]
    worse = {
        (one.protocol, one.metric, one.region)
        for one, verdict in zip(compared, verdicts, strict=True)
        if verdict.outcome == "worse"
    }
    for one in together:
        if one.pairs is not None and (one.protocol, one.metric, one.region) not in worse:
            lines += _loss_together(one, one.pairs, adjusted[id(one)], level)
    table = pd.DataFrame(lines, columns=COMPARED)
    for column in table.select_dtypes("float"):
        table[column] = round_significant(table[column].to_numpy())
    return table.sort_values(COMPARED[:4], kind="stable", ignore_index=True)


def _matched(
    protocol: str,
    sides: tuple[_Side, _Side],
    margins: Mapping[str, float],
    noise: Noise,
    trains: Collection[str],
) -> Iterator[_Comparison]:
    """Yield what either side holds of a protocol, method by method and measure by measure."""
    tables = [side.cubes.get(protocol) for side in sides]
    methods = sorted({name for cube in tables if cube for name in cube.methods})
    measures = sorted({m for cube in tables if cube for m in cube.measures if m[0] in margins})
    images, labels, rows = _all_images(tables)
    sections, specimens = (images[name].to_numpy(str) for name in ("section", SPECIMEN))
    for method in methods:
        for metric, region in measures:
            first, second = (
                _column(cube, method, metric, region, place, len(labels))
                for cube, place in zip(tables, rows, strict=True)
            )
            counts = [int(np.isfinite(values).sum()) for values in (first, second)]
            if not any(counts):
                continue
            one = _Comparison(
                protocol=protocol, method=method, metric=metric, region=region,
                margin=margins[metric], base_images=counts[0], new_images=counts[1],
                reason=_why_not(first, second, [side.versions.get(metric) for side in sides]),
            )  # fmt: skip
            if one.reason:
                yield one
                continue
            key = (protocol, method, metric, region)
            stated = noise.rerun * one.margin
            rerun = run_shift(sides[0].spreads.get(key), sides[1].spreads.get(key), stated)
            direction = next(
                cube.directions[cube.measures.index((metric, region))] for cube in tables if cube
            )
            terms = Terms(
                margin=one.margin, direction=direction, noise=noise, trains=method in trains
            )
            yield replace(
                one,
                pairs=pair_values(first, second, sections, terms, rerun, labels, specimens),
            )


def _all_images(
    sides: Sequence[Cube | None],
) -> tuple[pd.DataFrame, NDArray[np.str_], list[NDArray[np.intp]]]:
    """Return section, specimen and the name of every ion image of either side, and where each side's are.

    What one side says of a section's specimen holds for both: older rows say nothing.
    """
    tables = [side.images if side else None for side in sides]
    keys = list(IMAGE_KEY)
    every = pd.concat([t for t in tables if t is not None]).drop_duplicates(keys).sort_values(keys)
    index = pd.MultiIndex.from_frame(every[keys])
    rows = [
        np.zeros(0, np.intp) if t is None else index.get_indexer(pd.MultiIndex.from_frame(t[keys]))
        for t in tables
    ]
    owners = pd.concat([t for t in tables if t is not None])
    owners = owners[owners[SPECIMEN] != owners["section"]].drop_duplicates(["dataset", "section"])
    known = owners.set_index(["dataset", "section"])[SPECIMEN].to_dict()
    places = list(zip(every["dataset"], every["section"], strict=True))
    sections = ["/".join(map(str, place)) for place in places]
    specimens = [f"{place[0]}/{known.get(place, place[1])}" for place in places]
    names = []
    for where, channel, mz in zip(sections, every["channel"], every["mz"], strict=True):
        ion = f"m/z {mz:.4f}" if np.isfinite(mz) else f"channel {channel}"
        names.append(f"{where}, {ion}" if channel >= 0 else str(where))
    found = pd.DataFrame({"section": sections, SPECIMEN: specimens})
    return found, np.array(names, dtype=str), [row.astype(np.intp) for row in rows]


def _together(compared: Sequence[_Comparison], noise: Noise) -> list[_Comparison]:
    """Return, per measure in which several methods changed, their mean difference image by image."""
    groups: dict[tuple[str, str, str], list[ImagePairs]] = {}
    for one in compared:
        if one.pairs is not None and one.pairs.differs:
            groups.setdefault((one.protocol, one.metric, one.region), []).append(one.pairs)
    joined = []
    for (protocol, metric, region), members in groups.items():
        if len(members) < 2:
            continue
        frames = [
            pd.Series(m.difference, index=[m.specimens, m.sections, m.names]) for m in members
        ]
        table = pd.concat(frames, axis=1).mean(axis=1).sort_index()
        specimens, sections = (table.index.get_level_values(level) for level in (0, 1))
        spread = float(np.sqrt(sum(m.rerun.deviation**2 for m in members))) / len(members)
        terms = Terms(margin=members[0].terms.margin, direction="higher", noise=noise)
        pairs = pair_values(
            np.zeros(len(table)),
            table.to_numpy(),
            sections.to_numpy(),
            terms,
            RunShift(deviation=spread),
            specimens=specimens.to_numpy(),
        )
        images = int(pairs.found.images)
        joined.append(
            _Comparison(
                protocol=protocol, method=TOGETHER, metric=metric, region=region,
                margin=terms.margin, base_images=images, new_images=images, pairs=pairs,
            )
        )  # fmt: skip
    return joined


def _loss_together(
    one: _Comparison, pairs: ImagePairs, p_holm: float, level: float
) -> list[dict[str, object]]:
    """Return the row of a measure in which all that changed lost on the mean; else nothing."""
    nan = float("nan")
    verdict = judge_pairs(pairs, p_holm, level=level, worst=False)
    return [one.line(replace(verdict, base=nan, new=nan))] if verdict.reason == "mean" else []


def _column(
    cube: Cube | None, method: str, metric: str, region: str, rows: NDArray[np.intp], count: int
) -> NDArray[np.float64]:
    """Return the values of one method and measure on the `count` images of both sides, else NaN."""
    values = np.full(count, np.nan)
    if cube is not None and method in cube.methods and (metric, region) in cube.measures:
        found = cube.values[:, cube.methods.index(method), cube.measures.index((metric, region))]
        values[rows] = np.where(np.isfinite(found), found, np.nan)
    return values


def _why_not(
    first: NDArray[np.float64], second: NDArray[np.float64], versions: list[object]
) -> str:
    if not np.isfinite(first).any():
        return "not in the base"
    if not np.isfinite(second).any():
        return "not in the new rows"
    if versions[0] != versions[1]:
        return f"metric version {versions[0]} in the base, {versions[1]} in the new rows"
    return "" if np.isfinite(first + second).any() else "no image in common"
