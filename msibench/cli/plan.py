"""``msibench plan``: what a run would do, and scripts for sites where submitit may not be installed."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msibench.cli._planning import as_arguments, planned, planning_options, sort_words, statuses
from msibench.cli._shared import catalogue, results_option, results_root, store_if_there
from msibench.cli._together import Excludes, Needs, option_rules
from msibench.cli._values import cells_side_by_side, size_in_gib, time_in_s

if TYPE_CHECKING:
    from msibench.runner.plan import Plan
    from msibench.runner.preview import Forecast, Summary

EPILOG = """
Example: msibench plan bladder-x4

Example: msibench plan bladder-x4 --sbatch --machine machine.toml --out scripts && scripts/submit.sh
"""
SHOWN_NOTES = 8


@click.command(epilog=EPILOG)
@planning_options
@click.option(
    "--timeout",
    type=time_in_s,
    metavar="TIME",
    help="With --sbatch: time that one cell may take: 600 (s), 10m, 2h.",
)
@click.option(
    "--memory",
    type=size_in_gib,
    metavar="SIZE",
    help="With --sbatch: memory that one cell may use: 4 (GiB), 2GB.",
)
@click.option("--threads", type=click.IntRange(1), help="With --sbatch: threads of each cell.")
@click.option("--retry", help="Statuses to run again, e.g. failed,timeout.")
@click.option("--sbatch", is_flag=True, help="Print scripts for sbatch; nothing is submitted.")
@click.option("--machine", type=click.Path(path_type=Path), help="With --sbatch: machine.toml.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --sbatch: a folder for the scripts.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every cell as JSON.")
@results_option
@option_rules(
    *(
        Needs(option, ("--sbatch",), "it is of the scripts")
        for option in ("--machine", "--out", "--timeout", "--memory", "--threads")
    ),
    Excludes("--sbatch", ("--json",), "it prints scripts, --json prints cells"),
)
def command(**options: Any) -> int:
    """Show which cells of TRACK a run would run, which are stored, and how long it would take."""
    from msibench.runner.preview import preview

    sort_words(options)
    if options["sbatch"] and options["data"]:
        raise click.UsageError("--sbatch needs a track: write a card for your own section first")
    store = store_if_there(options["results"])
    plan = planned(options, catalogue(), store)
    forecasts = preview(plan, store, statuses(options["retry"]))
    if options["sbatch"]:
        return _scripts(plan, forecasts, options)
    if options["as_json"]:
        click.echo(json.dumps(_as_table(plan, forecasts), indent=1, sort_keys=True))
    else:
        _show(plan, forecasts)
    return 0


def _as_table(plan: Plan, forecasts: Sequence[Forecast]) -> dict[str, Any]:
    from msibench.runner.preview import by_method, summed

    return {
        "track": plan.track.name,
        "notes": list(plan.notes),
        "total": _summary(summed("total", forecasts)),
        "methods": [_summary(each) for each in by_method(forecasts)],
        "cells": [
            {
                "key": each.cell.key,
                "cell": each.cell.name,
                **each.cell.identity.as_dict(),
                "what": each.what,
                "reason": each.reason,
                "seconds": round(each.seconds, 3),
                "time_from": each.time_from,
            }
            for each in forecasts
        ],
    }


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        "method": summary.method,
        **summary.counts,
        "seconds": round(summary.seconds, 3),
        "time_from": summary.time_from,
    }


def _show(plan: Plan, forecasts: Sequence[Forecast]) -> None:
    from tabulate import tabulate

    from msibench.runner.preview import (
        BUSY,
        NOT_APPLICABLE,
        RUN,
        STORED,
        STORED_CELLS,
        by_method,
        summed,
    )

    total = summed("total", forecasts)
    rows = [
        [
            each.method,
            *(each.counts[what] or "" for what in (RUN, STORED, NOT_APPLICABLE, BUSY)),
            duration(each),
        ]
        for each in [*by_method(forecasts), total]
    ]
    heads = ["method", "to run", "stored", "not applicable", "elsewhere", "time"]
    click.echo(tabulate(rows, heads, disable_numparse=True))
    reasons = dict.fromkeys(
        f"{each.cell.label} on {each.cell.problem.card.name}: {each.reason}"
        for each in forecasts
        if each.what == NOT_APPLICABLE
    )
    notes = (*plan.notes, *reasons)
    for line in notes[:SHOWN_NOTES]:
        click.echo(f"note: {line}")
    if len(notes) > SHOWN_NOTES:
        click.echo(f"note: … and {len(notes) - SHOWN_NOTES} more (--json lists them)")
    if total.time_from != STORED_CELLS:
        click.echo(
            "≈: by what methods took elsewhere, on the boards that ship with msibench or on sections of this "
            "size; ≤: at most, by the method's own declaration; no cell of these is stored yet"
        )
    if total.counts[RUN]:
        longest = max(each.seconds for each in forecasts)
        beside = cells_side_by_side(plan.cells[0].device)
        wall = replace(total, seconds=max(longest, total.seconds / beside))
        click.echo(
            "The time is that of all cells one after another"
            + (
                f"; {duration(wall)} with {beside} side by side, as here by default."
                if beside > 1
                else "."
            )
        )


def duration(summary: Summary) -> str:
    """Return the expected time of cells as words."""
    from msibench.runner.expected_times import BOARDS, MEASURED
    from msibench.runner.preview import DECLARED, STORED_CELLS

    seconds = summary.seconds
    if not seconds:
        return ""
    if seconds < 90:
        text = f"{seconds:.0f} s"
    elif seconds < 5400:
        text = f"{seconds / 60:.0f} min"
    else:
        text = f"{seconds / 3600:.1f} h"
    marks = {STORED_CELLS: "", MEASURED: "≈ ", BOARDS: "≈ ", DECLARED: "≤ "}
    return marks[summary.time_from] + text


def _scripts(plan: Plan, forecasts: Sequence[Forecast], options: dict[str, Any]) -> int:
    from msibench.results.files import write_atomically
    from msibench.runner.executors.slurm.machine import load_machine
    from msibench.runner.executors.slurm.sbatch import scripts
    from msibench.runner.jobs import Asked
    from msibench.runner.preview import BUSY, RUN

    root = ["--results", str(results_root(options["results"]).resolve())]
    arguments = as_arguments(options)
    machine = load_machine(options["machine"])
    track = plan.track.name
    if plan.track.folder is not None and options["track"] is not None:
        track = arguments[0]
    retry = [] if options["retry"] is None else ["--retry", options["retry"]]
    made = scripts(
        [each.cell for each in forecasts if each.what in {RUN, BUSY}],
        command=["run", *arguments, *root, *retry],
        finish=[[name, track, *root] for name in ("leaderboard", "report")],
        track=plan.track.name,
        limits=plan.track.limits,
        asked=Asked(
            timeout_s=options["timeout"], memory_gb=options["memory"], threads=options["threads"]
        ),
        machine=machine,
        python=machine.python or shlex.quote(sys.executable),
    )
    folder = options["out"]
    for script in made:
        if folder is None:
            click.echo(f"# ---- {script.name}\n{script.text}")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / script.name, script.text)
        (folder / script.name).chmod(0o755)
    if folder is not None:
        for old in folder.glob("cells-*.sbatch"):
            if old.name not in {script.name for script in made}:
                old.unlink()
        click.echo(f"{len(made)} files in {folder}; submit them with: {folder / 'submit.sh'}")
    return 0
