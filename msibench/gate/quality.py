"""The quality gate: paired non-inferiority per method, metric and region, and what was lost."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from msibench.gate.margins import Margins, noise_of
from msibench.gate.sources import Side
from msibench.leaderboard.rows import SELF_REPORTED, cells, measured
from msibench.results.schema import FAILURES
from msibench.scoring import compare_rows
from msibench.scoring.cube import IMAGE_KEY, NOTHING_PRESENT

PAIR = ["protocol", "method", "metric", "region"]
IMAGE = list(IMAGE_KEY)
TRUTH = ["dataset", "section", "protocol", "mz_set"]
"""What names a truth, as in `Side.truths`."""


def judge(base: pd.DataFrame, new: pd.DataFrame, margins: Margins) -> pd.DataFrame:
    """Compare what both sides measured; see `msibench.scoring.compare_rows` for the columns."""
    return compare_rows(
        base,
        new,
        margins.metrics,
        level=margins.level,
        correct=margins.family == "holm",
        noise=noise_of(margins),
        trains=training(base) | training(new),
    )


def of_one_experiment(base: Side, new: Side) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what both sides measured, without the ion images that are of another m/z or truth there."""
    assert base.rows is not None
    assert new.rows is not None
    first, second = measured(base.rows), measured(new.rows)
    apart = pd.MultiIndex.from_frame(_other_mz(first, second))
    other = set(_places_of_other_truths(base, new))
    kept = []
    for side in (first, second):
        image = pd.MultiIndex.from_frame(side[["protocol", *IMAGE]])
        truth = side[TRUTH].itertuples(index=False, name=None)
        same = [place not in other for place in truth]
        kept.append(side[~image.isin(apart) & np.array(same, dtype=bool)])
    return kept[0], kept[1]


def training(rows: pd.DataFrame) -> set[str]:
    """Return the methods that spent time on fitting: another seed gives other numbers."""
    return set(rows.loc[rows["fit_seconds"] > 0, "method"])


