"""Tables as CSV that a spreadsheet may open: no text of theirs is run as a formula."""

from __future__ import annotations

import pandas as pd

from msibench.contracts.plain_text import visible


def table_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV that is safe to open in a spreadsheet."""
    return safe_csv(table).to_csv(index=False, float_format="%.10g", lineterminator="\n")


def safe_csv(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with text that a spreadsheet would run as a formula made harmless."""
    safe = table.copy()
    for name, kind in table.dtypes.items():
        if not pd.api.types.is_numeric_dtype(kind):
            safe[name] = safe[name].map(_harmless)
    return safe


def _harmless(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = visible(value)  # a bare carriage return would begin a row that no writer quotes
    return f"'{text}" if value[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
