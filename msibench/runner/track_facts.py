"""The texts of a leaderboard and its page, gathered while the plugins are available."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any

from msibench.contracts.method import CONSISTENT
from msibench.contracts.metric import SHOWN_FIELDS
from msibench.datasets import Card
from msibench.plugin_manager import Catalogue
from msibench.runner.plan import Cell, Plan


def index_cells(cells: Iterable[Cell]) -> dict[str, str]:
    """Return identity → key of cells."""
    return {str(cell.identity): cell.key for cell in cells}


def collect_track_facts(plan: Plan, catalogue: Catalogue) -> dict[str, Any]:
    """Return the descriptions of a plan's data sets, protocols, methods and metrics."""
    cards = {cell.problem.card.name: cell.problem.card for cell in plan.cells}
    protocols = {cell.problem.protocol.name: cell.problem.protocol for cell in plan.cells}
    return {
        "track": {
            "name": plan.track.name,
            "title": plan.track.title,
            "description": plan.track.description,
            "control_method": plan.track.control_method,
            "scheme": plan.track.scheme,
        },
        "datasets": {name: _dataset(card) for name, card in sorted(cards.items())},
        "protocols": {
            name: {
                "description": _describe(chosen.definition()),
                "definition": chosen.definition(),
            }
            for name, chosen in sorted(protocols.items())
        },
        "methods": {
            cell.label: {
                "title": cell.spec.title,
                "task": cell.spec.task.value,
                "citation": cell.spec.citation,
                "licence": cell.spec.licence,
                "training_data": list(cell.spec.training_data),
                "control": cell.spec.control,
                "config": dict(cell.competitor.config),
                "sources": dict(cell.spec.sources),
                "plugin": catalogue.owner.get(
                    ("method", cell.spec.name.removesuffix(CONSISTENT)), "single file"
                ),
            }
            for cell in plan.cells
        },
        "metrics": collect_metric_facts(catalogue, plan.track.metrics),
        "published": {
            card.name: {"source": card.published_source, "rows": _table(card)}
            for card in cards.values()
            if card.published is not None
        },
        "notes": list(plan.notes),
    }


def collect_metric_facts(catalogue: Catalogue, names: Iterable[str]) -> dict[str, Any]:
    """Return a board's descriptions of metrics."""
    return {
        name: {field: getattr(catalogue.metric(name), field) for field in SHOWN_FIELDS}
        for name in names
    }


def _dataset(card: Card) -> dict[str, Any]:
    return {
        "title": card.title,
        "description": card.description,
        "tissue": card.tissue,
        "polarity": card.polarity,
        "pixel_size_um": repr(card.pixel_size_um),
        "licence": card.licence,
        "citation": card.citation,
        "bibtex": card.bibtex.strip(),
        "synthetic": card.synthetic,
        "ground_truth": card.ground_truth,
        "own": bool(card.local_files),
        **({"specimens": _specimens(card)} if card.specimens else {}),
    }


def _specimens(card: Card) -> dict[str, str]:
    """Return section → specimen."""
    return {section: card.specimen_of(section) for section in card.sections}


def _table(card: Card) -> list[list[str]]:
    assert card.published is not None
    with card.published.open(encoding="utf-8", newline="") as stream:
        return [list(row) for row in csv.reader(stream)]


def _describe(definition: dict[str, Any]) -> str:
    """Return a protocol's definition as one line."""
    steps = "; ".join(
        ", ".join(f"{key} {value}" for key, value in step.items()) for step in definition["steps"]
    )
    scaling = definition["scaling"]
    if isinstance(scaling, dict):
        scaling = ", ".join(f"{key} {value}" for key, value in scaling.items())
    rest = f"8-bit: {'yes' if definition['quantise8'] else 'no'}; border {definition['border']} px"
    return f"factor {definition['factor']}; {steps}; scaled by {scaling}; {rest}"
