"""``msibench fetch``: the public files of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from msibench.cli._shared import catalogue
from msibench.contracts.plain_text import few_of


@click.command(
    epilog="Example: msibench fetch lbae-mouse-brain\n\n"
    "Example: msibench fetch 2016-09-22_11h16m17s -o sections"
)
@click.argument("name")
@click.option("--section", "sections", multiple=True, help="Only the files of these sections.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for a METASPACE data set (default: the cache).",
)
@click.option(
    "--allow-local", is_flag=True, help="Let a card name addresses of this machine or its network."
)
def command(name: str, sections: tuple[str, ...], output: Path | None, allow_local: bool) -> int:
    """Download the files of the data set NAME, or of a METASPACE id.

    Downloads go on where they stopped; a file of a card is verified by its sha256.
    """
    from msibench.io.metaspace import is_metaspace_id

    if is_metaspace_id(name):
        if sections or allow_local:
            option = "--section" if sections else "--allow-local"
            raise click.UsageError(
                f"{option} is for data sets with a card, and {name} is of METASPACE"
            )
        return _from_metaspace(name, output)
    if output is not None:
        raise click.UsageError(
            f"-o is for data sets of METASPACE; the files of {name} go to the cache, where runs find them"
        )
    return _from_card(name, sections, allow_local)


def _from_card(name: str, sections: tuple[str, ...], allow_local: bool) -> int:
    from msibench.datasets import download_folder, find_file, load_card
    from msibench.errors import MissingDataError

    card = load_card(catalogue(with_metrics=False).dataset(name))
    if not card.files:
        click.echo(f"{name} needs no files")
        return 0
    if unknown := sorted(set(sections) - set(card.sections)):
        raise click.UsageError(
            f"{name} has no section {unknown[0]!r}; it has {few_of(card.sections)}"
        )
    missing = 0
    for file in card.files:
        if sections and file.section not in {"", *sections}:
            continue
        try:
            click.echo(f"here      {file.name}  ({find_file(card, file)})")
        except MissingDataError:
            if file.url:
                target = download_folder(card) / file.name
                missing += not _download(
                    file.url,
                    target,
                    file.sha256,
                    file.size,
                    public=True,
                    allow_local=allow_local,
                )
            else:
                click.echo(f"no address {file.name}: {file.how}", err=True)
                missing += 1
    click.echo(f"licence: {card.licence}; cite: {card.citation}", err=True)
    return 3 if missing else 0


def _from_metaspace(name: str, output: Path | None) -> int:
    from msibench.downloads import cache_root
    from msibench.io.metaspace import dataset_files

    dataset_id = name.removeprefix("metaspace:")
    found = dataset_files(dataset_id)
    folder = output or cache_root() / "metaspace" / dataset_id
    failed = sum(not _download(file.url, folder / file.name) for file in found.files)
    people = ", ".join(found.contributors) or "not stated"
    click.echo(f"licence: {found.licence}; contributors: {people}", err=True)
    return 3 if failed else 0


def _download(
    url: str,
    target: Path,
    sha256: str = "",
    size: int | None = None,
    *,
    public: bool = False,
    allow_local: bool = False,
) -> bool:
    """Fetch one file and print the outcome."""
    from msibench.downloads import download
    from msibench.errors import MSIBenchError

    if target.is_file() and not sha256:
        click.echo(f"here      {target.name}  ({target})")
        return True
    try:
        with _progress(target.name, size) as told:
            download(
                url,
                target,
                sha256=sha256,
                size=size,
                progress=told,
                public=public,
                allow_local=allow_local,
            )
    except MSIBenchError as error:
        click.echo(f"failed    {target.name}: {error}", err=True)
        return False
    click.echo(f"fetched   {target.name}  ({target})")
    return True


@contextmanager
def _progress(name: str, size: int | None) -> Iterator[Callable[[int, int | None], None]]:
    """Yield what a download reports its progress to: a bar on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=size)

        def told(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        yield told