def one_seed(base: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    """Return the methods that train and hold fewer than two seeds on either side."""
    seeds = [side.groupby("method")["seed"].nunique() for side in (base, new)]
    both = training(base) & training(new)
    return sorted(name for name in both if min(int(side[name]) for side in seeds) < 2)


def coverage_faults(base: Side, new: Side, margins: Margins, required: float) -> list[str]:
    """Return what the new side lacks: of the base's values, and of what the track requires."""
    assert base.rows is not None
    assert new.rows is not None
    first, second = measured(base.rows), measured(new.rows)
    changed = set(declared(first, second))
    faults = _other_measurements(first, second, changed)
    faults += _other_truths(base, new)
    faults += _failed(base.rows, new.rows)
    faults += _vanished(first, second, margins)
    faults += _lost(first, second, margins, changed)
    faults += _costs_lost(base.rows, new.rows)
    faults += _below(first, second, max(required, margins.required_coverage))
    return faults


def declared(base: pd.DataFrame, new: pd.DataFrame) -> dict[str, str]:
    """Return the metrics whose version was raised, which declares that their numbers changed."""
    sides = [side.groupby("metric")["metric_version"].agg(["min", "max"]) for side in (base, new)]
    return {
        str(metric): f"{sides[0].loc[metric, 'max']} → {sides[1].loc[metric, 'min']}"
        for metric in sorted(sides[0].index.intersection(sides[1].index))
        if sides[1].loc[metric, "min"] > sides[0].loc[metric, "max"]
    }


def not_judged(base: pd.DataFrame, new: pd.DataFrame, margins: Margins) -> list[str]:
    """Return the metrics that have no margin."""
    return sorted((set(base["metric"]) | set(new["metric"])) - set(margins.metrics) - {""})


def _failed(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """Return the cells that end badly and did not in the base."""
    place = ["method", "protocol", "dataset", "section", "mz_set", "seed", "control"]
    bad = {str(status) for status in FAILURES}
    before, after = (cells(side) for side in (first, second))
    known = set(before.loc[before["status"].isin(bad), place].itertuples(index=False, name=None))
    faults = []
    for row in after[after["status"].isin(bad)].to_dict("records"):
        if tuple(row[name] for name in place) in known:
            continue
        guide = f", {row['control']}" if row["control"] else ""
        why = f": {row['status_reason']}" if row["status_reason"] else ""
        faults.append(
            f"{row['method']} ({row['protocol']}, {row['dataset']}/{row['section']}, seed "
            f"{row['seed']}{guide}) ended with status {row['status']}{why}"
        )
    return faults


def taken_on_trust(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """Return the methods with cells that somebody else reports and that the base had measured here."""
    place = ["method", "protocol", "dataset", "section", "mz_set", "seed", "control"]
    before, after = (cells(side) for side in (first, second))
    ours = before.loc[before["origin"] != SELF_REPORTED, place]
    told = after.loc[after["origin"] == SELF_REPORTED, place].merge(ours, on=place)
    return [
        f"{method}: {count} of its cells {'is' if count == 1 else 'are'} {SELF_REPORTED} now and "
        f"{'was' if count == 1 else 'were'} measured in the base; `msibench verify --rerun` checks them here"
        for method, count in told["method"].value_counts().sort_index().items()
    ]


def _vanished(first: pd.DataFrame, second: pd.DataFrame, margins: Margins) -> list[str]:
    """Return metrics of the base that the new side lacks altogether."""
    if not len(second):
        return []
    gone = set(first["metric"]) - set(second["metric"]) - set(margins.removed) - {""}
    return [
        f"{metric} was measured in the base and is gone; a metric that is meant to be removed must be declared in "
        f'the margins: [declared] removed = ["{metric}"]'
        for metric in sorted(gone)
    ]


def _costs_lost(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """Return the methods whose times or memory are no longer recorded."""
    faults = []
    sides = [cells(side) for side in (first, second)]
    sides = [side[(side["status"] == "ok") & (side["control"] == "")] for side in sides]
    for column, name in (("seconds_per_image", "time"), ("rss_mib", "memory")):
        counts = []
        for good in sides:
            there = np.isfinite(good[column]) & (good[column] > 0)
            counts.append(there.groupby([good["protocol"], good["method"]]).sum())
        both = counts[0].index.intersection(counts[1].index)
        faults += [
            f"{method} ({protocol}): the base has its {name}, the new rows have none"
            for protocol, method in sorted(both)
            if counts[0][(protocol, method)] and not counts[1][(protocol, method)]
        ]
    return faults


def _lost(
    first: pd.DataFrame, second: pd.DataFrame, margins: Margins, changed: Collection[str]
) -> list[str]:
    """Return every comparison in which the new side has fewer values, seeds counted.

    Metrics that were `changed` by declaration may be undefined elsewhere than they were.
    """
    counts = []
    first, second = without_nothing(first, second)
    gone = set(first["metric"]) - set(second["metric"]) if len(second) else set()
    left_out = set(changed) | set(margins.removed) | gone
    for side in (first, second):
        judged = side["metric"].isin(margins.metrics) & ~side["metric"].isin(left_out)
        defined = side[np.isfinite(side["value"]) & judged]
        counts.append(defined.groupby([*PAIR, *IMAGE]).size())
    before, after = counts
    missing = before - after.reindex(before.index, fill_value=0)
    lacking = missing[missing > 0]
    faults = []
    for pair, part in lacking.groupby(level=PAIR):
        protocol, method, metric, region = pair
        total = int(before.loc[pair].sum())
        faults.append(
            f"{method}: {metric} ({region}, {protocol}) has {total - int(part.sum())} of the "
            f"{total} values of the base"
        )
    return faults


def without_nothing(first: pd.DataFrame, second: pd.DataFrame) -> list[pd.DataFrame]:
    """Return both sides without the ion images on which either reports that nothing is present."""
    keys = ["protocol", *IMAGE]
    both = pd.concat(
        [side.loc[side["reason"] == NOTHING_PRESENT, keys] for side in (first, second)]
    )
    if both.empty:
        return [first, second]
    empty = pd.MultiIndex.from_frame(both.drop_duplicates())
    return [side[~pd.MultiIndex.from_frame(side[keys]).isin(empty)] for side in (first, second)]


def _below(first: pd.DataFrame, second: pd.DataFrame, required: float) -> list[str]:
    """Return the methods that have too small a share of a protocol's images."""
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


def _other_measurements(
    first: pd.DataFrame, second: pd.DataFrame, changed: Collection[str]
) -> list[str]:
    """Return metrics of an older version or another direction, and m/z sets of one name with other m/z."""
    faults = []
    for column in ("metric_version", "direction"):
        sides = [side.groupby("metric")[column].unique() for side in (first, second)]
        for metric in sorted(sides[0].index.intersection(sides[1].index).difference([*changed])):
            before, after = (sorted(map(str, side[metric])) for side in sides)
            if before != after:
                faults.append(
                    f"{metric}: {column} {', '.join(before)} in the base, {', '.join(after)} in "
                    "the new rows; score the older ones again with `msibench score`"
                )
    named = _other_mz(first, second)
    for dataset, mz_set in named[["dataset", "mz_set"]].drop_duplicates().itertuples(index=False):
        faults.append(f"m/z set {mz_set!r} of {dataset} holds other m/z values in the new rows")
    return faults


def _other_mz(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return protocol and image of what both sides hold at one place, and of different m/z."""
    places = ["protocol", *IMAGE]
    masses = [side[side["mz"].notna()].groupby(places)["mz"].first() for side in (first, second)]
    before, after = masses[0].align(masses[1], join="inner")
    apart = ~np.isclose(before.to_numpy(float), after.to_numpy(float), rtol=1e-6)
    found: pd.DataFrame = before.index[apart].to_frame(index=False)
    return found


def _other_truths(base: Side, new: Side) -> list[str]:
    """Return sections whose truth differs, where the records of both sides are available."""
    return [
        f"{place[0]}/{place[1]} ({place[2]}, {place[3]}): the truth differs in the new results"
        for place in _places_of_other_truths(base, new)
    ]


def _places_of_other_truths(base: Side, new: Side) -> list[tuple[str, ...]]:
    return [
        place
        for place in sorted(base.truths.keys() & new.truths.keys())
        if base.truths[place] != new.truths[place]
    ]
