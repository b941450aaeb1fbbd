"""``msibench run``: a track, or a section of the user's own, to its leaderboard."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msibench.cli._planning import planned, planning_options
from msibench.cli._progress import listener
from msibench.cli._shared import catalogue, comma_list, open_store, output_folder, results_option
from msibench.cli._stop import WITHIN_S, told

if TYPE_CHECKING:
    from msibench.plugin_manager import Catalogue
    from msibench.results.store import Store
    from msibench.runner.events import RunSummary
    from msibench.runner.plan import Plan
    from msibench.runner.supervisor import Supervisor

DATA_EPILOG = """
Example: msibench run                       (the quickstart track on a synthetic section)

Example: msibench run bladder-x4 --jobs 2

Example: msibench run --data section.imzML --factor 4 --mz 798.54,741.53 --ppm 5

Example: msibench run bladder-x4 --executor slurm --machine machine.toml
"""
BATCH_S = 60.0
"""Seconds in which a run ends that has to take its cells back from a batch system."""
AGAIN_S = 20.0
"""Between two looks at cells that another run has, for a part of a run."""


@click.command(epilog=DATA_EPILOG)
@planning_options
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Cells side by side."
)
@click.option(
    "--threads", type=click.IntRange(1), help="Threads of each cell (default: its share)."
)
@click.option("--timeout", type=float, help="Seconds that one cell may take.")
@click.option("--memory", type=float, help="GiB that one cell may use.")
@click.option("--disk", type=float, help="GiB that one cell may write into its folder.")
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
    help="Methods see no truth, no network and no file but their own: insist on it, or do without. "
    "(Default: wherever the system allows it.)",
)
@click.option("--strict-plugins", is_flag=True, help="Fail when a plugin is broken.")
@click.option("--events", is_flag=True, help="Print one JSON event a line.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@results_option
def command(**options: Any) -> int:
    """Run TRACK (default: quickstart), or your own section, and write its leaderboard."""
    from msibench.leaderboard.page import write_page
    from msibench.leaderboard.render import write_leaderboard
    from msibench.results.files import explained, write_atomically
    from msibench.results.index import set_index_aside, update_index
    from msibench.runner.child.sandbox.command import AUTO, NONE, choose_sandbox
    from msibench.runner.options import RunOptions
    from msibench.runner.supervisor import Supervisor
    from msibench.runner.track_facts import index_cells, track_facts
    from msibench.tracks import track_as_text

    sandbox = {None: AUTO, False: NONE}.get(options["sandbox"]) or choose_sandbox()
    found = catalogue(strict=options["strict_plugins"])
    plan = planned(options, found)
    track = plan.track
    part = _part_of(plan, options)
    store = open_store(options["results"], create=True)
    quiet = options["as_json"]
    with listener(events=options["events"], quiet=quiet) as listen:
        for note in (f"plugin {n!r} is broken: {why}" for n, why in found.broken.items()):
            click.echo(note, err=True)
        run_options = RunOptions(
            jobs=options["jobs"],
            timeout_s=options["timeout"],
            memory_gb=options["memory"],
            disk_gb=options["disk"],
            retry=_statuses(options["retry"]),
            executor=options["executor"],
            executor_options=_executor_options(options),
            threads=options["threads"],
            given_weights=options["weights"],
            sandbox=sandbox,
        )
        if aside := set_index_aside(store, track.name):
            click.echo(f"the track's index was damaged: set aside in {aside}, made anew", err=True)
        update_index(store, track.name, index_cells(plan.cells), track_facts(plan, found))
        summary = _carry_out(
            lambda: Supervisor(store, found, run_options, listen),
            plan if part is None else part,
            stopped := threading.Event(),
            within_s=WITHIN_S if options["executor"] == "local" else BATCH_S,
            wait=part is not None or options["executor"] == "slurm",
        )
    if stopped.is_set():
        _tell_part(summary, as_json=quiet or options["events"])
        raise click.Abort
    if part is not None:
        _tell_part(summary, as_json=quiet or options["events"])
        return _exit_code(summary)
    damaged = _score_what_was_cached(store, plan, found)
    folder = output_folder(track, store)
    if options["data"] is not None:  # a section of one's own has no track file: leave one
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "track.toml", track_as_text(track))
    write_leaderboard(store, track, folder)
    page = write_page(store, track, folder)
    _tell(summary, folder, page, as_json=quiet, events=options["events"])
    for reason in damaged:
        click.echo(f"damaged: {reason}", err=True)
    return 7 if damaged else _exit_code(summary)


def _carry_out(
    make: Callable[[], Supervisor],
    plan: Plan,
    stopped: threading.Event,
    *,
    within_s: float,
    wait: bool,
) -> RunSummary:
    """Run a plan; with `wait`, until no other run has any of its cells, or for as long as that helps.

    A run that was begun again on another host (by SLURM, or after its login node went down) finds the
    leases of its earlier life, which are given up only after a silence.
    """
    from time import monotonic

    from msibench.results.leases import STALE_S

    current: list[Supervisor] = []

    def stop() -> None:
        stopped.set()
        for supervisor in current:
            supervisor.stop()

    end = monotonic() + 2 * STALE_S
    with told(stop, within_s):
        while True:
            current[:] = [make()]
            if stopped.is_set():
                current[0].stop()
            summary = current[0].run(plan)
            if not (wait and summary.busy) or monotonic() > end or stopped.wait(AGAIN_S):
                return summary


def _part_of(plan: Plan, options: dict[str, Any]) -> Plan | None:
    """Return the part of a plan that was asked for; None for all of it."""
    from msibench.runner.jobs import one_of, with_keys

    if options["shard"] and options["cells"]:
        raise click.UsageError("--shard and --cells both name a part of the run: give one")
    if options["shard"]:
        return replace(plan, cells=tuple(one_of(plan.cells, options["shard"])))
    if options["cells"]:
        return replace(plan, cells=tuple(with_keys(plan.cells, comma_list(options["cells"]))))
    return None


def _executor_options(options: dict[str, Any]) -> dict[str, Any]:
    from msibench.runner.executors.slurm.machine import load_machine

    if options["machine"] is not None and options["executor"] != "slurm":
        raise click.UsageError("--machine goes with --executor slurm")
    chosen: dict[str, Any] = {"cuda": options["device"].startswith("cuda")}
    if options["executor"] == "slurm":
        chosen["machine"] = load_machine(options["machine"])
    return chosen


def _score_what_was_cached(store: Store, plan: Plan, found: Catalogue) -> list[str]:
    """Bring the scores of cells from earlier runs up to the track's metrics; return what is damaged."""
    from msibench.runner.scores.rescore import rescore

    metrics = [found.metric(name) for name in plan.track.metrics]
    return list(rescore(store, [cell.key for cell in plan.cells], metrics).damaged.values())


