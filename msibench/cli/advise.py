"""``msibench advise``: sharpen, keep, or measure finer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msibench.cli._planning import LEVEL_HELP
from msibench.cli._together import Needs, option_rules
from msibench.cli._values import (
    WINDOW,
    chosen_mz,
    mz_option,
    peaks_option,
    pixel_size_option,
    ppm_option,
)

if TYPE_CHECKING:
    from msibench.errors import DataError
    from msibench.library.advice_values import Advice


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was typed."""

    section: Path
    mz_text: str | None
    peaks: int | None
    ppm: float
    factors: str
    guide: Path | None
    transform: Path | None
    level: int | None
    pixel_size: float | None
    methods: str
    seed: int
    results: Path | None
    json_file: Path | None
    page: Path | None


@click.command(
    epilog="Example: msibench advise section.imzML --mz 798.54,741.53 --factor 2,4\n\n"
    "Example: msibench advise section.imzML --peaks 50 --guide HE.png --transform HE.json "
    "--page advice.html --json advice.json"
)
@click.argument("section", type=click.Path(path_type=Path))
@mz_option
@peaks_option
@ppm_option
@click.option("--factor", "factors", default="2,4", show_default=True, help="One or several.")
@click.option("--guide", type=click.Path(path_type=Path), help="Optical image.")
@click.option(
    "--transform", type=click.Path(path_type=Path), help="What `msibench register` wrote."
)
@click.option("--level", type=click.IntRange(0), help=LEVEL_HELP)
@pixel_size_option("µm, in place of what the file says.")
@click.option(
    "--methods",
    default="",
    help="Names to try, with commas; default: quick ones that need nothing.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--results",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="A results folder whose boards are looked at for similar sections, beside those that ship.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path),
              help="The same as numbers, in JSON.")  # fmt: skip
@click.option("--page", type=click.Path(dir_okay=False, path_type=Path), help="One HTML file.")
@option_rules(Needs("--transform", ("--guide",)), Needs("--level", ("--guide",)), WINDOW)
def command(**given: Any) -> int:
    """Say which ions of SECTION may be sharpened, with what, and whether to measure finer instead."""
    from msibench.errors import DataError
    from msibench.io.read import read_section
    from msibench.library.advising import advise
    from msibench.library.sections import guide_on

    options = Options(**given)
    wanted = _factors(options.factors)
    low = read_section(
        options.section,
        mz=chosen_mz(options.mz_text, options.peaks, options.ppm, options.section) or None,
        ppm=options.ppm,
        pixel_size_um=options.pixel_size,
    )
    names = tuple(name.strip() for name in options.methods.split(",") if name.strip())
    told: list[Advice] = []
    refused: list[DataError] = []
    written: list[Path] = []
    for factor in wanted:
        image = guide_on(low, options.guide, options.transform, factor, options.level)
        try:
            told.append(
                advise(
                    low,
                    factor,
                    guide=image,
                    methods=names,
                    seed=options.seed,
                    results=options.results,
                )
            )
        except DataError as error:  # too small for one factor, not for the others
            if len(wanted) == 1:
                raise
            refused.append(error)
            click.echo(f"x{factor}: {error}\n", err=True)
            continue
        written = _write(options, told)  # before anything is printed: the reader may close the pipe
        click.echo(f"{told[-1]}\n")
    if not told:
        raise refused[0]
    for path in written:
        click.echo(f"wrote {path}")
    return 0


def _write(options: Options, told: list[Advice]) -> list[Path]:
    """Write the files that were asked for, with the advice that there is so far."""
    from msibench.library.advice_page import advice_page
    from msibench.results.files import write_atomically

    written = []
    if options.json_file is not None:
        document = {"section": options.section.name, "advice": [one.to_json() for one in told]}
        text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
        write_atomically(options.json_file, (text + "\n").encode())
        written.append(options.json_file)
    if options.page is not None:
        write_atomically(options.page, advice_page(options.section.name, told).encode())
        written.append(options.page)
    return written


def _factors(text: str) -> list[int]:
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(2 <= factor <= 32 for factor in found):
        raise click.UsageError(
            f"--factor takes whole numbers from 2 to 32 separated by commas, such as 2,4; got {text!r}"
        )
    return list(dict.fromkeys(found))
