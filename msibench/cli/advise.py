"""``msibench advise``: sharpen, keep, or measure finer."""

from __future__ import annotations

import json
from pathlib import Path

import click

from msibench.cli._planning import LEVEL_HELP
from msibench.cli._values import chosen_mz, mz_option, peaks_option


@click.command(
    epilog="Example: msibench advise section.imzML --mz 798.54,741.53 --factor 2,4\n\n"
    "Example: msibench advise section.imzML --peaks 50 --guide HE.png --transform HE.json "
    "--page advice.html --json advice.json"
)
@click.argument("section", type=click.Path(path_type=Path))
@mz_option
@peaks_option
@click.option("--ppm", type=float, default=5.0, show_default=True, help="Half-width of the window.")
@click.option("--factor", "factors", default="2,4", show_default=True, help="One or several.")
@click.option("--guide", type=click.Path(path_type=Path), help="Optical image.")
@click.option(
    "--transform", type=click.Path(path_type=Path), help="What `msibench register` wrote."
)
@click.option("--level", type=click.IntRange(0), help=LEVEL_HELP)
@click.option("--pixel-size", type=float, help="µm, where the file does not say.")
@click.option(
    "--methods",
    default="",
    help="Names to try, with commas; default: quick ones that need nothing.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--page", type=click.Path(dir_okay=False, path_type=Path), help="One HTML file.")
def command(
    section: Path,
    mz_text: str | None,
    peaks: int | None,
    ppm: float,
    factors: str,
    guide: Path | None,
    transform: Path | None,
    level: int | None,
    pixel_size: float | None,
    methods: str,
    seed: int,
    json_file: Path | None,
    page: Path | None,
) -> int:
    """Say which ions of SECTION may be sharpened, with what, and whether to measure finer instead."""
    from msibench.io.read import read_section
    from msibench.library.advice_page import advice_page
    from msibench.library.advising import advise
    from msibench.library.sections import guide_on
    from msibench.results.files import write_atomically

    wanted = _factors(factors)
    low = read_section(
        section,
        mz=chosen_mz(mz_text, peaks, ppm, section) or None,
        ppm=ppm,
        pixel_size_um=pixel_size,
    )
    names = tuple(name.strip() for name in methods.split(",") if name.strip())
    told = []
    for factor in wanted:
        image = guide_on(low, guide, transform, factor, level)
        told.append(advise(low, factor, guide=image, methods=names, seed=seed))
        click.echo(f"{told[-1]}\n")
    if json_file is not None:
        document = {"section": section.name, "advice": [one.to_json() for one in told]}
        text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
        write_atomically(json_file, (text + "\n").encode())
        click.echo(f"wrote {json_file}")
    if page is not None:
        write_atomically(page, advice_page(section.name, told).encode())
        click.echo(f"wrote {page}")
    return 0


def _factors(text: str) -> list[int]:
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(2 <= factor <= 32 for factor in found):
        raise click.UsageError(
            f"--factor takes whole numbers from 2 to 32 with commas between, such as 2,4; got {text!r}"
        )
    return list(dict.fromkeys(found))
