"""Everything that a page shows besides images, as plain JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msibench.errors import DataError
from msibench.leaderboard.metrics import BoardMetrics
from msibench.leaderboard.render import table_csv
from msibench.leaderboard.rows import Collected, measured
from msibench.leaderboard.table import scheme_of
from msibench.leaderboard.trust import percent_range
from msibench.results.identity import IDENTITY_FIELDS
from msibench.results.index import TrackIndex
from msibench.results.schema import CellRecord
from msibench.scoring import reachable_gain
from msibench.scoring.composite import score_images
from msibench.scoring.cube import Cube, cubes
from msibench.scoring.paired import every_pair
from msibench.tracks import Track

MOST_PAIR_COLUMNS = 6000
"""Method pairs times measures above which a page gives paired differences without intervals."""
DIGITS = 6
LOSS = re.compile(r"(?:^|_)loss(?:es)?$", re.IGNORECASE)
"""Names in a method's report under which a loss curve stands; others speak of losses and hold none."""


def embedded_json(content: object) -> str:
    """Return JSON that may stand inside a script element: no text of it can end the element."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def number(value: Any) -> float | int | None:
    """Return a number as JSON can hold it: few digits, and None where it is not finite."""
    if value is None:
        return None
    value = float(value)
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def numbers(values: NDArray[np.float64]) -> list[Any]:
    """Return an array as nested lists of `number`."""
    if values.ndim == 1:
        return [number(value) for value in values]
    return [numbers(part) for part in values]


def label_of(mz: float | None, name: str, ppm: float | None) -> str:
    """Return the name of an ion image: ``m/z 798.5410 ± 5 ppm``."""
    if mz is None or not math.isfinite(mz):
        return name or "unnamed channel"
    return f"m/z {mz:.4f}" + ("" if ppm is None else f" ± {ppm:g} ppm")


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
        "pairs": paired_intervals([composite, *values], directions, cube.sections),
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
        for image in cube.images.to_dict("records")
    ]


def paired_intervals(
    values: list[NDArray[np.float64]],
    directions: list[str],
    sections: NDArray[np.intp],
) -> list[list[Any]] | None:
    """Return mean, low and high of first minus second, per measure (composite first) and pair."""
    images, count = values[0].shape
    pairs = count * (count - 1) // 2
    if not pairs or pairs * len(values) > MOST_PAIR_COLUMNS or not images:
        return None
    measures = []
    for measure, direction in zip(values, directions, strict=True):
        shown = -np.abs(measure - 1.0) if direction == "one" else measure
        first, second, found = every_pair(shown, sections)
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
    for name in questions:
        part = scored[scored["metric"] == name]
        if name == "psnr":
            part = part[part["method"].isin(guided["method"])]
        keys = ["protocol", "method", "control", "region"]
        for (protocol, method, control, region), group in part.groupby(keys, sort=True):
            values = group["value"].to_numpy(np.float64)
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
        for row in gain.sort_values("score", ascending=False, kind="stable").to_dict("records"):
            line = {
                **{name: number(row[name]) for name in ("score", "control", "gain")},
                "ceiling": percent_range(row["ceiling_low"], row["ceiling_high"]),
                "share": percent_range(row["share_low"], row["share_high"]),
                **{name: row[name] for name in ("method", "source", "withheld")},
            }
            lines.append({"protocol": protocol, **line})
    return lines


def loss_curves(records: Iterable[CellRecord]) -> list[dict[str, Any]]:
    """Return the loss curves that methods reported, wherever in the report they are."""
    curves = []
    for record in records:
        for place, points in _curves(record.report, ()):
            name = " · ".join(
                part for part in (record.method, record.section, record.control) if part
            )
            curves.append({"method": record.method, "cell": name, "curve": place, **points})
    return curves  # fmt: skip


def _curves(node: Any, place: tuple[str, ...]) -> list[tuple[str, dict[str, Any]]]:
    """Find lists of numbers under keys that name a loss; a neighbour gives their abscissa."""
    found: list[tuple[str, dict[str, Any]]] = []
    if isinstance(node, Mapping):
        for key, value in sorted(node.items(), key=lambda item: str(item[0])):
            here = (*place, str(key))
            if LOSS.search(str(key)) and _numeric(value):
                x = next(
                    (node[k] for k in ("iteration", "step", "epoch") if _same(node.get(k), value)),
                    list(range(1, len(value) + 1)),
                )
                points = {"x": [number(v) for v in x], "y": [number(v) for v in value]}
                found.append((" / ".join(here), points))
            else:
                found += _curves(value, here)
    elif isinstance(node, list) and not _numeric(node):
        for index, value in enumerate(node):
            found += _curves(value, (*place, str(index)))
    return found


def _numeric(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 1
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    )


def _same(value: Any, other: list[Any]) -> bool:
    return _numeric(value) and len(value) == len(other)


def cell_data(collected: Collected, index: TrackIndex, root: str = "") -> list[dict[str, Any]]:
    """Return where every number comes from, cell by cell; no time of day and no machine's name.

    Parameters
    ----------
    root
        Path of the store, which no message may show: a page is made to be shared.
    """
    lines: list[dict[str, Any]] = []
    records = {record.key: record for record in collected.records}
    for _, key in sorted(index.cells.items()):
        if key not in records:
            if key in collected.damaged:
                reason = without_path(collected.damaged[key], root)
                lines.append({"cell": key, "status": "damaged", "reason": reason})
            continue
        record = records[key]
        provenance = record.provenance
        libraries = provenance.get("libraries", {})
        lines.append(
            {
                "cell": key,
                **record.identity.as_dict(),
                "status": str(record.status),
                "reason": record.reason,
                "origin": record.origin
                + (", not isolated" if provenance.get("sandbox") == "none" else ""),
                "precision": record.precision,
                "problem": record.problem_key,
                "truth": record.truth_digest,
                "prediction": record.files.get("prediction.h5", ""),
                "rows": record.files.get("metrics.parquet", ""),
                "python": str(provenance.get("python", "")),
                "system": str(provenance.get("system", "")),
                "processor": str(provenance.get("processor", "")),
                "threads": str(provenance.get("threads", "")),
                "versions": ", ".join(f"{k} {v}" for k, v in sorted(dict(libraries).items())),
                "timings": {k: number(v) for k, v in sorted(record.timings.items())},
                "peaks": {k: number(v) for k, v in sorted(record.peaks.items())},
                "notes": list(record.notes),
            }
        )
    return lines


def without_path(message: str, root: str) -> str:
    """Return a message without the path of the store."""
    return message.replace(root, "the store") if root else message


def citations(index: TrackIndex) -> list[dict[str, str]]:
    """Return what to cite for data, methods and metrics, as text and as BibTeX."""
    found = []
    for kind in ("datasets", "methods", "metrics"):
        for name, described in sorted(index.track_facts.get(kind, {}).items()):
            text = str(described.get("citation") or "")
            if not text:
                continue
            bibtex = str(described.get("bibtex") or "") or _misc(kind, name, described, text)
            found.append({"kind": kind[:-1], "name": name, "text": text, "bibtex": bibtex})
    return found


def _misc(kind: str, name: str, described: Mapping[str, Any], text: str) -> str:
    """Return an entry that keeps the citation as one note: its parts are not known apart."""
    key = "".join(letter for letter in f"{kind[:-1]}-{name}" if letter.isalnum() or letter == "-")
    title = str(described.get("title") or name)
    safe = {"{": "(", "}": ")", "\\": "/", "&": "\\&", "%": "\\%", "#": "\\#", "_": "\\_"}
    title, text = ("".join(safe.get(c, c) for c in part) for part in (title, text))
    return f"@misc{{{key},\n  title = {{{title}}},\n  note = {{{text}}}\n}}"


def rows_csv(collected: Collected) -> str:
    """Return every value as CSV, without costs (they are in the leaderboard)."""
    columns = [
        *IDENTITY_FIELDS, "channel", "mz", "metric", "metric_version", "region", "value", "reason", "cell",
        "origin",
    ]  # fmt: skip
    return table_csv(measured(collected.rows, controls=True)[columns])
