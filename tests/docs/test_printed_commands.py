"""Every `msibench …` that a message, a page or a document shows exists, with every option that it names.

Nothing is run here: click's own parser reads each command as it would be pasted. What can run cheaply is
run by tests/cli/test_first_hour.py and tests/cli/test_own_boards.py.
"""

import ast
import re
from functools import cache
from pathlib import Path

import click
import pytest

from msibench.cli.main import cli

ROOT = Path(__file__).parents[2]
CONTEXT = click.Context(cli)
COMMANDS = set(cli.list_commands(CONTEXT))
SOURCES = sorted(
    path
    for pattern in ("msibench/**/*.py", "msibench/**/*.txt", "plugins/*/msibench_*/**/*.py",
                    "datasets/msibench_datasets/**/*.py", "bench/*.py")
    for path in ROOT.glob(pattern)
)  # fmt: skip
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "plugins/*/README.md", "datasets/**/*.md",
                    "msibench/**/*.j2", "msibench/**/*.txt")
    for path in ROOT.glob(pattern)
)  # fmt: skip
CALL = re.compile(r"(?P<before>^|[\s`(\"'$>])msibench (?P<rest>[^\n`]*)", re.MULTILINE)
NAMED = re.compile(r"msibench[\s\"']")
END = re.compile(r" && | \| |;| #|<|[.,] | +\(|\)(?=[\s,.]|$)")


def strings(path):
    """Every text of a source file that may name a command, with X for what is filled in; docstrings among them."""
    source = path.read_text(encoding="utf-8")
    if not NAMED.search(source):
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "X" for p in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def texts(path):
    return strings(path) if path.suffix == ".py" else [path.read_text(encoding="utf-8")]


@cache
def calls(path):
    """What stands behind `msibench` wherever a command may stand: (words, all of it, ends there)."""
    found = []
    for text in texts(path):
        for call in CALL.finditer(text):
            whole = END.split(call["rest"])[0]
            words = [word.strip("\"'.,:;()*[]") for word in whole.split()]
            words = [word for word in words if word and word != "…"]
            shown = call["before"] in {"`", "$"} or (not call["before"] and path.suffix == ".md")
            if words and (words[0] in COMMANDS or shown):
                found.append((words, f"msibench {whole.strip()}", shown))
    return found


def complaint(words, whole=True):
    """Return what click says of a command; empty where it has nothing to say. `whole`: no prose follows."""
    several = next((place for place, word in enumerate(words) if "|" in word), None)
    if several is not None:  # one of several
        each = ([*words[:several], one, *words[several + 1 :]] for one in words[several].split("|"))
        return " ".join(filter(None, (complaint(one, whole) for one in each)))
    if words[0].startswith("-"):
        words = words[1:]
    command, context = cli, CONTEXT
    while isinstance(command, click.Group) and words:
        name, *words = words
        if name.isupper():  # stands for one
            return ""
        command = command.get_command(context, name)
        if command is None:
            return f"there is no command {name!r}"
        context = click.Context(command, parent=context)
    try:
        _, left, _ = command.make_parser(context).parse_args(words)
        return f"one word too many: {left[0]}" if left and whole else ""
    except click.BadOptionUsage as error:  # its value stands in the next sentence
        return "" if "requires an argument" in error.message else error.message
    except click.UsageError as error:
        return error.format_message()


@pytest.mark.parametrize("paths", [SOURCES, PAGES], ids=["sources", "pages"])
def test_every_command_that_is_shown_exists_with_its_options(paths):
    wrong = {
        (str(path.relative_to(ROOT)), text): said
        for path in paths
        for words, text, whole in calls(path)
        if (said := complaint(words, whole))
    }
    assert wrong == {}


def test_commands_are_found_where_they_stand():
    """Else the test above would pass on nothing."""
    found = [words for path in (*SOURCES, *PAGES) for words, *_ in calls(path)]
    assert len(found) > 300
    named = {words[0] for words in found}
    assert named >= COMMANDS
    assert sum(any(word.startswith("--") for word in words) for words in found) > 100


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("run", ""),
        ("run --data a.imzML --mz 798.54 --factor 4", ""),
        ("run --shards 3", "--shards"),
        ("rum bladder-x4", "rum"),
        ("list methods lcrn", "too many: lcrn"),
    ],
)
def test_a_wrong_command_is_noticed(text, what):
    said = complaint(text.split())
    assert (what in said) if what else said == ""
