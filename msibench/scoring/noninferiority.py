"""Has a method become worse? Paired non-inferiority with a margin, for gates in CI.

The noise model: a rerun's difference on one ion image is a shift of the whole run (another seed of a
network; shared by all images, so that no number of them shows it), a shift of the section, and noise of
the image. Section and image are measured from the differences where there are enough; the shift of the
run is measured where both sides hold several seeds, else stated (`Noise`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from msibench.contracts.metric import Direction
from msibench.errors import ConfigurationError
from msibench.scoring.cube import IMAGE_KEY, Cube, cubes
from msibench.scoring.paired import Difference, holm, paired_difference
from msibench.scoring.table import round_significant

Outcome = Literal["better", "equivalent", "worse", "undecided"]
TOGETHER = "(all that changed)"
"""Stands for the methods of a measure that changed, taken together."""
MEAN_SHARE, LARGE_SHARE, WORST_SHARE = 0.9, 0.05, 0.05
"""How the admitted rate of false alarms is spent: on the mean, on a mean loss that is large even for so
few images, and on single sections and images."""
CAUCHY_OVERRUN = 1.25
"""What the Cauchy combination of one method's metrics may exceed its level by, at a level of 5 %."""
PRIOR_IMAGES = 10.0
"""Images that the stated spread of an image counts for beside the measured one."""
TOLERANCE = 1e-9
"""Share of a margin that is arithmetic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Standard deviations of a rerun's difference, in margins of the metric."""

    image: float = 2.5
    """Of one ion image: 0.25 dB where the margin is 0.1 dB."""
    section: float = 0.5
    rerun: float = 1.0
    """Of all images together: what another seed of a trained method shifts."""

    def of_mean(self, images: float, sections: float, runs: float = 1.0) -> float:
        """Return the standard deviation of a mean over images of sections, in margins."""
        parts = self.rerun**2 / runs + self.section**2 / sections + self.image**2 / images
        return float(np.sqrt(parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a paired comparison of two runs of one method says about one metric."""

    outcome: Outcome
    """``worse``: the loss is real and may exceed the margin, or the mean, a section or an image lost
    more than noise explains (`reason`); ``equivalent``: the whole interval lies within the margin;
    ``better``: the gain is real and may exceed it; ``undecided``: none of these."""
    noninferior: bool
    """A loss beyond the margin is ruled out."""
    base: float
    new: float
    """Mean values over the images compared, as they were measured."""
    difference: float
    """Mean of new - base, turned so that above 0 is better, in the metric's unit."""
    low: float
    high: float
    """95 % interval of the difference, the shift of a rerun included."""
    p: float
    """One-sided p of a loss; NaN where too few images stand behind it."""
    p_holm: float
    """The same, corrected over all comparisons in which any image differs (`corrected_by_method`)."""
    images: int
    sections: int
    scope: str
    reason: Literal["", "mean", "large", "section", "image"] = ""
    place: str = ""
    """The section or image that lost most beyond what is allowed."""
    place_loss: float = float("nan")
    place_allowed: float = float("nan")
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Pairs:
    """One comparison before it is known how many there are."""

    base: NDArray[np.float64]
    new: NDArray[np.float64]
    difference: NDArray[np.float64]
    """Turned so that above 0 is better."""
    sections: NDArray[np.str_]
    names: NDArray[np.str_]
    found: Difference
    bare: Difference
    """Without the shift of a rerun."""
    margin: float
    rerun: float
    """Standard deviation of the shift, in the metric's unit."""
    trains: bool

    @property
    def differs(self) -> bool:
        return bool((self.difference != 0).any())

    @property
    def p(self) -> float:
        return float(self.found.p_below()) if self.differs else float("nan")


def noninferiority(
    base: ArrayLike,
    new: ArrayLike,
    sections: Sequence[object] | NDArray[np.generic],
    *,
    margin: float,
    direction: Direction = "higher",
    level: float = 0.95,
    noise: Noise | None = None,
    trains: bool = False,
) -> Verdict:
    """Judge by the mean whether `new` is worse than `base` on the same images.

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
    level
        1 - admitted rate of false alarms.
    noise
        What a rerun differs by; None: as stated in `Noise`.
    trains
        The method trains, so that its one run may be a lucky one: it is equivalent only if that is
        ruled out too.

    Raises
    ------
    ConfigurationError
        If the margin is negative or no number.
    """
    noise = noise or Noise()
    shift = noise.rerun * margin
    one = _pairs(base, new, sections, None, margin, direction, noise, shift, np.inf, trains)
    return _verdict(one, one.p, 1, level, noise, worst=False)


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
    image by image; what stands on one side only is listed as undecided with its reason, never
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
    before, after = ({cube.protocol: cube for cube in cubes(side)} for side in (base, new))
    versions = [_versions(side) for side in (base, new)]
    spreads = [_seed_spread(side, margins) for side in (base, new)]
    compared: list[dict[str, object]] = []
    found: list[_Pairs | str] = []
    for protocol in sorted(before.keys() | after.keys()):
        sides = (before.get(protocol), after.get(protocol))
        names = sorted({name for side in sides if side for name in side.methods})
        measures = sorted({m for side in sides if side for m in side.measures if m[0] in margins})
        sections, labels, rows = _all_images(sides)
        for method in names:
            for metric, region in measures:
                first, second = (
                    _column(side, method, metric, region, place, len(labels))
                    for side, place in zip(sides, rows, strict=True)
                )
                counts = [int(np.isfinite(values).sum()) for values in (first, second)]
                if not any(counts):
                    continue
                key = (protocol, method, metric, region)
                line: dict[str, object] = dict(zip(COMPARED[:4], key, strict=True))
                line |= {"margin": margins[metric]}
                compared.append(line | {"base_images": counts[0], "new_images": counts[1]})
                reason = _why_not(first, second, [side.get(metric) for side in versions])
                if reason:
                    found.append(reason)
                    continue
                variance, freedom = _rerun_variance(
                    spreads[0].get(key), spreads[1].get(key), noise.rerun * margins[metric]
                )
                known: list[Direction] = [
                    side.directions[side.measures.index((metric, region))]  # type: ignore[misc]
                    for side in sides
                    if side
                ]
                found.append(
                    _pairs(
                        first,
                        second,
                        sections,
                        labels,
                        margins[metric],
                        known[0],
                        noise,
                        float(np.sqrt(variance)),
                        freedom,
                        method in trains,
                    )
                )
    together = _together(compared, found, noise)
    family = [one for one in (*found, *together.values()) if isinstance(one, _Pairs)]
    owners = [
        (line["protocol"], line["method"])
        for line, one in zip(compared, found, strict=True)
        if isinstance(one, _Pairs)
    ] + [(protocol, TOGETHER) for protocol, _, _ in together]
    p = np.array([one.p for one in family])
    corrected = corrected_by_method(p, owners) if correct else p
    adjusted = dict(zip(map(id, family), corrected, strict=True))
    count = max(1, sum(one.differs for one in family)) if correct else 1
    lines = []
    for line, pairs in zip(compared, found, strict=True):
        if isinstance(pairs, str):
            verdict = _undecided(pairs)
        else:
            verdict = _verdict(pairs, adjusted[id(pairs)], count, level, noise)
        lines.append(line | _fields(verdict))
    lines += _losses_together(lines, together, adjusted, level, noise)
    table = pd.DataFrame(lines, columns=COMPARED)
    for column in table.select_dtypes("float"):
        table[column] = round_significant(table[column].to_numpy())
    return table.sort_values(COMPARED[:4], kind="stable", ignore_index=True)


def corrected_by_method(p: ArrayLike, owners: Sequence[object]) -> NDArray[np.float64]:
    """Correct p of many comparisons, of which those of one method say nearly the same.

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
    return min(1.0, CAUCHY_OVERRUN * float(np.arctan2(1.0, statistic) / np.pi))


COMPARED = [
    "protocol", "method", "metric", "region", "margin", *Verdict.__dataclass_fields__,
    "base_images", "new_images",
]  # fmt: skip
"""Columns of `compare_rows`."""


def _fields(verdict: Verdict) -> dict[str, object]:
    return {name: getattr(verdict, name) for name in Verdict.__dataclass_fields__}


def _pairs(
    base: ArrayLike,
    new: ArrayLike,
    sections: Sequence[object] | NDArray[np.generic],
    names: NDArray[np.str_] | None,
    margin: float,
    direction: Direction,
    noise: Noise,
    rerun: float,
    freedom: float,
    trains: bool,
) -> _Pairs:
    if not margin >= 0:
        raise ConfigurationError(f"a margin must be at least 0, got {margin}")
    first, second = np.asarray(base, np.float64), np.asarray(new, np.float64)
    both = np.isfinite(first) & np.isfinite(second)
    first, second, where = first[both], second[both], np.asarray(sections).astype(str)[both]
    turned = _turn(second, direction), _turn(first, direction)
    bare = paired_difference(*turned, where)
    difference = turned[0] - turned[1]
    difference[np.abs(difference) <= TOLERANCE * margin] = 0.0
    largest = float(np.abs(difference).max(initial=0.0))
    shared = rerun**2
    if str(bare.scope) == "images":  # what these few sections share does not show in them
        shared += (noise.section * margin) ** 2 / int(bare.sections)
    shared = min(shared, largest**2)  # no shift is larger than the largest change seen
    return _Pairs(
        base=first,
        new=second,
        difference=difference,
        sections=where,
        names=where if names is None else names[both],
        found=paired_difference(*turned, where, shared_variance=shared, shared_freedom=freedom),
        bare=bare,
        margin=margin,
        rerun=rerun,
        trains=trains,
    )


def _all_images(
    sides: Sequence[Cube | None],
) -> tuple[NDArray[np.str_], NDArray[np.str_], list[NDArray[np.intp]]]:
    """Return the section and the name of every ion image of either side, and where each side's are."""
    tables = [side.images if side else None for side in sides]
    keys = list(IMAGE_KEY)
    every = pd.concat([t for t in tables if t is not None]).drop_duplicates(keys).sort_values(keys)
    index = pd.MultiIndex.from_frame(every[keys])
    rows = [
        np.zeros(0, np.intp) if t is None else index.get_indexer(pd.MultiIndex.from_frame(t[keys]))
        for t in tables
    ]
    sections = (every["dataset"].astype(str) + "/" + every["section"].astype(str)).to_numpy(str)
    names = []
    for where, channel, mz in zip(sections, every["channel"], every["mz"], strict=True):
        ion = f"m/z {mz:.4f}" if np.isfinite(mz) else f"channel {channel}"
        names.append(f"{where}, {ion}" if channel >= 0 else str(where))
    return sections, np.array(names, dtype=str), [row.astype(np.intp) for row in rows]


def _verdict(
    pairs: _Pairs, p_holm: float, count: int, level: float, noise: Noise, *, worst: bool = True
) -> Verdict:
    """Decide one comparison of `count` that differ."""
    found, margin, alarm = pairs.found, pairs.margin, 1.0 - level
    mean, low, high = float(found.mean), float(found.low), float(found.high)
    inner = found if pairs.trains else pairs.bare
    edge = margin * (1 + TOLERANCE)
    verdict = Verdict(
        outcome="undecided",
        noninferior=bool(inner.low >= -edge),
        base=float(pairs.base.mean()) if len(pairs.base) else float("nan"),
        new=float(pairs.new.mean()) if len(pairs.new) else float("nan"),
        difference=mean,
        low=low,
        high=high,
        p=pairs.p,
        p_holm=float(p_holm),
        images=int(found.images),
        sections=int(found.sections),
        scope=str(found.scope),
        note=str(found.note),
    )
    if len(pairs.difference) and not pairs.differs:
        whole = bool(np.isfinite(low))
        return replace(verdict, outcome="equivalent" if whole else "undecided")
    if p_holm <= MEAN_SHARE * alarm and mean < 0 and low < -edge:
        return replace(verdict, outcome="worse", reason="mean")
    if not len(pairs.difference):
        return verdict
    large = _large(pairs, noise, LARGE_SHARE * alarm / count)
    everywhere = float(np.median(-pairs.difference)) > large
    if worst and margin > 0 and not everywhere:
        place = _worst_place(pairs, noise, WORST_SHARE * alarm / count)
        if place is not None:
            kind, name, loss, allowed = place
            return replace(
                verdict, outcome="worse", reason=kind, place=name, place_loss=loss,
                place_allowed=allowed,
            )  # fmt: skip
    if -mean > large:
        return replace(verdict, outcome="worse", reason="large")
    if inner.low >= -edge and inner.high <= edge:
        return replace(verdict, outcome="equivalent")
    return replace(verdict, outcome="better") if low > 0 and high > edge else verdict


def _large(pairs: _Pairs, noise: Noise, alarm: float) -> float:
    """Return the mean loss that stated noise reaches at the rate `alarm`, margin included."""
    from scipy.stats import norm

    if not pairs.margin:
        return float("inf")
    spread = noise.of_mean(int(pairs.found.images), int(pairs.found.sections)) * pairs.margin
    return pairs.margin + float(norm.isf(alarm)) * spread


def _worst_place(
    pairs: _Pairs, noise: Noise, alarm: float
) -> tuple[Literal["section", "image"], str, float, float] | None:
    """Return the section, else the image, that lost most beyond its allowance, or None.

    The allowance grows with the number of sections and images, and with the spread of the others
    (median absolute deviation, the stated spread counting for `PRIOR_IMAGES` of them).
    """
    from scipy.stats import t

    names, number = np.unique(pairs.sections, return_inverse=True)
    sizes = np.bincount(number)
    means = np.bincount(number, weights=pairs.difference) / sizes
    places = len(pairs.difference) + (len(names) if len(names) > 1 else 0)
    levels: list[
        tuple[
            Literal["section", "image"], NDArray[np.float64], NDArray[np.str_], NDArray[np.float64]
        ]
    ] = [
        ("section", means, names, sizes.astype(np.float64)),
        ("image", pairs.difference, pairs.names, np.ones(len(pairs.difference))),
    ]
    for kind, values, labels, behind in levels[0 if len(names) > 1 else 1 :]:
        stated = (noise.section**2 + noise.image**2 / behind) * pairs.margin**2
        robust = 1.4826 * float(np.median(np.abs(values - np.median(values))))
        count = len(values)
        variance = (PRIOR_IMAGES * stated + count * robust**2) / (PRIOR_IMAGES + count)
        spread = np.sqrt(variance + pairs.rerun**2)
        reach = float(t.isf(alarm / places, PRIOR_IMAGES + count))
        allowed = pairs.margin + reach * spread
        over = int(np.argmax(-values - allowed))
        if -values[over] > allowed[over]:
            return kind, str(labels[over]), float(-values[over]), float(allowed[over])
    return None


def _together(
    compared: Sequence[Mapping[str, object]], found: Sequence[_Pairs | str], noise: Noise
) -> dict[tuple[str, str, str], _Pairs]:
    """Return, per measure of which several methods changed, their mean difference image by image."""
    groups: dict[tuple[str, str, str], list[_Pairs]] = {}
    for line, one in zip(compared, found, strict=True):
        if isinstance(one, _Pairs) and one.differs:
            key = (str(line["protocol"]), str(line["metric"]), str(line["region"]))
            groups.setdefault(key, []).append(one)
    joined = {}
    for key, members in groups.items():
        if len(members) < 2:
            continue
        frames = [pd.Series(m.difference, index=[m.sections, m.names]) for m in members]
        table = pd.concat(frames, axis=1).mean(axis=1).sort_index()
        sections = table.index.get_level_values(0).to_numpy()
        joined[key] = _pairs(
            np.zeros(len(table)),
            table.to_numpy(),
            sections,
            None,
            members[0].margin,
            "higher",
            noise,
            float(np.sqrt(sum(m.rerun**2 for m in members))) / len(members),
            np.inf,
            False,
        )
    return joined


def _losses_together(
    lines: Sequence[Mapping[str, object]],
    together: Mapping[tuple[str, str, str], _Pairs],
    adjusted: Mapping[int, float],
    level: float,
    noise: Noise,
) -> list[dict[str, object]]:
    """Return the measures of which no method is worse by itself and all together are."""
    nan = float("nan")
    out: list[dict[str, object]] = []
    for (protocol, metric, region), pairs in together.items():
        alone = [
            line["outcome"]
            for line in lines
            if (line["protocol"], line["metric"], line["region"]) == (protocol, metric, region)
        ]
        verdict = _verdict(pairs, adjusted[id(pairs)], 1, level, replace(noise), worst=False)
        if "worse" in alone or verdict.reason != "mean":
            continue
        key = dict(zip(COMPARED[:4], (protocol, TOGETHER, metric, region), strict=True))
        count = {"margin": pairs.margin, "base_images": verdict.images}
        count["new_images"] = verdict.images
        out.append(key | count | _fields(replace(verdict, base=nan, new=nan)))
    return out


def _seed_spread(
    rows: pd.DataFrame, margins: Mapping[str, float]
) -> dict[tuple[str, str, str, str], tuple[float, int]]:
    """Return the variance of the means of single seeds, and their number, where there are several."""
    chosen = rows[
        rows["metric"].isin(margins) & np.isfinite(rows["value"]) & (rows["channel"] >= 0)
    ]
    if chosen["seed"].nunique() < 2:
        return {}
    one = (chosen["direction"] == "one").to_numpy()
    value = chosen["value"].to_numpy(np.float64)
    chosen = chosen.assign(value=np.where(one, -np.abs(value - 1.0), value))
    keys = ["protocol", "method", "metric", "region"]
    means = chosen.groupby([*keys, "seed"])["value"].agg(["mean", "size"]).reset_index()
    means = means[means["size"] == means.groupby(keys)["size"].transform("max")]
    spread = means.groupby(keys)["mean"].agg(["var", "size"])
    return {
        tuple(map(str, key)): (float(row["var"]), int(row["size"]))  # type: ignore[misc]
        for key, row in spread[spread["size"] > 1].iterrows()
    }


def _rerun_variance(
    first: tuple[float, int] | None, second: tuple[float, int] | None, stated: float
) -> tuple[float, float]:
    """Return the variance of the shift between two sides and its degrees of freedom.

    Measured where both sides hold several seeds, else the square of what is stated.
    """
    if first is None or second is None:
        return stated**2, float("inf")
    freedom = first[1] + second[1] - 2
    pooled = (first[0] * (first[1] - 1) + second[0] * (second[1] - 1)) / freedom
    return pooled * (1 / first[1] + 1 / second[1]), float(freedom)


def _turn(values: ArrayLike, direction: Direction) -> NDArray[np.float64]:
    table = np.asarray(values, dtype=np.float64)
    if direction == "one":
        return -np.abs(table - 1.0)
    return table if direction == "higher" else -table


def _column(
    cube: Cube | None, method: str, metric: str, region: str, rows: NDArray[np.intp], count: int
) -> NDArray[np.float64]:
    """Return the values of one method and measure on the `count` images of both sides, else NaN."""
    values = np.full(count, np.nan)
    if cube is not None and method in cube.methods and (metric, region) in cube.measures:
        found = cube.values[:, cube.methods.index(method), cube.measures.index((metric, region))]
        values[rows] = np.where(np.isfinite(found), found, np.nan)
    return values


def _versions(rows: pd.DataFrame) -> dict[str, object]:
    return dict(rows[["metric", "metric_version"]].drop_duplicates().itertuples(index=False))


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


def _undecided(reason: str) -> Verdict:
    nothing = float("nan")
    return Verdict(
        outcome="undecided",
        noninferior=False,
        base=nothing,
        new=nothing,
        difference=nothing,
        low=nothing,
        high=nothing,
        p=nothing,
        p_holm=nothing,
        images=0,
        sections=0,
        scope="",
        note=reason,
    )
