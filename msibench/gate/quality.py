"""The quality gate: paired non-inferiority per method, metric and region, and what was lost."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from msibench.gate.margins import Margins
from msibench.gate.sources import Side
from msibench.leaderboard.rows import measured
from msibench.scoring import compare_rows
from msibench.scoring.cube import IMAGE_KEY

PAIR = ["protocol", "method", "metric", "region"]
IMAGE = list(IMAGE_KEY)


def judge(base: pd.DataFrame, new: pd.DataFrame, margins: Margins) -> pd.DataFrame:
    """Compare what both sides measured; see `msibench.scoring.compare_rows` for the columns."""
    level = margins.level
    if margins.family == "bonferroni":
        level = 1 - (1 - level) / max(1, changed(base, new, margins.metrics))
    return compare_rows(
        base, new, margins.metrics, seed=margins.seed, draws=margins.draws, level=level
    )


def changed(base: pd.DataFrame, new: pd.DataFrame, metrics: Mapping[str, float]) -> int:
    """Count the comparisons in which any image differs: identical ones can raise no false alarm."""
    sides = [
        side[side["metric"].isin(metrics)].groupby([*PAIR, *IMAGE])["value"].mean()
        for side in (base, new)
    ]
    before, after = sides[0].align(sides[1], join="inner")
    differ = (before != after) & before.notna() & after.notna()
    return int(differ.groupby(level=PAIR).any().sum())


def coverage_faults(base: Side, new: Side, margins: Margins, required: float) -> list[str]:
    """Say what the new side lacks: of the base's values, and of what the track requires."""
    assert base.rows is not None
    assert new.rows is not None
    first, second = measured(base.rows), measured(new.rows)
    faults = _other_measurements(first, second)
    faults += _other_truths(base, new)
    faults += _lost(first, second, margins)
    faults += _below(first, second, max(required, margins.required_coverage))
    return faults


def not_judged(base: pd.DataFrame, new: pd.DataFrame, margins: Margins) -> list[str]:
    """Return the metrics that have no margin."""
    return sorted((set(base["metric"]) | set(new["metric"])) - set(margins.metrics) - {""})


def _lost(first: pd.DataFrame, second: pd.DataFrame, margins: Margins) -> list[str]:
    """Name every comparison in which the new side has fewer values, seeds counted."""
    counts = []
    for side in (first, second):
        defined = side[np.isfinite(side["value"]) & side["metric"].isin(margins.metrics)]
        counts.append(defined.groupby([*PAIR, *IMAGE]).size())
    before, after = counts
    missing = before - after.reindex(before.index, fill_value=0)
    lacking = missing[missing > 0]
    faults = []
    for pair, part in lacking.groupby(level=PAIR, sort=True):
        protocol, method, metric, region = pair
        total = int(before.loc[pair].sum())
        faults.append(
            f"{method}: {metric} ({region}, {protocol}) has {total - int(part.sum())} of the "
            f"{total} values of the base"
        )
    return faults


def _below(first: pd.DataFrame, second: pd.DataFrame, required: float) -> list[str]:
    """Name the methods that have too small a share of a protocol's images."""
    if required <= 0:
        return []
    keys = ["protocol", *IMAGE]
    ions = [side[side["channel"] >= 0] for side in (first, second)]
    expected = pd.concat([side[keys] for side in ions]).drop_duplicates().groupby("protocol").size()
    defined = ions[1][np.isfinite(ions[1]["value"])]
    have = defined[["method", *keys]].drop_duplicates().groupby(["protocol", "method"]).size()
    names = second[["protocol", "method"]].drop_duplicates().sort_values(["protocol", "method"])
    faults = []
    for protocol, method in names.itertuples(index=False):
        there = int(have.get((protocol, method), 0))
        wanted = int(expected.get(protocol, 0))
        if wanted and there < required * wanted:
            faults.append(
                f"{method} ({protocol}) has {there} of {wanted} images, {there / wanted:.1%}; "
                f"{required:.1%} are required"
            )
    return faults


def _other_measurements(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """Name metrics of another version or direction, and m/z sets of one name and other m/z."""
    faults = []
    for column in ("metric_version", "direction"):
        sides = [side.groupby("metric")[column].unique() for side in (first, second)]
        for metric in sorted(sides[0].index.intersection(sides[1].index)):
            before, after = (sorted(map(str, side[metric])) for side in sides)
            if before != after:
                faults.append(
                    f"{metric}: {column} {', '.join(before)} in the base, {', '.join(after)} in "
                    "the new rows; score the older ones again with `msibench score`"
                )
    places = ["protocol", *IMAGE]
    masses = [side[side["mz"].notna()].groupby(places)["mz"].first() for side in (first, second)]
    before_mz, after_mz = masses[0].align(masses[1], join="inner")
    apart = ~np.isclose(before_mz.to_numpy(float), after_mz.to_numpy(float), rtol=1e-6)
    named = before_mz.index[apart].to_frame(index=False)
    for dataset, mz_set in named[["dataset", "mz_set"]].drop_duplicates().itertuples(index=False):
        faults.append(f"m/z set {mz_set!r} of {dataset} holds other m/z values in the new rows")
    return faults


def _other_truths(base: Side, new: Side) -> list[str]:
    """Name sections whose truth is another, where the records of both sides are at hand."""
    return [
        f"{place[0]}/{place[1]} ({place[2]}, {place[3]}): the truth is another in the new results"
        for place in sorted(base.truths.keys() & new.truths.keys())
        if base.truths[place] != new.truths[place]
    ]
