"""Lists of m/z from files, as people and programs keep them.

METASPACE's annotation tables (comments with ``#``, commas, quoted fields, a column ``mz``), SCiLS Lab's
feature lists (comments with ``#``, semicolons, a column ``m/z``), tables saved from a spreadsheet, and
plain lists with one m/z a line.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from msibench.errors import ConfigurationError, DataError, MissingDataError

SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".list", ".peaks")
LARGEST_LIST = 64 << 20
"""Bytes of a peak list; a table of a hundred thousand annotations takes half of it."""
COMMENTS = ("#", "//", "%")
DECIMAL_COMMA = re.compile(r"[0-9]+,[0-9]+")


def read_peak_list(path: Path) -> tuple[float, ...]:
    """Return the m/z of a file, in Da, in its order; repeated ones (isomers) are left out.

    Lines that begin with ``#``, ``//`` or ``%`` are comments. A first line without a number names the
    columns: the m/z are in the one called ``mz`` or ``m/z``, else in the first that begins so, else in
    the first that is a number, as in a file without names, where there is only one. Columns are separated by semicolons, tabulators,
    commas or blanks, whichever of them comes first in this order. Numbers in a single line are all m/z.

    Raises
    ------
    MissingDataError
        There is no such file.
    DataError
        It is not text, holds no m/z, a line without one, a decimal comma, or several columns of numbers
        none of which is called ``mz``.
    """
    lines = [
        (number, line)
        for number, line in enumerate(_text_of(path).splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith(COMMENTS)
    ]
    if not lines:
        raise DataError(
            f"{path.name}: holds no m/z; expected one a line, or a table with a column mz"
        )
    parted_by = next((mark for mark in (";", "\t", ",") if mark in lines[0][1]), " ")
    rows = [(number, _fields(line, parted_by)) for number, line in lines]
    if all(_has_comma(line.strip()) for _, line in lines):
        raise _decimal_comma(path, lines[0][0], [lines[0][1].strip()])
    if len(rows) == 1 and all(_number(field) is not None for field in rows[0][1] if field):
        rows = [(rows[0][0], [field]) for field in rows[0][1] if field]  # all in one line
    column = None
    if not any(_number(field) is not None or _has_comma(field) for field in rows[0][1]):
        names = rows.pop(0)[1]
        column = _mz_column(names)
        if column is None and any(sum(_number(f) is not None for f in row) > 1 for _, row in rows):
            raise DataError(
                f"{path.name}: which of its columns holds the m/z is not said ({', '.join(names)[:80]}); "
                "call it mz"
            )
    found: dict[float, None] = {}
    for number, fields in rows:
        found.setdefault(_mz_of(path, number, fields, column))
    if not found:
        raise DataError(f"{path.name}: holds the names of columns and no m/z")
    return tuple(found)


def _text_of(path: Path) -> str:
    if not path.is_file():
        raise MissingDataError(f"peak list not found: {str(path)!r}; check its path")
    with path.open("rb") as file:
        raw = file.read(LARGEST_LIST + 1)
    if len(raw) > LARGEST_LIST:
        raise DataError(
            f"{path.name} is larger than {LARGEST_LIST >> 20} MiB: it is not a peak list"
        )
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace")
    if b"\0" in raw:
        raise DataError(
            f"{path.name}: is not text; a spreadsheet is saved as CSV first (File, Save as, CSV)"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _fields(line: str, parted_by: str) -> list[str]:
    if parted_by == " ":
        return line.split()
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=parted_by))]
    except csv.Error:  # a field beyond all bounds
        return [field.strip().strip('"') for field in line.split(parted_by)]


def _number(field: str) -> float | None:
    try:
        return float(field) if "_" not in field else None
    except ValueError:
        return None


def _has_comma(field: str) -> bool:
    return DECIMAL_COMMA.fullmatch(field) is not None


def _mz_column(names: list[str]) -> int | None:
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    begins = [index for index, name in enumerate(plain) if name.startswith("mz")]
    return plain.index("mz") if "mz" in plain else next(iter(begins), None)


def _mz_of(path: Path, number: int, fields: list[str], column: int | None) -> float:
    """Return the m/z of one line."""
    for field in fields if column is None else fields[column : column + 1]:
        value = _number(field)
        if value is not None:
            if 0 < value < float("inf"):
                return value
            raise DataError(
                f"{path.name}, line {number}: an m/z is a positive number, got {field!r}"
            )
        if _has_comma(field):
            raise _decimal_comma(path, number, [field])
    raise DataError(
        f"{path.name}, line {number}: no m/z in {'; '.join(fields)[:80]!r}; expected a number"
        + ("" if column is None else f" in column {column + 1}")
    )


def _decimal_comma(path: Path, number: int, fields: list[str]) -> ConfigurationError:
    return ConfigurationError(
        f"{path.name}, line {number}: {fields[0]!r} is written with a decimal comma; write "
        f"{fields[0].replace(',', '.')!r}, or export the list with decimal points (a table of whole "
        "numbers needs a first line that names its columns: mz,intensity)"
    )
