"""Write ``docs/reference/``: every command, key, column and variable, from the code that defines them.

``python docs/make_reference.py`` writes the pages; ``--check`` says whether they are what the code says.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click

HERE = Path(__file__).parent / "reference"
MADE = "<!-- Made by docs/make_reference.py from the code: change it there. -->"

VARIABLES = {
    "MSIBENCH_MIRROR": "Folders (`a:b`) that hold public data and weights, laid out as "
    "`<folder>/<data set>/<file>`; nothing that lies there is downloaded.",
    "MSIBENCH_CACHE": "Folder for downloads and prepared sections; default: the user's cache folder.",
    "MSIBENCH_RESULTS": "Results folder where `--results` is not given; default: `./results`.",
    "MSIBENCH_LARGE_MIB": "Size in MiB from which a stack of ion images goes through memory in groups.",
    "MSIBENCH_SCORE_GIB": "Memory in GiB that a metric may take which needs a whole section.",
    "MSIBENCH_SLOW_TESTS": "`1`: tests that take minutes run too.",
    "MSIBENCH_FUZZ_CASES": "Cases of each fuzz test.",
    "MSIBENCH_CHROMIUM": "Path of the Chromium that the tests of pages start.",
    "MSIBENCH_AXE": "Path of `axe.min.js`, for the tests of accessibility.",
}
"""What a user may set. Everything else that begins with MSIBENCH_ is between the harness and its own
processes and named in `INTERNAL`."""

INTERNAL = frozenset(
    {"MSIBENCH_BEGAN", "MSIBENCH_INSIDE", "MSIBENCH_CELL", "MSIBENCH_TEST_MARK", "MSIBENCH_WEIGHTS",
     "MSIBENCH_SECURITY_FIGURES"}
)  # fmt: skip

EXIT_CODES = {
    0: "All is well.",
    1: "An error of msibench itself; please report it.",
    2: "Usage or configuration: what was asked for cannot be done as asked; the message says what to do.",
    3: "Some cells failed, or a method cannot do what was asked of it.",
    4: "`compare`: quality got worse.",
    5: "`compare`: speed or memory got worse.",
    6: "Nothing was measured, or less than the track requires.",
    7: "Integrity: bytes are not what their digest says.",
    130: "Stopped by Ctrl-C or SIGTERM; what is finished is kept.",
}

FILES = {
    "track.toml": [
        ("", "msibench.tracks:Track", {"folder"}),
        ("methods (an entry may be a name or a table)", "msibench.tracks:Entry", set()),
        ("[[problems]]", "msibench.tracks:ProblemSet", set()),
        ("[own]", "msibench.tracks:Own", set()),
        ("[limits]", "msibench.tracks:Limits", set()),
    ],
    "card.toml": [
        ("", "msibench.datasets:Card", {"folder", "local_files"}),
        ("[[files]]", "msibench.datasets:CardFile", set()),
        ("[[mz_sets]]", "msibench.datasets:MZSet", set()),
        ("[[repeats]]", "msibench.datasets:Repeat", set()),
    ],
    "scheme.toml": [
        ("", "msibench.scoring.schemes:Scheme", set()),
        ("[metrics.NAME]", "msibench.scoring.schemes:WeightedMetric", {"name"}),
    ],
    "machine.toml": [
        ("[slurm]", "msibench.runner.executors.slurm.machine:Machine", {"rules"}),
        ("[[method]]", "msibench.runner.executors.slurm.machine:MethodRule", set()),
    ],
    "grid.toml": [
        ("[base] and [[run]]; [grid] holds lists of the same", "msibench.training.finetune:FinetuneRequest", set()),
    ],
}  # fmt: skip


def pages() -> dict[str, str]:
    """Return file name → content of every page."""
    return {
        "command-line.md": command_line(),
        "files.md": files(),
        "environment.md": environment(),
        "results.md": results(),
        "exit-codes.md": exit_codes(),
    }


def command_line() -> str:
    """Return every command with its arguments and options."""
    from msibench.cli.main import cli

    context = click.Context(cli, info_name="msibench")
    parts = [f"# Command line\n\n{MADE}"]
    for path, command in _commands(cli, context, "msibench"):
        parts.append(f"## {path}\n\n{_prose(command.help or '')}")
        if epilog := _prose(command.epilog or ""):
            parts.append(epilog)
        lines = [line for option in command.params for line in _option(option, context)]
        if lines:
            parts.append("| | default | |\n|---|---|---|\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _commands(
    group: click.Group, context: click.Context, path: str
) -> Iterator[tuple[str, click.Command]]:
    for name in sorted(group.list_commands(context)):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, context, f"{path} {name}")


def _option(option: click.Parameter, context: click.Context) -> Iterator[str]:
    if isinstance(option, click.Argument):
        needed = "" if option.required else "optional"
        yield f"| `{option.make_metavar(context)}` | {needed} | |"
        return
    assert isinstance(option, click.Option)
    if option.hidden:
        return
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag else f"`{option.make_metavar(context)}`"
    default = option.default
    plain = isinstance(default, str | int | float) and not isinstance(default, bool)
    shown = f"`{default}`" if plain and default != "" else ""
    often = " May be given again." if option.multiple else ""
    yield f"| {f'{names} {_cell(value)}'.strip()} | {shown} | {_cell((option.help or '') + often)} |"


def files() -> str:
    """Return the keys of every file that a user may write."""
    parts = [f"# Files of a user\n\n{MADE}\n\nA key that is not listed here is refused by name."]
    for name, tables in FILES.items():
        parts.append(f"## {name}")
        for heading, target, left_out in tables:
            if heading:
                parts.append(f"### {heading}")
            parts.append(_fields(_resolve(target), left_out))
    return "\n\n".join(parts) + "\n"


def _fields(kind: Any, left_out: Iterable[str]) -> str:
    told = _told(kind)
    lines = []
    for field in dataclasses.fields(kind):
        if field.name in left_out or field.name.startswith("_"):
            continue
        if field.default is not dataclasses.MISSING:
            default = f"`{_short(field.default)}`"
        elif field.default_factory is not dataclasses.MISSING:
            default = f"`{_short(field.default_factory())}`"
        else:
            default = "required"
        lines.append(
            f"| `{field.name}` | `{_cell(str(field.type))}` | {_cell(default)} | "
            f"{_cell(_ticks(told.get(field.name, '')))} |"
        )
    head = inspect.getdoc(kind) or ""
    return (
        _ticks(head.partition("\n\n")[0])
        + "\n\n| key | type | default | |\n|---|---|---|---|\n"
        + "\n".join(lines)
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 and "object at" not in text else f"{type(value).__name__}()"


def _told(kind: type) -> dict[str, str]:
    """Return field → the text that follows it in the source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    told: dict[str, str] = {}
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            told[node.target.id] = inspect.cleandoc(str(after.value.value))
    return told


