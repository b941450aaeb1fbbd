"""A ``rows.parquet`` from anywhere: checked by its footer, read column by column, and bounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from msibench.errors import IntegrityError

MOST_BYTES = 256 << 20
"""Bytes that a small file may claim unpacked, and that its texts may fill; larger files: `GROWTH` times theirs."""
GROWTH = 256
MOST_ROWS = 1 << 18
"""Rows that a small file may hold; a larger one no more than it has bytes, for no value is shorter."""


def unpack_rows(
    raw: bytes, columns: Sequence[str], where: str, *, also: Sequence[str] = ()
) -> pd.DataFrame:
    """Read the columns of a table of rows.

    Parameters
    ----------
    raw
        The file.
    columns
        Columns that must be there; others are not read.
    also
        Columns that are read where they are there.
    where
        Its name in messages.

    Raises
    ------
    IntegrityError
        If it is not such a table, or would fill the memory.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        there = pq.ParquetFile(pa.BufferReader(raw)).schema_arrow.names
        columns = [*columns, *(name for name in also if name in there)]
        schema = _checked_schema(pq.ParquetFile(pa.BufferReader(raw)), len(raw), columns, where)
        texts = [name for name in columns if _is_text(schema.field(name).type)]
        file: Any = pq.ParquetFile(pa.BufferReader(raw), read_dictionary=texts)
        table = file.read(columns=list(columns))
        _check_texts(table, texts, max(MOST_BYTES, GROWTH * len(raw)), where)
        for name in texts:  # only now: a long text that stands in every row was kept once so far
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, table.column(name).cast(pa.large_string()))
        found: pd.DataFrame = table.to_pandas()
    except (
        pa.ArrowException, OSError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError,
    ) as error:  # fmt: skip
        raise IntegrityError(f"{where} cannot be read as rows: {error}") from error
    return found


def _checked_schema(file: Any, size: int, columns: Sequence[str], where: str) -> Any:
    """Reject a table by its footer; return its schema."""
    import pyarrow as pa

    schema, metadata = file.schema_arrow, file.metadata
    lacking = [name for name in columns if schema.names.count(name) != 1]
    if lacking:
        raise IntegrityError(
            f"{where} is not a table of rows: columns missing or doubled: {', '.join(lacking)}; "
            "rows.parquet is written by `msibench run` and `msibench leaderboard`"
        )
    for name in columns:
        kind = schema.field(name).type
        plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        if not (plain or pa.types.is_null(kind) or _is_text(kind)):
            raise IntegrityError(
                f"{where} is not a table of rows: {name} is of type {str(kind)[:100]}"
            )
    if metadata.num_rows > max(MOST_ROWS, size):
        raise IntegrityError(f"{where} claims {metadata.num_rows} rows in {size} bytes; not read")
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    claimed = [group.total_byte_size for group in groups]
    if sum(claimed) > max(MOST_BYTES, GROWTH * size) or min(claimed, default=0) < 0:
        raise IntegrityError(f"{where} claims {sum(claimed)} bytes of rows in {size}; not read")
    if sum(group.num_rows for group in groups) != metadata.num_rows:
        raise IntegrityError(f"{where} states its number of rows inconsistently; not read")
    return schema


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_texts(table: Any, names: Sequence[str], most: int, where: str) -> None:
    """Reject texts that are short while each is stored once, and fill the memory as rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    total = 0
    for name in names:
        for piece in table.column(name).chunks:
            if pa.types.is_dictionary(piece.type):
                lengths = pc.binary_length(piece.dictionary)
                total += pc.sum(pc.take(lengths, piece.indices)).as_py() or 0
            else:
                total += piece.nbytes
    if total > most:
        raise IntegrityError(f"{where} holds {total} bytes of text; at most {most} are read")
