"""``msibench list``: what is installed and available."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from itertools import zip_longest
from typing import TYPE_CHECKING

import click

from msibench.cli._shared import catalogue, results_root
from msibench.contracts.plain_text import visible
from msibench.errors import MSIBenchError

if TYPE_CHECKING:
    from msibench.contracts.dataset import DatasetSpec
    from msibench.contracts.method import MethodSpec
    from msibench.plugin_manager import Catalogue

FOR_MACHINES = {("methods", "task"), ("methods", "weights"), ("methods", "plugin")}
"""Columns of ``--json`` that the table leaves out."""
NEARER = {"one": "nearer 1", "nine-tenths": "nearer 0.9"}
LONGEST_WORD = 20
"""Letters of a word that no column of a table parts; longer ones are names of files."""
KINDS = ("methods", "datasets", "metrics", "plugins", "tracks", "protocols", "schemes")


@click.command(epilog="Example: msibench list methods")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.option("--strict-plugins", is_flag=True, help="Fail when a plugin is broken.")
def command(kind: str, as_json: bool, strict_plugins: bool) -> None:
    """List methods, data sets, metrics, plugins, tracks, protocols or scoring schemes."""
    rows = _rows(kind, strict_plugins)
    if as_json:
        click.echo(json.dumps(rows, indent=1, sort_keys=True))
        return
    if not rows:
        click.echo(f"no {kind}")
        return
    shown = [name for name in rows[0] if (kind, name) not in FOR_MACHINES]
    texts = [[visible(str(row[name])) for name in shown] for row in rows]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = table_lines([shown, *texts], width)
    if lines is None:
        click.echo("\n".join(entry_lines(shown, texts, width or 0)))
        return
    click.secho(lines[0], bold=True)
    click.echo("\n".join(lines[1:]))


def table_lines(rows: list[list[str]], width: int | None) -> list[str] | None:
    """Return a table as lines of text, two spaces between columns; None where it is too wide.

    Parameters
    ----------
    rows
        The same number of cells each, the head first.
    width
        Columns of the terminal: the widest columns of the table are folded until it fits, words of up to
        `LONGEST_WORD` letters as a whole, and names, in the first column, never. None: one line a row, as long as it is.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(1, *map(len, column)) for column in columns]
    words = [max(len(w) for cell in column for w in cell.split() or [""]) for column in columns]
    least = [min(each, most, LONGEST_WORD) for each, most in zip(words, widths, strict=True)]
    least[0] = widths[0]
    while width is not None and sum(widths) + 2 * len(widths) - 2 > width:
        if widths == least:
            return None
        _, widest = max((each, i) for i, each in enumerate(widths) if each > least[i])
        widths[widest] -= 1
    lines = []
    for row in rows:
        folded = [
            textwrap.wrap(cell, each, break_on_hyphens=False)
            for cell, each in zip(row, widths, strict=True)
        ]
        for parts in zip_longest(*folded, fillvalue=""):
            padded = (part.ljust(each) for part, each in zip(parts, widths, strict=True))
            lines.append("  ".join(padded).rstrip())
    return lines


def entry_lines(names: list[str], rows: list[list[str]], width: int) -> list[str]:
    """Return a table that is wider than the terminal as entries: a name, and below it what is said of it."""
    lines = []
    for row in rows:
        said = [f"{name}: {cell}" for name, cell in zip(names[1:], row[1:], strict=True) if cell]
        lines.append(row[0])
        lines += textwrap.wrap(
            "; ".join(said), max(20, width), initial_indent="  ", subsequent_indent="  ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return lines


def _dataset(spec: DatasetSpec) -> dict[str, object]:
    """Return the line of one data set; a broken card affects its own line only."""
    from msibench.datasets import load_card

    try:
        card = load_card(spec)
    except (MSIBenchError, OSError) as error:
        why = f"broken card: {error}"
        return {"data set": spec.name, "sections": 0, "tasks": "", "licence": "", "title": why}
    return {
        "data set": card.name,
        "sections": len(card.sections),
        "tasks": ", ".join(card.tasks),
        "licence": card.licence,
        "title": card.title,
    }


NEEDS = {"single-image": "nothing", "guided": "a guide", "cross-modality": "a second modality"}


def _time(minutes: float) -> str:
    """Return a time that a method declares, in minutes or hours."""
    return f"{minutes:g} min" if minutes < 120 else f"{minutes / 60:g} h"


def _method(spec: MethodSpec, found: Catalogue) -> dict[str, object]:
    """Return what a method is, and whether it runs here without further files."""
    from msibench.weights import find

    missing = [weight.name for weight in spec.weights if find(weight) is None]
    ready = f"no: weights missing ({', '.join(missing)})" if missing else "yes"
    if not missing and spec.budget not in ("", "quick"):
        whose = "the paper's budget" if spec.budget == "paper" else f"a budget of {spec.budget}"
        ready = f"yes, when it is named ({whose}, {_time(spec.resources.minutes)} at most)"
    return {
        "method": spec.name,
        "ready here": ready,
        "factors": "any" if spec.factors is None else ",".join(map(str, sorted(spec.factors))),
        "needs": NEEDS[spec.task.value],
        "task": spec.task.value,
        "weights": "none" if not spec.weights else ", ".join(w.name for w in spec.weights),
        "title": spec.title,
        "budget": spec.budget,
        "plugin": found.owner["method", spec.name].rpartition("'")[0].rpartition("'")[2],
    }


def _rows(kind: str, strict: bool) -> list[dict[str, object]]:
    if kind == "tracks":
        from msibench.tracks import available_tracks

        known = available_tracks(results=results_root(None))
        ours = {n: "ships with msibench" if p is None else str(p) for n, p in known.items()}
        offered = catalogue(strict=strict, with_metrics=False).tracks
        files = {**{name: str(spec.path) for name, spec in offered.items()}, **ours}
        return [{"track": name, "file": file} for name, file in sorted(files.items())]
    if kind == "protocols":
        from msibench.degradation import protocol_families

        protocols = catalogue(strict=strict, with_metrics=False).protocols
        every = {
            **{name.replace("@", "-xN@"): spec.description for name, spec in protocols.items()},
            **protocol_families(),
        }
        return [{"protocol": n, "description": d} for n, d in sorted(every.items())]
    if kind == "schemes":
        from msibench.scoring.schemes import load_scheme, shipped_schemes

        names = [*shipped_schemes(), *catalogue(strict=strict, with_metrics=False).schemes]
        return [{"scheme": name, "title": load_scheme(name).title} for name in names]
    found = catalogue(strict=strict, with_metrics=kind == "metrics")
    if kind == "methods":
        return [_method(spec, found) for _, spec in sorted(found.methods.items())]
    if kind == "datasets":
        return [_dataset(spec) for _, spec in sorted(found.datasets.items())]
    if kind == "metrics":
        return [
            {
                "metric": spec.name,
                "version": spec.version,
                "asks": spec.question,
                "better": NEARER.get(spec.direction, spec.direction),
                "needs": ", ".join(sorted({*spec.needs, *spec.weights})),
                "title": spec.title,
                "from": spec.distribution,
            }
            for _, spec in sorted(found.metrics.items())
        ]
    return [
        {
            "plugin": info.name,
            "distribution": f"{info.distribution} {info.version}".strip(),
            "module": info.module,
            "state": f"broken: {info.broken}" if info.broken else "ok",
        }
        for _, info in sorted(found.plugins.items())
    ]
