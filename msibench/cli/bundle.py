"""``msibench bundle``: rows and records of a run in one file, to share."""

from __future__ import annotations

from pathlib import Path

import click

from msibench.cli._shared import named_track, open_store, results_option


@click.command(epilog="Example: msibench bundle bladder-x4 -o bladder.zip --predictions")
@click.argument("track")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write (default: TRACK.zip).",
)
@click.option("--predictions", is_flag=True, help="Pack the predictions too, to be verified.")
@click.option(
    "--address",
    default="",
    help="Where the file will be found (https): written, with its digest, into bundle.toml beside the "
    "board, so that others can fetch its images.",
)
@results_option
def command(
    track: str, output: Path | None, predictions: bool, address: str, results: Path | None
) -> None:
    """Pack the rows and records of TRACK; truths and logs stay here."""
    from msibench.errors import UnknownNameError
    from msibench.gate.bundle import write_bundle

    store = open_store(results, create=False)
    try:
        name = named_track(track, results).name
    except UnknownNameError:
        name = track  # a run with --data has a track of its own, and no file
    path = output or Path(f"{name}.zip")
    cells = write_bundle(store, name, path, predictions=predictions)
    size = path.stat().st_size / 2**20
    if address:
        from msibench.gate.published_bundle import publish_bundle
        from msibench.leaderboard.board import published_folder

        folder = published_folder(named_track(track, results))
        click.echo(f"wrote {publish_bundle(folder, path, address)}")
    click.echo(f"packed {cells} cells of {name} into {path} ({size:.2f} MiB)")
