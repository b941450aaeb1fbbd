"""``msibench weights``: list, fetch, add and verify pretrained files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from msibench.contracts.method import WeightFile


@click.group(
    name="weights",
    epilog="Example: msibench weights list\n\n"
    "Example: msibench weights fetch vgg16\n\n"
    "Example: msibench weights fetch swinir-light\n\n"
    "Example: msibench weights add Downloads/MambaIR-real.pth\n\n"
    "Example: msibench weights verify",
)
def command() -> None:
    """List, fetch, add and verify pretrained files."""


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array for machines.")
@click.argument("names", nargs=-1)
def list_(names: tuple[str, ...], as_json: bool) -> None:
    """Show every pretrained file: who needs it, licence, size, and whether it is here."""
    from msibench.errors import IntegrityError
    from msibench.weights import find
    from msibench.weights.registry import short_name

    rows: list[dict[str, Any]] = []
    for file, users in _chosen(names).values():
        try:
            path = find(file)
            state = "here" if path else ("to fetch" if file.url else "to ask for")
        except IntegrityError as error:
            path, state = None, f"damaged: {error}"
        rows.append(
            {
                "name": short_name(file),
                "file": file.name,
                "state": state,
                "path": str(path) if path else "",
                "size": file.size,
                "sha256": file.sha256,
                "licence": file.licence,
                "non_commercial": file.non_commercial,
                "trained_on": file.trained_on,
                "url": file.url,
                "how": file.how,
                "used_by": sorted(users),
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        size = f"{row['size'] / 1e6:.1f} MB" if row["size"] else "size not published"
        terms = " (non-commercial)" if row["non_commercial"] else ""
        click.echo(f"{row['name']}  [{row['state']}]")
        click.echo(f"    {size}, {row['licence'] or 'licence not stated'}{terms}")
        click.echo(f"    trained on: {row['trained_on'] or 'not stated'}")
        if row["used_by"]:
            click.echo(f"    used by: {', '.join(row['used_by'])}")


@command.command(name="fetch")
@click.argument("names", nargs=-1, required=True)
@click.option("--accept-licence", is_flag=True, help="Agree to non-commercial licences beforehand.")
@click.option("--allow-local", is_flag=True, help="Follow redirects to private addresses.")
def fetch_(names: tuple[str, ...], accept_licence: bool, allow_local: bool) -> None:
    """Download files by their own name, or all files of a method by the method's name."""
    from msibench.weights import fetch

    for file, _ in _chosen(names).values():
        with _Bar(file.name) as bar:
            path = fetch(
                file,
                accept_licence=accept_licence,
                ask=_ask if sys.stdin.isatty() else None,
                progress=bar.update,
                allow_local=allow_local,
            )
        click.echo(f"{file.name}: {path} ({file.licence or 'licence not stated'})")


@command.command(name="add")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--as", "name", help="Registered name; default: the file's own name.")
@click.option("--replace", is_flag=True, help="Take it although another copy was recorded before.")
def add_(path: Path, name: str | None, replace: bool) -> None:
    """Copy a file that you have into the cache, after checking it."""
    from msibench.weights import add, lookup

    file = lookup(name or path.name, _of_plugins())
    click.echo(f"{file.name}: {add(path, file, replace=replace)}")


@command.command(name="verify")
@click.argument("names", nargs=-1)
def verify_(names: tuple[str, ...]) -> None:
    """Read every byte of the files that are here and compare their digests (exit code 7 if wrong)."""
    from msibench.errors import IntegrityError
    from msibench.weights import verify

    report = verify(file for file, _ in _chosen(names).values())
    for name, verdict in report.items():
        if names or verdict != "missing":
            click.echo(f"{name}: {verdict}")
    wrong = [name for name, verdict in report.items() if verdict not in {"ok", "missing"}]
    if wrong:
        raise IntegrityError(f"{len(wrong)} pretrained file(s) are not what they were: {wrong}")


def _of_plugins() -> list[WeightFile]:
    """Return the files that installed methods declare."""
    from msibench.plugin_manager.discovery import discover

    return [file for spec in discover().methods.values() for file in spec.weights]


def _chosen(names: tuple[str, ...]) -> dict[str, tuple[WeightFile, set[str]]]:
    """Return file name → (file, methods that use it) for these names; no name: all files."""
    from msibench.plugin_manager.discovery import discover
    from msibench.weights import CORE_WEIGHTS, lookup

    methods = discover().methods
    users: dict[str, set[str]] = {}
    table: dict[str, WeightFile] = {file.name: file for file in CORE_WEIGHTS.values()}
    for method in methods.values():
        for file in method.weights:
            table[file.name] = file
            users.setdefault(file.name, set()).add(method.name)
    if not names:
        chosen = list(table.values())
    else:
        chosen = []
        for name in names:
            if name in methods and methods[name].weights:
                chosen.extend(methods[name].weights)
            else:
                chosen.append(lookup(name, table.values()))
    return {file.name: (file, users.get(file.name, set())) for file in chosen}


def _ask(terms: str) -> bool:
    return click.confirm(f"{terms} Do you agree?", default=False)


class _Bar:
    """A progress bar on a terminal, nothing elsewhere; opened at the first byte."""

    def __init__(self, label: str) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            "{task.description}",
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            transient=True,
            disable=not sys.stdout.isatty(),
        )
        self._task = self._progress.add_task(label, total=None)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def update(self, have: int, total: int | None) -> None:
        """Show how many bytes have come."""
        self._progress.update(self._task, completed=have, total=total)
