"""The metric rows of a cell: ``metrics.parquet``."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


ROW_COLUMNS = {
    "channel": "int32",
    "mz": "float64",
    "metric": "str",
    "metric_version": "int32",
    "region": "str",
    "direction": "str",
    "value": "float64",
    "reason": "str",
}
"""Columns of ``metrics.parquet``; channel -1 is a value of the whole section."""


def empty_rows() -> pd.DataFrame:
    """Return no rows, with the columns of ``metrics.parquet``."""
    import pandas as pd

    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in ROW_COLUMNS.items()})


def rows_as_parquet(rows: pd.DataFrame) -> bytes:
    """Return rows as the bytes of a Parquet file; the same rows give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
