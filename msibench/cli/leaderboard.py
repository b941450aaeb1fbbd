"""``msibench leaderboard``: rebuild a leaderboard from the store alone."""

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
from msibench.cli._together import Excludes, Needs, option_rules


@click.command(
    epilog="Example: msibench leaderboard bladder-x4\n\n"
    "Example: msibench leaderboard bladder-x4 --pair bicubic swinir-msi-tiny\n\n"
    "Example: msibench leaderboard bladder-x4 --base leaderboards/bladder-x4     (adds your methods)\n\n"
    "Example: msibench leaderboard lbae-x4 --base leaderboards/lbae-x4 --pair dctlsa-msi spandrel-dctlsa\n\n"
    "Example: msibench leaderboard --index leaderboards"
)
@click.argument("track", default="quickstart")
@results_option
@click.option(
    "--index",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Write README.md of a folder of boards instead: all of them at one glance.",
)
@base_option
@publish_option
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Another folder."
)
@click.option(
    "--pair", nargs=2, default=None, help="Compare two methods per m/z (Cao's Tables S2 and S3)."
)
@click.option("--scheme", default="", help="Scoring scheme of --pair (default: the track's).")
@option_rules(
    Needs("--scheme", ("--pair",), "a board is ranked by the scheme of its track"),
    Excludes(
        "--pair", ("--output", "--publish"), "two methods are compared and nothing is written"
    ),
    Excludes(
        "--index",
        ("TRACK", "--results", "--base", "--publish", "--output", "--pair"),
        "it writes README.md of a folder of boards",
    ),
)
def command(
    track: str,
    results: Path | None,
    index: Path | None,
    base: Path | None,
    publish: bool,
    output: Path | None,
    pair: tuple[str, str] | None,
    scheme: str,
) -> None:
    """Rebuild the leaderboard of TRACK; no plugin is asked and nothing is run.

    With --base, methods of the results folder join the rows of a committed board, which stay as they are;
    it is written to RESULTS/grown/TRACK unless -o or --publish says otherwise. With --pair, two methods of that board
    are compared and nothing is written.
    """
    from msibench.leaderboard.board import board_for, read_board
    from msibench.leaderboard.page import renew_page, write_page
    from msibench.leaderboard.pair import pair_page
    from msibench.leaderboard.render import write_leaderboard

    if index is not None:
        from msibench.leaderboard.all_boards import write_index

        click.echo(f"wrote {write_index(index)}")
        return
    track, results = in_its_results(track, results)
    chosen = named_track(track, results)
    if base is not None:
        store_, board, said = grown_board(base, chosen, results)
        if pair:
            published = board.index.track_facts.get("published", {})
            click.echo(pair_page(board.rows, chosen, published, *pair, scheme=scheme))
            return
        folder = folder_of_grown(chosen, results, output, publish=publish)
        write_leaderboard(store_, chosen, folder, board=board)
        if (folder / "index.html").is_file():
            write_page(store_, chosen, folder, board=board)
        click.echo("\n".join([*said, f"wrote {folder / 'README.md'}"]))
        return
    store = open_store(results, create=False)
    if pair:
        held = read_board(store, chosen)
        published = held.index.track_facts.get("published", {})
        click.echo(pair_page(held.rows, chosen, published, *pair, scheme=scheme))
        return
    folder = folder_of_board(chosen, store, output, publish=publish)
    board = board_for(store, chosen, folder)
    collected = write_leaderboard(store, chosen, folder, board=board)
    renew_page(store, chosen, folder, board=board)
    for key, reason in collected.damaged.items():
        click.echo(f"left out {key[:12]}…: {reason}", err=True)
    click.echo(f"wrote {folder / 'README.md'}")
    if collected.damaged:
        raise SystemExit(7)
