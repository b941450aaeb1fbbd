"""``msibench site``: all boards, methods and data sets as one static site."""

from __future__ import annotations

from pathlib import Path

import click

from msibench.cli._shared import catalogue, results_option, store_if_there
from msibench.cli._together import Excludes, option_rules


@click.command(
    epilog="Example: msibench site public\n\n"
    "Example: msibench site public --source https://github.com/OWNER/msibench/blob/main"
)
@click.argument("output", metavar="OUT", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--boards",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("leaderboards"),
    show_default=True,
    help="Folder of boards: folders with track.toml, and rows.parquet where they are measured.",
)
@click.option(
    "--docs",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("mkdocs.yml"),
    show_default=True,
    help="Configuration of the documentation, which is built with mkdocs where that is installed.",
)
@click.option("--no-docs", is_flag=True, help="Leave the documentation out.")
@click.option("--no-pictures", is_flag=True, help="Draw no data set.")
@click.option(
    "--source",
    default="",
    help="Where the repository's files are read; method pages link to their code there.",
)
@results_option
@option_rules(Excludes("--no-docs", ("--docs",), "the documentation is left out"))
def command(
    output: Path,
    boards: Path,
    docs: Path,
    no_docs: bool,
    no_pictures: bool,
    source: str,
    results: Path | None,
) -> None:
    """Build the site of all boards in OUT: an overview, boards, methods, data sets, tables, the docs.

    It opens from a disk and can be published as it is. Images of a board are shown where the results folder
    holds its cells, as after `msibench import`.
    """
    from msibench.site.build import write_site

    if not boards.is_dir():
        raise click.UsageError(
            f"there is no folder of boards {str(boards)!r}; name one with --boards, your own with "
            "--boards results/leaderboards"
        )
    written = write_site(
        output,
        boards,
        catalogue(),
        store=store_if_there(results),
        docs=None if no_docs else docs,
        source=source,
        pictures=not no_pictures,
        told=lambda text: click.echo(text, err=True),
    )
    for note in written.notes:
        if not (no_docs and note.startswith("no docs")):
            click.echo(note, err=True)
    click.echo(f"wrote {written.pages} pages; open {written.index}")
