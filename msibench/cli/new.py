"""``msibench new``: start a plugin from a template that installs and passes its checks as it is."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import click


@click.group(epilog="Example: msibench new method sharpen")
def command() -> None:
    """Start a plugin from a template."""


@command.command("method", epilog="Example: msibench new method sharpen --into plugins")
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Folder in which the new one is made.",
)
def method(name: str, into: Path) -> None:
    """Write a folder with a working method NAME: manifest, code, test, README, and a gate for pull requests."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise click.BadParameter(
            f"a method's name is lower-case letters, digits and hyphens, got {name!r}"
        )
    folder = into / name
    if folder.exists():
        raise click.BadParameter(f"{folder} is there already; choose another name or --into DIR")
    package = f"msibench_{name.replace('-', '_')}"
    words = {
        "@NAME@": name,
        "@PACKAGE@": package,
        "@CLASS@": "".join(part.capitalize() for part in name.split("-")),
    }
    template = files("msibench") / "template"
    for source, target in TEMPLATE.items():
        text = (template / source).read_text("utf-8")
        path = folder / target.replace("@PACKAGE@", package).replace("@NAME@", package[9:])
        for mark, word in words.items():
            text = text.replace(mark, word)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    click.echo(
        f"wrote {folder}. Next:\n"
        f"  pip install -e {folder}\n"
        f"  msibench check {name}\n"
        f"  pytest {folder}\n"
        f"  msibench run --methods {name},bicubic\n"
        f"In a repository of its own, .github/workflows/gate.yml checks every pull request."
    )


TEMPLATE = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "init.py.txt": "@PACKAGE@/__init__.py",
    "method.py.txt": "@PACKAGE@/method.py",
    "test_method.py.txt": "tests/test_@NAME@.py",
    "gate.yml.txt": ".github/workflows/gate.yml",
}
