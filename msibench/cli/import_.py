"""``msibench import``: check somebody else's bundle and add it as self-reported."""

from __future__ import annotations

from pathlib import Path

import click

from msibench.cli._shared import catalogue, open_store, results_option


@click.command(
    name="import",
    epilog="Example: msibench import bladder.zip && msibench leaderboard bladder-x4\n\n"
    "Exit codes: 0 added, 2 not a bundle that fits here, 6 nothing was new, 7 digests or names "
    "are wrong. A bundle that is refused leaves nothing behind.",
)
@click.argument("bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--max-gb", type=float, default=64.0, show_default=True, help="Unpacked, at most.")
@results_option
def command(bundle: Path, max_gb: float, results: Path | None) -> int:
    """Add the cells of BUNDLE to the results folder, marked as self-reported."""
    from msibench.gate.archive import BundleLimits
    from msibench.gate.receive import receive

    store = open_store(results, create=True)
    limits = BundleLimits(total_bytes=int(max_gb * 2**30))
    received = receive(store, bundle, catalogue().metrics, limits)
    for note in received.notes:
        click.echo(note, err=True)
    click.echo(
        f"added {len(received.added)} cells to track {received.track}, self-reported; "
        f"show them with: msibench leaderboard {received.track}"
    )
    return 0 if received.added else 6
