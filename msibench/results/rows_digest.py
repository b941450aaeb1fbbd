"""A digest of rows as values: the same on every machine, with every version of a library.

The bytes of a Parquet file are its writer's; two versions of pyarrow write the same table otherwise.
What this digest covers is written down in ``docs/formats.md``: columns in the order of their names, each
as its name, its kind and its values in row order.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

VERSION = "rows-1"


def rows_digest(rows: pd.DataFrame) -> str:
    """Return ``rows-1:`` and the sha256 of a table's values, in hexadecimal.

    Parameters
    ----------
    rows
        Columns of whole numbers, of floats, of truth values and of text; the index does not count, the
        order of rows does. Every NaN is the same, and so are 0.0 and -0.0; missing text is the empty
        text.
    """
    hasher = hashlib.sha256(VERSION.encode())
    hasher.update(struct.pack("<Q", len(rows)))
    for name in sorted(map(str, rows.columns)):
        kind, content = _packed(rows[name])
        for part in (name.encode(), kind, content):
            hasher.update(struct.pack("<Q", len(part)))
            hasher.update(part)
    return f"{VERSION}:{hasher.hexdigest()}"


def _packed(column: pd.Series[Any]) -> tuple[bytes, bytes]:
    """Return one letter for a column's kind, and its values as bytes."""
    kind = getattr(column.dtype, "kind", "O")
    if kind == "b":
        return b"b", column.to_numpy(np.uint8).tobytes()
    if kind in "iu":
        return b"i", column.to_numpy("<i8").tobytes()
    if kind == "f":
        values = column.to_numpy("<f8").copy()
        values[np.isnan(values)] = np.nan
        values[values == 0] = 0.0
        return b"f", values.tobytes()
    texts = [b"" if _absent(value) else str(value).encode() for value in column]
    lengths = struct.pack(f"<{len(texts)}Q", *map(len, texts))
    return b"t", lengths + b"".join(texts)


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value)) or str(value) == "<NA>"