def environment() -> str:
    """Return every environment variable that a user may set."""
    lines = [f"| `{name}` | {_cell(text)} |" for name, text in sorted(VARIABLES.items())]
    return (
        f"# Environment variables\n\n{MADE}\n\n| variable | |\n|---|---|\n"
        + "\n".join(lines)
        + "\n"
    )


def named_in_code() -> set[str]:
    """Return every variable of ours that the code reads or sets."""
    root = HERE.parents[1]
    found: set[str] = set()
    for folder in ("msibench", "plugins", "datasets", "tests"):
        for source in (root / folder).rglob("*.py"):
            found |= set(re.findall(r"\bMSIBENCH_[A-Z_]+\b", source.read_text(encoding="utf-8")))
    return found


def results() -> str:
    """Return the columns of rows.parquet and the keys of record.json."""
    from msibench.leaderboard.rows import CELL_COLUMNS, VALUE_COLUMNS
    from msibench.results.schema import CellRecord, Status

    cells = ", ".join(f"`{name}`" for name in CELL_COLUMNS)
    values = ", ".join(f"`{name}`" for name in VALUE_COLUMNS)
    statuses = ", ".join(f"`{status}`" for status in Status)
    return (
        "\n\n".join(
            [
                f"# Results\n\n{MADE}",
                "## rows.parquet\n\nOne row per cell, ion image, metric and region. `leaderboard.csv` and the "
                "pages are made of it.\n\n"
                f"Of the cell: {cells}.\n\nOf the value: {values}. `channel` is -1 for a value of a whole "
                "section; `reason` says why a value is undefined and is empty where it stands.",
                "## record.json\n\n" + _fields(CellRecord, ()),
                f"Statuses: {statuses}.",
            ]
        )
        + "\n"
    )


def exit_codes() -> str:
    """Return what the exit code of a command means."""
    lines = [f"| {code} | {_cell(text)} |" for code, text in EXIT_CODES.items()]
    return f"# Exit codes\n\n{MADE}\n\n| code | |\n|---|---|\n" + "\n".join(lines) + "\n"


def _resolve(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def _prose(text: str) -> str:
    return "\n\n".join(
        " ".join(part.split()) for part in text.replace("\b", "").split("\n\n") if part.strip()
    )


def _ticks(text: str) -> str:
    return text.replace("``", "`")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 on a difference"
    )
    check = parser.parse_args().check
    HERE.mkdir(exist_ok=True)
    stale = []
    for name, content in pages().items():
        page = HERE / name
        if not page.is_file() or page.read_text(encoding="utf-8") != content:
            stale.append(name)
            if not check:
                page.write_text(content, encoding="utf-8")
    if stale:
        sys.stdout.write(f"{'stale' if check else 'written'}: {', '.join(stale)}\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(main())
