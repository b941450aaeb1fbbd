"""Check a parsed TOML or JSON table against the dataclass that it is to become."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from msibench.contracts.plain_text import written
from msibench.errors import ConfigurationError

LARGEST_TABLE = 16 << 20
"""Bytes of a TOML file that is read."""
MOST_DOTS = 64
"""Parts of a dotted key; the parser's time grows with their square."""
_DOTTED = re.compile(r"""\.(?=[ \t]*+[\w"'-]++[ \t]*+\.)""")


def read_table(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    ConfigurationError
        If it cannot be read, is larger than 16 MiB, nested too deep, or not TOML.
    """
    return parse_table(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Read a file of settings; see `read_table`."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_TABLE + 1)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if len(raw) > LARGEST_TABLE:
        raise ConfigurationError(
            f"{path} is larger than {LARGEST_TABLE} bytes, too large for a file of settings"
        )
    try:
        return written(raw)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} cannot be read: {error}; save it as UTF-8") from error


def parse_table(text: str, where: str, *, fault: str = "is not TOML") -> dict[str, Any]:
    """Parse TOML text; see `read_table`."""
    import tomllib

    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > MOST_DOTS and len(_DOTTED.findall(line)) > MOST_DOTS:
            raise ConfigurationError(
                f"{where} {fault}: line {number} has a key of more than {MOST_DOTS} parts"
            )
    try:
        return tomllib.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # TOMLDecodeError is a ValueError; so is a long number
        reason = str(error) if isinstance(error, ValueError) else "nested too deep"
        raise ConfigurationError(f"{where} {fault}: {reason}") from error


def check_table(table: object, where: str) -> Mapping[str, Any]:
    """Return a table, or raise if there is something else in its place."""
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{where} must be a table, got {_shown(table)}")
    return table


def check_keys(table: Mapping[str, Any], known: set[str], where: str) -> None:
    """Raise if `table` has a key that does not exist, naming the nearest known one."""
    for key in check_table(table, where):
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigurationError(
                f"{where}: there is no key {key[:100]!r}.{hint} Known: {', '.join(sorted(known))}."
            )


def check_types(table: Mapping[str, Any], kind: type, where: str) -> dict[str, Any]:
    """Return `table` with lists as tuples, every value of the type that the dataclass declares.

    Raises
    ------
    ConfigurationError
        Names the key, the type expected and the value that came.
    """
    hints = typing.get_type_hints(kind)
    checked = {}
    for key, value in table.items():
        value = tuple(value) if isinstance(value, list) else value
        if not _fits(value, hints[key]):
            raise ConfigurationError(
                f"{where}: {key} must be {_words(hints[key])}, got {_shown(value)}"
            )
        whole = hints[key] is float and isinstance(value, int)
        checked[key] = float(value) if whole else value  # type: ignore[arg-type]
    return checked


def check_plain_name(
    name: object,
    where: str,
    *,
    folders: bool = False,
    home: str = "the folder that it belongs into",
) -> str:
    """Return the name of a file, or raise if it could lead out of the folder that it belongs into.

    Parameters
    ----------
    name
        What a stranger called a file.
    where
        Names the place in the message.
    folders
        Whether it may lie in folders below.
    home
        What the message calls the folder.
    """
    text = name if isinstance(name, str) else ""
    parts = PurePosixPath(text).parts
    odd = (
        not text
        or len(text) > 200
        or any(letter < " " or letter == "\x7f" for letter in text)
        or not text.isprintable()
        or "\\" in text
        or text.startswith("/")
        or ".." in parts
        or bool(PureWindowsPath(text).drive)
        or (not folders and len(parts) != 1)
        or text in {".", ".."}
    )
    if odd:
        raise ConfigurationError(
            f"{where}: {_shown(name)} leaves {home}, or is not a name of a file; use a plain name"
        )
    return text


def _fits(value: object, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if hint is Any or hint is object:
        return True
    if origin in {typing.Union, types.UnionType}:
        return any(_fits(value, option) for option in typing.get_args(hint))
    if origin is tuple:
        inner = typing.get_args(hint)[0]
        return isinstance(value, tuple) and all(_fits(item, inner) for item in value)
    if origin is not None:  # Mapping[...]
        return isinstance(value, Mapping) and all(
            _fits(item, typing.get_args(hint)[1]) for item in value.values()
        )
    if hint is float:
        sound = isinstance(value, int | float) and not isinstance(value, bool)
        return sound and _finite_or_nan(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    if hint is type(None):
        return value is None
    return isinstance(value, hint)


def _finite_or_nan(value: Any) -> bool:
    try:
        return not math.isinf(float(value))
    except OverflowError:
        return False


def _words(hint: Any) -> str:
    words = {str: "text", int: "a whole number", float: "a finite number", bool: "true or false"}
    if hint in words:
        return words[hint]
    origin = typing.get_origin(hint)
    if origin is tuple:
        return f"a list, each {_words(typing.get_args(hint)[0])}"
    if origin in {typing.Union, types.UnionType}:
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        return " or ".join(_words(option) for option in options)
    return "a table" if origin is not None else getattr(hint, "__name__", str(hint))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def fields_of(kind: type) -> set[str]:
    """Return the names of a dataclass's fields."""
    return {field.name for field in dataclasses.fields(kind)}
