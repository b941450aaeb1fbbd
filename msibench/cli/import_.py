"""``msibench import``: check another laboratory's bundle and add it as self-reported."""

from __future__ import annotations

from pathlib import Path

import click

from msibench.cli._shared import catalogue, open_store, results_option


@click.command(
    name="import",
    epilog="Example: msibench import bladder.zip && msibench leaderboard bladder-x4\n\n"
    "Example: msibench import leaderboards/bladder-x4     (fetches the bundle that the board names)\n\n"
    "Exit codes: 0 added, 2 not a bundle that fits here, 6 nothing was new, 7 digests or names "
    "are wrong. A bundle that is refused leaves nothing behind.",
)
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.option("--max-gb", type=float, default=64.0, show_default=True, help="Unpacked, at most.")
@click.option(
    "--allow-local",
    is_flag=True,
    help="Let a board name an address of this machine or its network.",
)
@results_option
def command(bundle: Path, max_gb: float, allow_local: bool, results: Path | None) -> int:
    """Add the cells of BUNDLE to the results folder, marked as self-reported.

    BUNDLE is a file, or the folder of a committed board: what its bundle.toml names is then downloaded and
    held against its digest.
    """
    from msibench.gate.archive import BundleLimits
    from msibench.gate.receive import receive

    if bundle.is_dir():
        from msibench.gate.published_bundle import fetch_bundle

        bundle = fetch_bundle(bundle, allow_local=allow_local)
    elif allow_local:
        raise click.UsageError("--allow-local is for the folder of a board, which names an address")
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
