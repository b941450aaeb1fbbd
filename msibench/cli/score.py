"""``msibench score``: new or corrected metrics from stored predictions."""

from __future__ import annotations

from pathlib import Path

import click

from msibench.cli._shared import (
    catalogue,
    comma_list,
    folder_of_board,
    in_its_results,
    named_track,
    open_store,
    publish_option,
    results_option,
)


@click.command(epilog="Example: msibench score bladder-x4 --metrics nqm,vif")
@click.argument("track", default="quickstart")
@click.option("--metrics", help="Metrics (default: the track's), separated by commas.")
@click.option("--all", "force", is_flag=True, help="Compute also what is up to date.")
@publish_option
@results_option
def command(
    track: str, metrics: str | None, force: bool, publish: bool, results: Path | None
) -> int:
    """Score the stored predictions of TRACK again; nothing is predicted."""
    from msibench.leaderboard.board import (
        ADDED_METRICS,
        board_for,
        results_flag,
        with_added_metrics,
    )
    from msibench.leaderboard.page import renew_page
    from msibench.leaderboard.render import write_leaderboard
    from msibench.results.index import read_index, update_index
    from msibench.runner.scores.rescore import rescore
    from msibench.runner.track_facts import collect_metric_facts

    track, results = in_its_results(track, results)
    chosen = named_track(track, results)
    found = catalogue()
    names = comma_list(metrics) or chosen.metrics
    specs = [found.metric(name) for name in names]
    store = open_store(results, create=False)
    index = read_index(store, chosen.name)
    if not index.cells:
        raise click.UsageError(
            f"nothing of track {chosen.name!r} is in {store.root}; run it first: "
            f"msibench run {track}{results_flag(store.root)}"
        )
    total = rescore(
        store,
        index.cells.values(),
        specs,
        force=force,
        on_cell=lambda record: click.echo(f"scored {record.method} {record.section}", err=True),
    )
    described = {**index.track_facts.get("metrics", {}), **collect_metric_facts(found, names)}
    known = with_added_metrics(chosen, index).metrics[len(chosen.metrics) :]
    added = list(dict.fromkeys((*known, *(n for n in names if n not in chosen.metrics))))
    update_index(store, chosen.name, {}, {"metrics": described, ADDED_METRICS: added})
    folder = folder_of_board(chosen, store, publish=publish)
    board = board_for(store, chosen, folder)
    write_leaderboard(store, chosen, folder, board=board)
    renew_page(store, chosen, folder, board=board)
    click.echo(
        f"{total.cells} cell{'s' * (total.cells != 1)}: {total.computed} scores computed, {total.kept} were up to date; "
        f"wrote {folder / 'README.md'}"
    )
    for key, reason in total.damaged.items():
        click.echo(f"left out {key[:12]}…: {reason}", err=True)
    return 7 if total.damaged else 0
