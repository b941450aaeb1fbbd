"""``msibench report``: a track's page, one HTML file made from the store alone."""

from __future__ import annotations

from pathlib import Path

import click

from msibench.cli._shared import (
    base_option,
    folder_of_board,
    folder_of_grown,
    grown_board,
    in_its_results,
    named_track,
    open_store,
    publish_option,
    results_option,
)


@click.command(
    epilog="Example: msibench report bladder-x4 -o page\n\n"
    "Example: msibench report lbae-x4 --split        (images in files beside the page)\n\n"
    "Example: msibench report bladder-x4 --base leaderboards/bladder-x4 -o page   (committed rows)"
)
@click.argument("track", default="quickstart")
@results_option
@base_option
@publish_option
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Another folder."
)
@click.option(
    "--max-images",
    type=click.IntRange(0),
    help="Ion images to show at most (default: as many as fit into about 9 MB).",
)
@click.option("--split", is_flag=True, help="Write the images into files beside the page.")
def command(
    track: str,
    results: Path | None,
    base: Path | None,
    publish: bool,
    output: Path | None,
    max_images: int | None,
    split: bool,
) -> None:
    """Write the page of TRACK; no plugin is asked, nothing is run, and it needs no network."""
    from msibench.leaderboard.page import write_page

    track, results = in_its_results(track, results)
    chosen = named_track(track, results)
    board = store = None
    if base is not None:
        store, board, _ = grown_board(base, chosen, results)
        folder = folder_of_grown(chosen, results, output, publish=publish)
    else:
        store = open_store(results, create=False)
        folder = folder_of_board(chosen, store, output, publish=publish)
    path = write_page(store, chosen, folder, max_images=max_images, split=split, board=board)
    click.echo(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
