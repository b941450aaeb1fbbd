"""``msibench submit``: the files of a pull request that adds one's methods to a committed board."""

from __future__ import annotations

from pathlib import Path

import click

from msibench.cli._shared import catalogue, comma_list, named_track, open_store, results_option


@click.command(
    epilog="Example: msibench submit bladder-x4 --base leaderboards/bladder-x4\n\n"
    "See docs/submitting.md."
)
@click.argument("track")
@click.option(
    "--base",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The committed board that the methods are submitted to.",
)
@click.option("--methods", help="Methods, separated by commas (default: all that the board lacks).")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write (default: submissions/TRACK/METHOD).",
)
@results_option
def command(
    track: str, base: Path, methods: str | None, output: Path | None, results: Path | None
) -> None:
    """Verify your methods on TRACK, and write the bundle and the text of a pull request."""
    from msibench.gate.submit import write_submission

    chosen, store = named_track(track, results), open_store(results, create=False)
    made = write_submission(store, chosen, catalogue(), base, output, methods=comma_list(methods))
    click.echo(made.text.read_text(encoding="utf-8"))
    size = made.bundle.stat().st_size / 2**20
    click.echo(
        f"wrote {made.bundle} ({size:.2f} MiB) and {made.text}: commit both in a branch of msibench's "
        "repository and open a pull request with that text"
    )
