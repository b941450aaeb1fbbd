"""A comparison as Markdown for a pull request, JUnit XML, JSON, and Bencher Metric Format."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from tabulate import tabulate

from msibench.gate.report import GateReport
from msibench.results.keys import plain

VERDICTS = {
    0: "passed: nothing got worse beyond its margin",
    4: "failed: quality got worse",
    5: "failed: speed or memory got worse",
    6: "failed: nothing measured, or less than before",
    7: "failed: results were changed or are damaged",
}
REPORT_SCHEMA = 1
LONGEST = 200
"""Lines of one table or list in Markdown; the JSON has all."""
NANOSECONDS = 1e9


def as_markdown(report: GateReport) -> str:
    """Return a summary: verdict, reasons, what is worse, undecided and better; the rest counted."""
    counts = report.counts
    parts = [
        f"## msibench: {VERDICTS[report.exit_code]}",
        f"`{escaped(report.base)}` → `{escaped(report.new)}`"
        + (
            ": " + ", ".join(f"{count} {name}" for name, count in counts.items())
            if len(report.quality)
            else ""
        ),
    ]
    lines = [
        f"- {'' if finding.fatal else 'warning, '}{finding.kind}: {escaped(finding.text)}"
        for finding in report.findings
    ]
    parts.append("\n".join(_cut(lines)))
    for name in ("worse", "undecided", "better", "equivalent"):
        part = report.quality[report.quality["outcome"] == name]
        if len(part):
            table = _quality_table(part)
            folded = name == "equivalent"
            parts.append(
                f"<details><summary>{name} ({len(part)})</summary>\n\n{table}\n\n</details>"
                if folded
                else f"### {name} ({len(part)})\n\n{table}"
            )
    if report.speed:
        parts.append(f"### speed\n\n{_speed_table(report)}")
    if any(verdict.outcome != "same" for verdict in report.memory):
        parts.append(f"### memory\n\n{_memory_table(report)}")
    parts += [f"_{escaped(note)}_" for note in report.notes]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_json(report: GateReport) -> str:
    """Return everything, with the speed part also in Bencher Metric Format under ``bmf``."""
    quality = [{str(k): v for k, v in row.items()} for row in report.quality.to_dict("records")]
    facts = {
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
    return json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


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
    fatal = {finding.text for finding in report.findings if finding.kind == "quality"}
    for row in report.quality.to_dict("records"):
        name = f"{row['method']}: {row['metric']} ({row['region']}, {row['protocol']})"
        said = next((text for text in fatal if text.startswith(f"{name} is ")), "")
        if said:
            yield name, "failure", said
        elif row["outcome"] == "undecided":
            yield name, "skipped", row["note"] or "the interval is too wide to decide"
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
    found = [f for f in report.findings if f.kind in {"coverage", "integrity"}]
    for finding in found:
        yield f"{finding.kind}: {finding.text}", "error", finding.text
    if not found:
        yield "everything that the base measured was measured again", "", ""


def _quality_table(part: pd.DataFrame) -> str:
    headers = ["method", "metric", "region", "protocol", "difference", "interval", "margin"]
    headers += ["images", "sections", "note"]
    lines = [
        [
            escaped(row["method"]),
            row["metric"],
            row["region"],
            escaped(row["protocol"]),
            _signed(row["difference"]),
            f"[{_signed(row['low'])}, {_signed(row['high'])}]" if np.isfinite(row["low"]) else "",
            f"{row['margin']:g}",
            row["images"],
            row["sections"],
            escaped(row["note"]),
        ]
        for row in part.head(LONGEST).to_dict("records")
    ]
    left = f"\n\n{len(part) - LONGEST} more in the JSON." if len(part) > LONGEST else ""
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True) + left


def _speed_table(report: GateReport) -> str:
    lines = [
        [
            escaped(v.name),
            v.outcome,
            f"{v.factor:.3f}",
            f"{v.base_seconds:.4g}",
            f"{v.new_seconds:.4g}",
            f"{v.base_rounds} / {v.new_rounds}",
            v.rule,
            "" if np.isnan(v.p) else f"{v.p:.2g}",
            escaped(v.note),
        ]
        for v in report.speed[:LONGEST]
    ]
    headers = ["what", "outcome", "factor", "base (s)", "new (s)", "rounds", "rule", "p", "note"]
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)


def _memory_table(report: GateReport) -> str:
    lines = [
        [escaped(v.name), v.outcome, f"{v.factor:.3f}", f"{v.base_mib:.0f}", f"{v.new_mib:.0f}"]
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


def _without_nan(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts in JSON's own types, with None where there is no number."""
    table = {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in facts.items()
    }
    cleaned = plain({k: bool(v) if isinstance(v, np.bool_) else v for k, v in table.items()})
    assert isinstance(cleaned, dict)
    return cleaned


def escaped(text: object) -> str:
    """Make text from results harmless inside Markdown."""
    table = {"|": "\\|", "<": "&lt;", ">": "&gt;", "`": "'", "[": "\\[", "\n": " ", "\r": " "}
    return "".join(table.get(letter, letter) for letter in clean(str(text)))


def clean(text: str) -> str:
    """Remove what XML and terminals do not take."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "?", text)
