"""What a page shows beside its numbers: where they come from, loss curves, citations, all rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from msibench.leaderboard.page_json import number
from msibench.leaderboard.rows import Collected, measured
from msibench.leaderboard.safe_csv import table_csv
from msibench.results.identity import IDENTITY_FIELDS
from msibench.results.index import TrackIndex
from msibench.results.schema import CellRecord

LOSS = re.compile(r"(?:^|_)loss(?:es)?$", re.IGNORECASE)
"""Names in a method's report under which a loss curve stands; others speak of losses and hold none."""


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
