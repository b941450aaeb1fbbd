"""``msibench run``: a track, or a section of the user's own, to its leaderboard."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msibench.cli._planning import asked_run, planned, planning_options, sort_words, statuses
from msibench.cli._progress import listener, stopped_by_signals
from msibench.cli._shared import (
    catalogue,
    comma_list,
    open_store,
    publish_option,
    results_option,
    store_if_there,
)
from msibench.cli._stop import BATCH_S, WITHIN_S
from msibench.cli._together import Excludes, option_rules
from msibench.cli._values import size_in_gib, time_in_s

if TYPE_CHECKING:
    from msibench.results.store import Store
    from msibench.runner.events import RunSummary
    from msibench.runner.options import RunOptions
    from msibench.runner.plan import Cell, Plan

DATA_EPILOG = """
Example: msibench run                       (the quickstart track on a synthetic section)

Example: msibench run bladder-x4 --jobs 2

Example: msibench run --data section.imzML --factor 4 --mz 798.54,741.53 --ppm 5

Example: msibench run bladder-x4 --executor slurm --machine machine.toml
"""


@click.command(epilog=DATA_EPILOG)
@planning_options
@click.option(
    "--jobs",
    type=click.IntRange(1),
    help="Cells side by side (default: what cores, memory and GPUs of this machine allow).",
)
@click.option(
    "--threads", type=click.IntRange(1), help="Threads of each cell (default: its share)."
)
@click.option(
    "--timeout",
    type=time_in_s,
    metavar="TIME",
    help="Time that one cell may take: 600 (s), 10m, 2h.",
)
@click.option(
    "--memory", type=size_in_gib, metavar="SIZE", help="Memory that one cell may use: 4 (GiB), 2GB."
)
@click.option(
    "--disk",
    type=size_in_gib,
    metavar="SIZE",
    help="What one cell may write into its folder: 4 (GiB), 5GB.",
)
@click.option("--retry", help="Statuses to run again, e.g. failed,timeout.")
@click.option(
    "--executor", default="local", show_default=True, help="Where cells run: local, slurm."
)
@click.option(
    "--machine", type=click.Path(path_type=Path), help="With --executor slurm: machine.toml."
)
@click.option("--shard", help="Run part I of N only, as in 2/8, and write no leaderboard.")
@click.option(
    "--cells", help="Run these cells only (keys, or how they begin), and write no leaderboard."
)
@click.option(
    "--sandbox/--no-sandbox",
    default=None,
    help="Keep methods from truths, the network and all files but their own: require it, or do without. "
    "(Default: wherever the system allows it.)",
)
@click.option(
    "--cold",
    is_flag=True,
    help="Start each cell as a new process, not as a fork of one that holds the libraries.",
)
@click.option("--strict-plugins", is_flag=True, help="Fail when a plugin is broken.")
@click.option("--events", is_flag=True, help="Print one JSON event a line.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@publish_option
@results_option
@option_rules(
    Excludes("--json", ("--events",), "each prints in a form of its own"),
    *(
        Excludes(part, ("--publish",), "a part of a run writes no leaderboard")
        for part in ("--shard", "--cells")
    ),
)
def command(**options: Any) -> int:
    """Run TRACK (default: quickstart), or your own section, and write its leaderboard."""
    how = _run_options(options)
    found = catalogue(strict=options["strict_plugins"])
    sort_words(options)
    said: list[str] = []  # of the board: after faults of the section, which leave none
    plan = planned(options, found, store_if_there(options["results"]), tell=said.append)
    part = _part_of(plan, options)
    store = open_store(options["results"], create=True)
    how = replace(how, jobs=_jobs(options, plan))
    _expect_cells(plan.cells if part is None else part, store, how)
    from msibench.leaderboard.board import published_folder
    from msibench.run_track import BoardOptions, run_track

    folder = published_folder(plan.track) if options["publish"] else None
    quiet = options["as_json"]
    with listener(events=options["events"], quiet=quiet) as listen, _stopped(options) as stop:
        for note in (f"plugin {n!r} is broken: {why}" for n, why in found.broken.items()):
            click.echo(note, err=True)
        if options["data"]:
            _stage_own_sections(plan, store)
        click.echo("".join(f"{text}\n" for text in said), nl=False, err=True)
        summary = run_track(
            plan.track,
            found,
            store,
            replace(how, stop=stop),
            plan=plan,
            part=part,
            board=BoardOptions(
                folder=folder,
                asked=asked_run(options, plan.track),
                results_name=str(options["results"] or ""),
            ),
            listen=listen,
        )
    if summary.stopped:
        _tell_part(summary, as_json=quiet or options["events"])
        raise click.Abort
    if part is not None:
        _tell_part(summary, as_json=quiet or options["events"])
        return summary.exit_code
    _tell(summary, as_json=quiet, events=options["events"])
    for reason in summary.damaged.values():
        click.echo(f"damaged: {reason}", err=True)
    return summary.exit_code


def _run_options(options: dict[str, Any]) -> RunOptions:
    """Return how the run is carried out, but for what the plan decides."""
    from msibench.runner.child.sandbox.command import AUTO, NONE, choose_sandbox
    from msibench.runner.options import RunOptions

    executor_options = _executor_options(options)
    return RunOptions(
        timeout_s=options["timeout"],
        memory_gb=options["memory"],
        disk_gb=options["disk"],
        retry=statuses(options["retry"]),
        executor=options["executor"],
        executor_options=executor_options,
        threads=options["threads"],
        given_weights=options["weights"],
        sandbox={None: AUTO, False: NONE}.get(options["sandbox"]) or choose_sandbox(),
        cold=options["cold"],
    )


def _expect_cells(cells: Iterable[Cell], store: Store, how: RunOptions) -> None:
    """Have a server import the libraries of the first cell, while this process imports what runs and scores it."""
    if how.executor != "local" or how.cold:
        return
    from msibench.runner.child.libraries import libraries_of
    from msibench.runner.child.watch import expect
    from msibench.runner.executors.local import threads_of
    from msibench.runner.expected_times import in_order

    to_run = (cell for cell in cells if cell.verdict is None and not store.has(cell.key))
    if few := list(islice(to_run, 100)):
        first = in_order(few, how.jobs)[0]
        threads = how.threads or threads_of(how.jobs)
        expect(libraries_of(first.spec.target), threads, how.sandbox)


def _stopped(options: dict[str, Any]) -> AbstractContextManager[threading.Event]:
    """Return what is called on a signal; a batch system takes longer to give cells back."""
    return stopped_by_signals(WITHIN_S if options["executor"] == "local" else BATCH_S)


def _stage_own_sections(plan: Plan, store: Store) -> None:
    """Make the problems of one's own sections first: a faulty file is an error before anything runs.

    Reports once which sections do not state their pixel size.

    Raises
    ------
    MSIBenchError
        A section cannot be read, has no peak at an m/z, is too small, or holds nothing at all.
    """
    import numpy as np

    from msibench.errors import DataError
    from msibench.runner.problems.stage import stage
    from msibench.runner.scores.prediction_scores import load_staged_once

    silent: dict[str, None] = {}
    found: dict[str, bool] = {}
    for problem in {cell.problem.key: cell.problem for cell in plan.cells}.values():
        low = load_staged_once(stage(problem, store)).low
        if not low.present():
            raise DataError(
                f"{problem.section}: no signal in any of the {low.channels} ion images; "
                "choose other m/z or a wider window (--ppm)"
            )
        there = set(low.present())
        for channel, name in enumerate(low.channel_names()):
            found[name] = found.get(name, False) or channel in there
        if np.isnan(low.pixel_size_um):
            silent.setdefault(problem.section)
    nowhere = [name for name, somewhere in found.items() if not somewhere]
    if nowhere and len({cell.problem.section for cell in plan.cells}) > 1:
        raise DataError(
            f"no signal in any section at {', '.join(nowhere[:8])}: correct the m/z, widen the "
            "window (--ppm), or leave them out"
        )
    if silent:
        click.echo(
            f"pixel size not known ({', '.join(silent)}): no scale bars, and no resolution in µm; give it "
            "in µm with --pixel-size",
            err=True,
        )


def _part_of(plan: Plan, options: dict[str, Any]) -> list[Cell] | None:
    """Return the cells of a plan that were asked for; None for all of them."""
    from msibench.runner.jobs import one_of, with_keys

    if options["shard"] and options["cells"]:
        raise click.UsageError("--shard and --cells both name a part of the run: give one")
    if options["shard"]:
        return one_of(plan.cells, options["shard"])
    if options["cells"]:
        return with_keys(plan.cells, comma_list(options["cells"]))
    return None


def _jobs(options: dict[str, Any], plan: Plan) -> int:
    """Return how many cells run in parallel; each has more threads where there are few cells."""
    from msibench.cli._values import cells_side_by_side

    if options["jobs"] is not None:
        return int(options["jobs"])
    if options["executor"] != "local":
        return 1
    to_run = sum(cell.verdict is None for cell in plan.cells)
    return max(1, min(to_run, cells_side_by_side(options["device"])))


def _executor_options(options: dict[str, Any]) -> dict[str, Any]:
    from msibench.runner.executors.slurm.machine import load_machine

    if options["machine"] is not None and options["executor"] != "slurm":
        raise click.UsageError("--machine goes with --executor slurm")
    chosen: dict[str, Any] = {"cuda": options["device"].startswith("cuda")}
    if options["executor"] == "slurm":
        chosen["machine"] = load_machine(options["machine"])
    return chosen


def _tell(summary: RunSummary, *, as_json: bool, events: bool) -> None:
    import json

    folder, page = summary.folder, summary.page
    assert folder is not None
    counts = {
        "ran": summary.ran,
        "cached": summary.cached,
        "busy": summary.busy,
        "statuses": summary.counts,
        "leaderboard": str(folder / "README.md"),
        "page": str(page),
    }
    if as_json:
        click.echo(json.dumps(counts, indent=1, sort_keys=True))
    elif events:
        click.echo(json.dumps({"kind": "summary", **counts}, sort_keys=True))
    else:
        click.echo(summary.told(), err=True)
        click.echo((folder / "README.md").read_text(encoding="utf-8"))
        click.echo(f"leaderboard: {folder / 'README.md'}\npage: {page}")


def _tell_part(summary: RunSummary, *, as_json: bool) -> None:
    import json

    counts = {
        "ran": summary.ran,
        "cached": summary.cached,
        "busy": summary.busy,
        "statuses": summary.counts,
    }
    if as_json:
        click.echo(json.dumps(counts, sort_keys=True))
    else:
        click.echo(summary.told())
