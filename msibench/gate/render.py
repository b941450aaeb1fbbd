"""A comparison as Markdown for a pull request, JUnit XML, JSON, and Bencher Metric Format."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tabulate import tabulate

from msibench.contracts.plain_text import in_markdown
from msibench.gate.report import GateReport, name_of, sections_of, why_undecided, why_worse
from msibench.results.keys import plain

VERDICTS = {
    0: "passed: nothing got worse beyond its margin",
    4: "failed: quality got worse",
    5: "failed: speed or memory got worse",
    6: "failed: nothing measured, or less than before",
    7: "failed: results were changed or are damaged",
}
REPORT_SCHEMA = 2
LONGEST = 200
"""Lines of one table or list in Markdown; the JSON has all."""
FIRST = 10
"""Comparisons that got worse and are shown before anything is folded."""
NANOSECONDS = 1e9


def as_markdown(report: GateReport) -> str:
    """Return a summary: verdict, what got worse (gravest first), what could not be judged; the rest folded."""
    counts = report.counts
    worse = report.quality[report.quality["outcome"] == "worse"]
    parts = [
        f"## msibench: {VERDICTS[report.exit_code]}",
        f"`{in_markdown(report.base)}` → `{in_markdown(report.new)}`"
        + (
            ": " + ", ".join(f"{count} {name}" for name, count in counts.items())
            if len(report.quality)
            else ""
        ),
    ]
    if len(worse):
        order = np.argsort(-_severity(worse), kind="stable")
        parts.append(_quality_table(worse.iloc[order[:FIRST]]))
        if len(worse) > FIRST:
            parts.append(_folded("more that is worse", worse.iloc[order[FIRST:]]))
    lines = [
        f"- {'' if finding.fatal else 'warning, '}{finding.kind}: {in_markdown(finding.text)}"
        for finding in report.findings
        if finding.kind != "quality" or " is undecided: " in finding.text
    ]
    parts.append("\n".join(_cut(lines)))
    parts.append(_not_judged(report))
    for name in ("undecided", "better", "equivalent", "identical"):
        part = report.quality[report.quality["outcome"] == name]
        if len(part):
            parts.append(_folded(name, part))
    if report.speed:
        head = ", ".join(
            f"{sum(v.outcome == name for v in report.speed)} {name}"
            for name in ("slower", "undecided", "faster", "same")
        )
        parts.append(
            f"<details><summary>speed ({head})</summary>\n\n{_speed_table(report)}\n\n</details>"
        )
    if any(verdict.outcome != "same" for verdict in report.memory):
        parts.append(f"<details><summary>memory</summary>\n\n{_memory_table(report)}\n\n</details>")
    return "\n\n".join(part for part in parts if part) + "\n"


def _severity(part: pd.DataFrame) -> NDArray[np.float64]:
    """Return losses in margins, the worst section's or image's where that decided."""
    place = part["place_loss"].to_numpy(np.float64)
    loss = np.fmax(-part["difference"].to_numpy(np.float64), place)
    margin = np.maximum(part["margin"].to_numpy(np.float64), 1e-300)
    return np.asarray(np.nan_to_num(loss / margin), dtype=np.float64)


def _folded(title: str, part: pd.DataFrame) -> str:
    return (
        f"<details><summary>{title} ({len(part)})</summary>\n\n{_quality_table(part)}\n\n</details>"
    )


def _not_judged(report: GateReport) -> str:
    """Return one line on what could not be judged, and why."""
    part = report.quality[report.quality["outcome"] == "undecided"]
    said = []
    if len(part):
        why = Counter(
            row["note"] or "interval too wide for the margin" for row in part.to_dict("records")
        )
        listed = "; ".join(f"{count}: {text}" for text, count in why.most_common(3))
        said.append(f"{len(part)} undecided ({listed})")
    said += report.notes
    return f"_Not judged: {in_markdown('. '.join(said))}._" if said else ""


def as_json(report: GateReport) -> str:
    """Return everything, with the speed part also in Bencher Metric Format under ``bmf``."""
    quality = [{str(k): v for k, v in row.items()} for row in report.quality.to_dict("records")]
    document = {
        "schema_version": REPORT_SCHEMA,
        "base": report.base,
        "new": report.new,
        "exit_code": report.exit_code,
        "verdict": VERDICTS[report.exit_code],
        "counts": report.counts,
        "findings": [asdict(finding) for finding in report.findings],
        "quality": [_without_nan(row) for row in quality],
        "speed": [_without_nan(asdict(verdict)) for verdict in report.speed],
        "memory": [_without_nan(asdict(verdict)) for verdict in report.memory],
        "notes": list(report.notes),
        "bmf": bencher_metrics(report),
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def bencher_metrics(report: GateReport) -> dict[str, dict[str, dict[str, float]]]:
    """Return the new side's cost in Bencher Metric Format: ``latency`` in ns, ``memory`` in MiB."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for verdict in report.speed:
        found[verdict.name] = {"latency": {"value": verdict.new_seconds * NANOSECONDS}}
    for peak in report.memory:
        found.setdefault(peak.name, {})["memory"] = {"value": peak.new_mib}
    return found


