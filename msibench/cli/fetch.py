"""``msibench fetch``: the public files of a data set."""

from __future__ import annotations

import click

from msibench.cli._shared import catalogue


@click.command(epilog="Example: msibench fetch lbae-mouse-brain")
@click.argument("name")
@click.option("--section", "sections", multiple=True, help="Only the files of these sections.")
def command(name: str, sections: tuple[str, ...]) -> int:
    """Download the files of the data set NAME: resumable, each verified by its sha256."""
    from msibench.datasets import download_folder, find_file, load_card
    from msibench.errors import MissingDataError, MSIBenchError
    from msibench.weights import download

    card = load_card(catalogue().dataset(name))
    if not card.files:
        click.echo(f"{name} needs no files")
        return 0
    wanted = [f for f in card.files if not sections or f.section in {"", *sections}]
    missing = 0
    for file in wanted:
        try:
            click.echo(f"here      {file.name}  ({find_file(card, file)})")
            continue
        except MissingDataError:
            if not file.url:
                click.echo(f"no address {file.name}: {file.how}", err=True)
                missing += 1
                continue
        target = download_folder(card) / file.name
        try:
            with _progress(file.name, file.size) as told:
                download(file.url, target, sha256=file.sha256, size=file.size, progress=told)
            click.echo(f"fetched   {file.name}")
        except MSIBenchError as error:
            click.echo(f"failed    {file.name}: {error}", err=True)
            missing += 1
    click.echo(f"licence: {card.licence}; cite: {card.citation}", err=True)
    return 3 if missing else 0


class _progress:  # noqa: N801 - used like a function
    """A progress bar on a terminal, silence elsewhere."""

    def __init__(self, name: str, size: int | None) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self._bar = Progress(console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task(name, total=size)

    def __enter__(self) -> _progress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int | None = None) -> None:
        self._bar.update(self._task, completed=done, total=total)
