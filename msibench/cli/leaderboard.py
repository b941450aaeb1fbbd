"""``msibench leaderboard``: rebuild a leaderboard from the store alone."""

from __future__ import annotations

from pathlib import Path

import click

from msibench.cli._shared import (
    folder_of_board,
    named_track,
    open_store,
    publish_option,
    results_option,
)


@click.command(
    epilog="Example: msibench leaderboard bladder-x4\n\n"
    "Example: msibench leaderboard bladder-x4 --pair bicubic swinir-msi-tiny"
)
@click.argument("track", default="quickstart")
@results_option
@publish_option
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Another folder."
)
@click.option(
    "--pair", nargs=2, default=None, help="Compare two methods per m/z (Cao's Tables S2 and S3)."
)
@click.option("--scheme", default="", help="Scoring scheme of --pair (default: the track's).")
def command(
    track: str,
    results: Path | None,
    publish: bool,
    output: Path | None,
    pair: tuple[str, str] | None,
    scheme: str,
) -> None:
    """Rebuild the leaderboard of TRACK; no plugin is asked and nothing is run."""
    from msibench.leaderboard.page import renew_page
    from msibench.leaderboard.render import write_leaderboard

    chosen = named_track(track, results)
    store = open_store(results, create=False)
    folder = folder_of_board(chosen, store, output, publish=publish)
    collected = write_leaderboard(store, chosen, folder)
    renew_page(store, chosen, folder)
    if pair:
        from msibench.leaderboard.pair import pair_page

        click.echo(pair_page(collected.rows, chosen, store, *pair, scheme=scheme))
        return
    for key, reason in collected.damaged.items():
        click.echo(f"left out {key[:12]}…: {reason}", err=True)
    click.echo(f"wrote {folder / 'README.md'}")
    if collected.damaged:
        raise SystemExit(7)