def as_junit(report: GateReport) -> str:
    """Return JUnit XML: one case a comparison; worse is a failure, undecided is skipped."""
    root = ElementTree.Element("testsuites", name="msibench compare")
    for name, cases in (
        ("quality", list(_quality_cases(report))),
        ("speed", list(_cost_cases(report, report.speed, "slower"))),
        ("memory", list(_cost_cases(report, report.memory, "more"))),
        ("results", list(_other_cases(report))),
    ):
        if not cases:
            continue
        count = {kind: sum(1 for case in cases if case[1] == kind) for kind in _KINDS}
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=name,
            tests=str(len(cases)),
            failures=str(count["failure"]),
            errors=str(count["error"]),
            skipped=str(count["skipped"]),
        )
        for title, kind, text in cases:
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"msibench.{name}", name=clean(title)
            )
            if kind:
                ElementTree.SubElement(case, kind, message=clean(text))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


_KINDS = ("failure", "error", "skipped")


def _quality_cases(report: GateReport) -> Iterable[tuple[str, str, str]]:
    undecided = {f.text for f in report.findings if f.kind == "quality"}
    for found in report.quality.to_dict("records"):
        row = {str(key): value for key, value in found.items()}
        name = name_of(row)
        text = f"{name} is undecided: {why_undecided(row)}"
        if row["outcome"] == "worse":
            yield name, "failure", f"{name} {why_worse(row)}"
        elif row["outcome"] == "undecided":
            yield name, "failure" if text in undecided else "skipped", text
        else:
            yield name, "", ""


def _cost_cases(
    report: GateReport, verdicts: Iterable[Any], bad: str
) -> Iterable[tuple[str, str, str]]:
    warned = {f.text for f in report.findings if not f.fatal}
    for verdict in verdicts:
        text = f"{verdict.factor:.3g} times the base"
        if verdict.outcome == "undecided":
            yield verdict.name, "skipped", verdict.note or "undecided"
        elif verdict.outcome == bad:
            only_warned = any(said.startswith(f"{verdict.name} takes ") for said in warned)
            yield verdict.name, "skipped" if only_warned else "failure", text
        else:
            yield verdict.name, "", ""


def _other_cases(report: GateReport) -> Iterable[tuple[str, str, str]]:
    found = [f for f in report.findings if f.fatal and f.kind in {"coverage", "integrity"}]
    for finding in found:
        yield f"{finding.kind}: {finding.text}", "error", finding.text
    if not found:
        yield "everything that the base measured was measured again", "", ""


def _quality_table(part: pd.DataFrame) -> str:
    headers = ["method", "metric", "base → new", "difference [95 % interval]", "margin", "over"]
    headers.append("why")
    lines = []
    for found in part.head(LONGEST).to_dict("records"):
        row = {str(key): value for key, value in found.items()}
        region = "" if row["region"] == "image" else f" ({row['region']})"
        interval = (
            f" [{_signed(row['low'])}, {_signed(row['high'])}]" if np.isfinite(row["low"]) else ""
        )
        values = "" if not np.isfinite(row["base"]) else f"{row['base']:.4g} → {row['new']:.4g}"
        why = why_worse(row) if row["outcome"] == "worse" else row["note"]
        over = f"{row['images']} ion images of {sections_of(row)}" if row["images"] else ""
        lines.append(
            [
                in_markdown(str(row["method"])),
                f"{row['metric']}{region}, {in_markdown(str(row['protocol']))}",
                values,
                _signed(row["difference"]) + interval,
                f"{row['margin']:g}",
                over,
                _reason(row, why),
            ]
        )
    left = f"\n\n{len(part) - LONGEST} more in the JSON." if len(part) > LONGEST else ""
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True) + left


def _reason(row: Mapping[str, Any], why: str) -> str:
    """Return in a few words what the table does not show."""
    if row["outcome"] != "worse":
        return in_markdown(why)
    if row["reason"] == "mean":
        return f"mean, p = {row['p_holm']:.2g} (Holm)"
    if row["reason"] == "large":
        return "mean loss beyond stated noise"
    return in_markdown(
        f"{row['place']} loses {row['place_loss']:.3g}; allowed {row['place_allowed']:.3g}"
    )


def _speed_table(report: GateReport) -> str:
    lines = [
        [
            in_markdown(v.name),
            v.outcome,
            f"{v.factor:.3f}",
            f"{v.base_seconds:.4g}",
            f"{v.new_seconds:.4g}",
            f"{v.base_rounds} / {v.new_rounds}",
            v.rule,
            "" if np.isnan(v.p) else f"{v.p:.2g}",
            in_markdown(v.note),
        ]
        for v in report.speed[:LONGEST]
    ]
    headers = ["what", "outcome", "factor", "base (s)", "new (s)", "rounds", "rule", "p", "note"]
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)


def _memory_table(report: GateReport) -> str:
    lines = [
        [in_markdown(v.name), v.outcome, f"{v.factor:.3f}", f"{v.base_mib:.0f}", f"{v.new_mib:.0f}"]
        for v in report.memory[:LONGEST]
    ]
    headers = ["what", "outcome", "factor", "base (MiB)", "new (MiB)"]
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)


def _cut(lines: list[str]) -> list[str]:
    if len(lines) <= LONGEST:
        return lines
    return [*lines[:LONGEST], f"- {len(lines) - LONGEST} more in the JSON"]


def _signed(value: float) -> str:
    return "" if not np.isfinite(value) else f"{value:+.4g}"


def _without_nan(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table in JSON's own types, with None where there is no number."""
    table = {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in table.items()
    }
    cleaned = plain({k: bool(v) if isinstance(v, np.bool_) else v for k, v in table.items()})
    assert isinstance(cleaned, dict)
    return cleaned


def clean(text: str) -> str:
    """Remove what XML and terminals do not take."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "?", text)
