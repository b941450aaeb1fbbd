"""``msibench score``: new or mended metrics from stored predictions."""

from __future__ import annotations

from pathlib import Path

import click

from msibench.cli._shared import (
    catalogue,
    comma_list,
    named_track,
    open_store,
    results_option,
)


@click.command(epilog="Example: msibench score bladder-x4 --metrics nqm,vif")
@click.argument("track", default="quickstart")
@click.option("--metrics", help="Metrics (default: the track's), with commas between.")
@click.option("--all", "force", is_flag=True, help="Compute also what is up to date.")
@results_option
def command(track: str, metrics: str | None, force: bool, results: Path | None) -> int:
    """Score the stored predictions of TRACK again; nothing is predicted."""
    from dataclasses import replace

    from msibench.leaderboard.board import board_folder
    from msibench.leaderboard.render import write_leaderboard
    from msibench.results.index import read_index, update_index
    from msibench.runner.scores.rescore import rescore
    from msibench.runner.track_facts import metric_facts

    chosen = named_track(track, results)
    found = catalogue()
    names = comma_list(metrics) or chosen.metrics
    specs = [found.metric(name) for name in names]
    store = open_store(results, create=False)
    index = read_index(store, chosen.name)
    if not index.cells:
        raise click.UsageError(
            f"nothing of track {chosen.name!r} is in {store.root}; run it first: msibench run {track}"
        )
    total = rescore(
        store,
        index.cells.values(),
        specs,
        force=force,
        on_cell=lambda record: click.echo(f"scored {record.method} {record.section}", err=True),
    )
    facts = {**index.facts.get("metrics", {}), **metric_facts(found, names)}
    update_index(store, chosen.name, {}, {"metrics": facts})
    shown = replace(chosen, metrics=tuple(dict.fromkeys((*chosen.metrics, *names))))
    folder = board_folder(chosen, store)
    write_leaderboard(store, shown, folder)
    click.echo(
        f"{total.cells} cells: {total.computed} scores computed, {total.kept} were up to date; "
        f"wrote {folder / 'README.md'}"
    )
    for key, reason in total.damaged.items():
        click.echo(f"left out {key[:12]}…: {reason}", err=True)
    return 7 if total.damaged else 0
