"""The numbers of a page, protocol by protocol, as plain JSON."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msibench.contracts.metric import TARGETS, turned
from msibench.errors import DataError
from msibench.leaderboard.metrics import BoardMetrics
from msibench.leaderboard.page_json import number, numbers
from msibench.leaderboard.rows import measured, records_of
from msibench.leaderboard.table import scheme_of
from msibench.leaderboard.trust import percent_range
from msibench.scoring import reachable_gain
from msibench.scoring.composite import score_images
from msibench.scoring.cube import Cube, cubes
from msibench.scoring.paired import every_pair
from msibench.tracks import Track

MOST_PAIR_COLUMNS = 6000
"""Method pairs times measures above which a page gives paired differences without intervals."""


def protocol_data(rows: pd.DataFrame, track: Track) -> list[dict[str, Any]]:
    """Return, per protocol, the values and scores of every method on every ion image."""
    scored = measured(rows)
    if not len(scored):
        return []
    return [_one_protocol(cube.ion_images(), track) for cube in cubes(scored)]


def _one_protocol(cube: Cube, track: Track) -> dict[str, Any]:
    header, stacks, directions = arrays_of(cube, track)
    values, composite = stacks["values"], stacks["composite"]
    return {
        **header,
        "images": images_of(cube),
        "values": [numbers(value.T) for value in values],
        "scores": {name: numbers(score.T) for name, score in stacks["scores"].items()},
        "composite": numbers(composite.T),
        "specimens": len(np.unique(cube.specimens)),
        "pairs": paired_intervals([composite, *values], directions, cube.sections, cube.specimens),
    }


def arrays_of(cube: Cube, track: Track) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Return a page's entry for one protocol as a whole, and the numbers of its ion images.

    Returns
    -------
    Name, note, methods, measures and weights; ``values`` (one ``(image, method)`` array per measure),
    ``scores`` (one per weighted metric) and ``composite``; and which way is better, composite first.
    """
    scheme = scheme_of(track, [name for name, _ in cube.measures])
    note = ""
    weights = {}
    scores = np.full((len(cube.images), len(cube.methods), len(scheme.metrics)), np.nan)
    composite = scores[..., 0]
    try:
        found = score_images(cube, scheme, control_method=track.control_method)
        scores, composite = found.scores, found.composite
        weights = {
            metric.name: number(scheme.weights[metric.name])
            for index, metric in enumerate(scheme.metrics)
            if (found.weights[:, index] > 0).any()
        }
    except DataError as error:
        note = str(error)
    place = {name: position for position, name in enumerate(track.metrics)}
    kept = sorted(
        (m for m in range(len(cube.measures)) if cube.present[..., m].any()),
        key=lambda m: (cube.measures[m][1] != "image", place.get(cube.measures[m][0], len(place))),
    )
    measures = [
        {"metric": cube.measures[m][0], "region": cube.measures[m][1], "direction": cube.directions[m]}
        for m in kept
    ]  # fmt: skip
    values = [cube.values[..., m] for m in kept]
    header = {
        "name": cube.protocol,
        "note": note,
        "methods": list(cube.methods),
        "measures": measures,
        "weights": weights,
    }
    stacks = {
        "values": values,
        "scores": {
            metric.name: scores[..., index]
            for index, metric in enumerate(scheme.metrics)
            if metric.name in weights
        },
        "composite": composite,
    }
    return header, stacks, ["higher", *(str(m["direction"]) for m in measures)]


def images_of(cube: Cube) -> list[dict[str, Any]]:
    """Return the names of each ion image."""
    return [
        {
            "dataset": str(image["dataset"]),
            "section": str(image["section"]),
            "mz_set": str(image["mz_set"]),
            "channel": int(image["channel"]),
            "mz": number(image["mz"]),
        }
        for image in records_of(cube.images)
    ]


def paired_intervals(
    values: list[NDArray[np.float64]],
    directions: list[str],
    sections: NDArray[np.intp],
    specimens: NDArray[np.intp],
) -> list[list[Any]] | None:
    """Return mean, low and high of first minus second, per measure (composite first) and pair."""
    images, count = values[0].shape
    pairs = count * (count - 1) // 2
    if not pairs or pairs * len(values) > MOST_PAIR_COLUMNS or not images:
        return None
    measures = []
    for measure, direction in zip(values, directions, strict=True):
        shown = turned(measure, direction) if direction in TARGETS else measure
        first, second, found = every_pair(shown, sections, specimens=specimens)
        measures.append(
            [
                [int(a), int(b), *(number(value) for value in line)]
                for a, b, *line in zip(
                    first, second, found.mean, found.low, found.high, strict=True
                )
            ]
        )
    return measures


def trust_data(rows: pd.DataFrame, track: Track, metrics: BoardMetrics) -> dict[str, Any]:
    """Return per protocol and method what asks another question than quality, and what is absent.

    With wrong-guide controls among the rows PSNR is among the measures: it must drop with them.
    """
    scored = measured(rows, controls=True)
    present = set(scored["metric"].unique())
    lines = []
    guided = scored[scored["control"] != ""]
    asked = metrics.of("trust", "ceiling", "cost")
    questions = {name: metrics[name].explanation or metrics[name].title or name for name in asked}
    if "psnr" in set(guided["metric"].unique()):
        questions = {"psnr": "Does the score drop with a wrong guide?", **questions}
    for name in filter(present.__contains__, questions):
        part = scored[scored["metric"] == name]
        if name == "psnr":
            part = part[part["method"].isin(guided["method"])]
        keys = ["protocol", "method", "control", "region"]
        for (protocol, method, control, region), group in part.groupby(keys, sort=True)["value"]:
            values = group.to_numpy(np.float64)
            finite = values[np.isfinite(values)]
            spread = finite.std(ddof=1) / math.sqrt(len(finite)) if len(finite) > 1 else np.nan
            lines.append(
                {
                    "metric": name,
                    "protocol": protocol,
                    "method": method,
                    "control": control,
                    "region": region,
                    "mean": number(finite.mean()) if len(finite) else None,
                    "sem": number(spread),
                    "images": len(finite),
                    "undefined": len(values) - len(finite),
                }
            )
    return {
        "lines": lines,
        "questions": questions,
        "levels": metrics.of("ceiling"),
        "reach": _reach(scored[scored["control"] == ""], track),
        "absent": [name for name in asked if name not in present],
    }


def _reach(real: pd.DataFrame, track: Track) -> list[dict[str, Any]]:
    """Return every method's gain over the control, as a share of what noise leaves to gain."""
    lines = []
    for protocol, part in real.groupby("protocol", sort=True):
        if track.control_method not in set(part["method"].unique()):
            continue
        if not {"skill", "detail_ceiling_low"} <= set(part["metric"].unique()):
            continue
        gain = reachable_gain(part, track.control_method)
        for row in records_of(gain.sort_values("score", ascending=False, kind="stable")):
            line = {
                **{name: number(row[name]) for name in ("score", "control", "gain")},
                "ceiling": percent_range(row["ceiling_low"], row["ceiling_high"]),
                "share": percent_range(row["share_low"], row["share_high"]),
                **{name: row[name] for name in ("method", "source", "withheld")},
            }
            lines.append({"protocol": protocol, **line})
    return lines
