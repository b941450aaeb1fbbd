"""What a transform or landmark file from elsewhere may hold: text of a plausible size, valid numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from msibench.contracts.plain_text import written
from msibench.errors import DataError, MissingDataError

LARGEST_FILE = 16 << 20
"""Bytes that are read; a net of 100 x 100 control points has less than one of them in forty."""
LARGEST_LANDMARKS = 2 << 20
"""Bytes of a landmark table that are read: 400 for each of the most that are used."""
LARGEST_NUMBER = 1e12
"""Pixels; nothing lies farther away, and no square of it is beyond a float."""
MOST_LANDMARKS = 5_000
"""The system of a thin plate has the square of it as entries: 200 MB."""
DEEPEST = 64


def read_text(path: Path, what: str, most: int = LARGEST_FILE, errors: str = "strict") -> str:
    """Return the text of a file that is not too large.

    Raises
    ------
    MissingDataError
        If there is no such file.
    DataError
        If it is too large or is not text.
    """
    if not path.is_file():
        raise MissingDataError(f"there is no {what} file {path}")
    with path.open("rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise DataError(f"{path} is larger than {most} bytes, too large for a {what} file")
    try:
        return written(raw)
    except UnicodeDecodeError as error:
        if errors != "strict":
            return raw.decode("utf-8-sig", errors)
        raise DataError(f"{path} is not a {what} file: {error}") from error


def parse_json(text: str, source: str) -> object:
    """Parse JSON; excessive nesting and length are rejected.

    Raises
    ------
    DataError
        If it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source} is not a transform file: {error}") from error


def check_parameters(parameters: object, source: str) -> dict[str, Any]:
    """Return the parameters of a transform if they are a table of numbers, texts and nested lists.

    Raises
    ------
    DataError
        If a number is not valid, or something else is in place of one.
    """
    if not isinstance(parameters, dict):
        raise DataError(f"{source}: the parameters of a transform must be a JSON object")
    waiting: list[tuple[object, int]] = [(value, 0) for value in parameters.values()]
    while waiting:
        value, depth = waiting.pop()
        if depth > DEEPEST:
            raise DataError(f"{source}: parameters are nested deeper than {DEEPEST} levels")
        if isinstance(value, list):
            waiting += [(item, depth + 1) for item in value]
        elif isinstance(value, dict):
            waiting += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, bool) or value is None:
            raise DataError(f"{source}: a transform holds {value!r} where a number is expected")
        elif isinstance(value, int | float) and not abs(value) <= LARGEST_NUMBER:
            raise DataError(
                f"{source}: NaN and numbers beyond {LARGEST_NUMBER:g} pixels are not valid"
            )
    return parameters