def _statuses(text: str | None) -> frozenset[str]:
    from msibench.results.schema import Status

    wanted = comma_list(text)
    for name in wanted:
        if name not in set(Status):
            raise click.BadParameter(f"--retry takes statuses, {', '.join(Status)}; got {name!r}")
    return frozenset(wanted)


def _tell(summary: RunSummary, folder: Path, page: Path, *, as_json: bool, events: bool) -> None:
    import json

    facts = {
        "ran": summary.ran,
        "cached": summary.cached,
        "busy": summary.busy,
        "statuses": summary.counts,
        "leaderboard": str(folder / "README.md"),
        "page": str(page),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=1, sort_keys=True))
    elif events:
        click.echo(json.dumps({"kind": "summary", **facts}, sort_keys=True))
    else:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(summary.counts.items()))
        click.echo(
            f"{counts}; {summary.ran} run now, {summary.cached} were stored already", err=True
        )
        click.echo((folder / "README.md").read_text(encoding="utf-8"))
        click.echo(f"leaderboard: {folder / 'README.md'}\npage: {page}")


def _tell_part(summary: RunSummary, *, as_json: bool) -> None:
    import json

    facts = {
        "ran": summary.ran,
        "cached": summary.cached,
        "busy": summary.busy,
        "statuses": summary.counts,
    }
    if as_json:
        click.echo(json.dumps(facts, sort_keys=True))
    else:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(summary.counts.items()))
        click.echo(
            f"{counts}; {summary.ran} run now, {summary.cached} were stored already, "
            f"{summary.busy} are left to another run"
        )


def _exit_code(summary: RunSummary) -> int:
    from msibench.results.schema import FAILURES

    if summary.changed:
        return 7
    if any(summary.counts.get(str(status), 0) for status in FAILURES):
        return 3
    if not summary.counts.get("ok", 0):
        return 6
    return 130 if summary.counts.get("cancelled", 0) else 0
