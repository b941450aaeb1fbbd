"""Has a method become worse? Paired non-inferiority with a margin, for gates in CI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from msibench.errors import ConfigurationError
from msibench.scoring.cube import IMAGE_KEY, Cube, cubes
from msibench.scoring.paired import paired_difference
from msibench.scoring.schemes import Direction
from msibench.scoring.seeds import seed_from
from msibench.scoring.table import round_significant

Outcome = Literal["better", "equivalent", "worse", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a paired comparison of two runs of one method says about one metric."""

    outcome: Outcome
    """``worse``: the loss is real (the interval lies below 0) and may exceed the margin;
    ``equivalent``: the whole interval lies within the margin; ``better``: the gain is real and may
    exceed it; ``undecided``: none of these."""
    noninferior: bool
    """A loss beyond the margin is ruled out."""
    difference: float
    """Mean of new - base, turned so that above 0 is better, in the metric's unit."""
    low: float
    high: float
    images: int
    sections: int
    scope: str
    note: str


def noninferiority(
    base: ArrayLike,
    new: ArrayLike,
    sections: Sequence[object] | NDArray[np.generic],
    *,
    margin: float,
    direction: Direction = "higher",
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Verdict:
    """Judge whether `new` is worse than `base` on the same images.

    Parameters
    ----------
    base, new
        Values of one metric, ``(image,)``; images without both are left out.
    sections
        Name of the section of every image.
    margin
        Loss that does not matter, in the metric's unit, at least 0.
    direction
        Which way is better.
    draws, seed, level
        As in `two_level_bootstrap`.

    Raises
    ------
    ConfigurationError
        If the margin is negative or no number.
    """
    if not margin >= 0:
        raise ConfigurationError(f"a margin must be at least 0, got {margin}")
    interval = paired_difference(
        _turn(new, direction), _turn(base, direction), sections, draws=draws, seed=seed, level=level
    )
    low, high = float(interval.low), float(interval.high)
    outcome: Outcome = "undecided"
    if low >= -margin:
        outcome = "equivalent" if high <= margin else "better" if low > 0 else "undecided"
    elif high < 0:
        outcome = "worse"
    return Verdict(
        outcome=outcome,
        noninferior=low >= -margin,
        difference=float(interval.mean),
        low=low,
        high=high,
        images=int(interval.images),
        sections=int(interval.sections),
        scope=str(interval.scope),
        note=str(interval.note),
    )


def compare_rows(
    base: pd.DataFrame,
    new: pd.DataFrame,
    margins: Mapping[str, float],
    *,
    seed: int = 0,
    draws: int = 10_000,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare two tables of rows, method by method and metric by metric.

    Only what both hold under one protocol, method, metric, metric version and region is compared,
    image by image; what stands on one side only is listed as undecided with its reason, never
    passed over.

    Parameters
    ----------
    base, new
        Long tables with the columns of ``msibench.scoring.cube.COLUMNS``.
    margins
        Margin per metric, in its unit; other metrics are not judged.

    Returns
    -------
    ``protocol method metric region margin outcome noninferior difference low high images
    base_images new_images sections scope note``, sorted.
    """
    before, after = ({cube.protocol: cube for cube in cubes(side)} for side in (base, new))
    versions = [_versions(side) for side in (base, new)]
    lines = []
    for protocol in sorted(before.keys() | after.keys()):
        sides = (before.get(protocol), after.get(protocol))
        names = sorted({name for side in sides if side for name in side.methods})
        measures = sorted({m for side in sides if side for m in side.measures if m[0] in margins})
        for method in names:
            for metric, region in measures:
                first, second = (_column(side, method, metric, region) for side in sides)
                facts = {"protocol": protocol, "method": method, "metric": metric, "region": region}
                counts = {"base_images": len(first), "new_images": len(second)}
                if not counts["base_images"] and not counts["new_images"]:
                    continue
                reason = _why_not(first, second, [side.get(metric) for side in versions])
                verdict = _undecided(reason)
                if not reason:
                    both = first.set_axis(["base"], axis=1).join(
                        second.set_axis(["new"], axis=1), how="inner"
                    )
                    key = both.index.to_frame(index=False)
                    known: list[Direction] = [
                        side.directions[side.measures.index((metric, region))]  # type: ignore[misc]
                        for side in sides
                        if side
                    ]
                    verdict = noninferiority(
                        both["base"],
                        both["new"],
                        (key["dataset"] + "\x1f" + key["section"]).to_numpy(),
                        margin=margins[metric],
                        direction=known[0],
                        draws=draws,
                        level=level,
                        seed=seed_from("compare", protocol, seed),
                    )
                fields = {name: getattr(verdict, name) for name in Verdict.__dataclass_fields__}
                lines.append({**facts, "margin": margins[metric], **fields, **counts})
    table = pd.DataFrame(lines, columns=_LAYOUT)
    for column in table.select_dtypes("float"):
        table[column] = round_significant(table[column].to_numpy())
    return table


_LAYOUT = [
    "protocol", "method", "metric", "region", "margin", "outcome", "noninferior", "difference",
    "low", "high", "images", "base_images", "new_images", "sections", "scope", "note",
]  # fmt: skip


def _turn(values: ArrayLike, direction: Direction) -> NDArray[np.float64]:
    table = np.asarray(values, dtype=np.float64)
    if direction == "one":
        return -np.abs(table - 1.0)
    return table if direction == "higher" else -table


def _column(cube: Cube | None, method: str, metric: str, region: str) -> pd.DataFrame:
    """Return the defined values of one method and measure, indexed by image."""
    empty = pd.DataFrame({"value": []}, index=pd.MultiIndex.from_arrays([[]] * 4, names=IMAGE_KEY))
    if cube is None or method not in cube.methods or (metric, region) not in cube.measures:
        return empty
    values = cube.values[:, cube.methods.index(method), cube.measures.index((metric, region))]
    frame = cube.images[list(IMAGE_KEY)].astype({"dataset": str, "section": str, "mz_set": str})
    frame = frame.assign(value=values)[np.isfinite(values)]
    return frame.set_index(list(IMAGE_KEY))


def _versions(rows: pd.DataFrame) -> dict[str, object]:
    return dict(rows[["metric", "metric_version"]].drop_duplicates().itertuples(index=False))


def _why_not(first: pd.DataFrame, second: pd.DataFrame, versions: list[object]) -> str:
    if not len(first):
        return "not in the base"
    if not len(second):
        return "not in the new rows"
    if versions[0] != versions[1]:
        return f"metric version {versions[0]} in the base, {versions[1]} in the new rows"
    return "" if first.index.isin(second.index).any() else "no image in common"


def _undecided(reason: str) -> Verdict:
    nothing = float("nan")
    return Verdict(
        outcome="undecided",
        noninferior=False,
        difference=nothing,
        low=nothing,
        high=nothing,
        images=0,
        sections=0,
        scope="",
        note=reason,
    )
