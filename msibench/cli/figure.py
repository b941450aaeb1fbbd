"""``msibench figure``: a figure or table for a paper, from the store alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from msibench.cli._shared import (
    base_option,
    comma_list,
    grown_board,
    named_track,
    open_store,
    results_option,
)
from msibench.cli._together import typed
from msibench.cli._values import mz_list

READ_BY = {
    "--metric": ("box", "violin", "pareto", "paired"),
    "--reference": ("paired",),
    **dict.fromkeys(("--section", "--mz", "--colours"), ("images",)),
}
"""Option → kinds of figures that it changes; other options are read by all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was typed."""

    kind: str
    track: str
    results: Path | None
    base: Path | None
    output: Path
    metric: str
    methods: str | None
    reference: str
    protocol: str
    section: str
    mz_text: str | None
    colours: str


@click.command(
    epilog="Example: msibench figure images bladder-x4 --mz 798.541 -o images.pdf\n\n"
    "Example: msibench figure paired bladder-x4 --metric psnr --reference bicubic -o paired.svg\n\n"
    "Example: msibench figure table bladder-x4 -o table.tex"
)
@click.argument(
    "kind", type=click.Choice(["images", "box", "violin", "pareto", "paired", "metrics", "table"])
)
@click.argument("track", default="quickstart")
@results_option
@base_option
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File; its ending says the format: png, svg, pdf, or md, tex for a table.",
)
@click.option(
    "--metric", default="", help="Metric in place of the score (box, violin, pareto, paired)."
)
@click.option("--methods", help="Methods to show, separated by commas.")
@click.option("--reference", default="", help="Method that the others are set against (paired).")
@click.option("--protocol", default="", help="Protocol, where a track has several.")
@click.option("--section", default="", help="Section (images).")
@click.option("--mz", "mz_text", help="m/z values (images), separated by commas.")
@click.option(
    "--colours",
    type=click.Choice(["viridis", "inferno", "grey"]),
    default="viridis",
    show_default=True,
    help="Colour table (images).",
)
def command(**given: Any) -> None:
    """Write the figure KIND of TRACK: images, box, violin, pareto, paired, metrics (the six of Cao et al.) or table."""
    from msibench.leaderboard.figures import Choice, write_figure

    options = Options(**given)
    for option in sorted(typed() & READ_BY.keys()):
        if options.kind not in READ_BY[option]:
            raise click.UsageError(
                f"{option} says something of {' and '.join(READ_BY[option])}, not of {options.kind}; "
                "leave it out"
            )
    choice = Choice(
        metric=options.metric,
        methods=comma_list(options.methods),
        reference=options.reference,
        protocol=options.protocol,
        section=options.section,
        mz=mz_list(options.mz_text),
        colours=options.colours,
    )
    chosen, board = named_track(options.track, options.results), None
    if options.base is not None:
        store, board, _ = grown_board(options.base, chosen, options.results)
    else:
        store = open_store(options.results, create=False)
    click.echo(
        f"wrote {write_figure(options.kind, store, chosen, options.output, choice, board=board)}"
    )
