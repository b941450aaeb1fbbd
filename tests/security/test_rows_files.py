"""A ``rows.parquet`` of a stranger: read as rows of a believable number, or refused before they fill the memory."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from msibench.leaderboard.rows import tidy
from tests.leaderboard.test_render import cell

READ = "msibench.gate.sources:read_rows"
SOUND = tidy(pd.DataFrame(cell("a", "s0", [(1.0, 2.0)])))


def written(table, **options):
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", **options)
    return out.getvalue()


def columns(count, **changed):
    """A table of one row over and over: a few hundred bytes, however many rows."""
    one = pa.Table.from_pandas(SOUND[:1], preserve_index=False)
    full = {}
    for name in one.column_names:
        value = changed.get(name, one.column(name)[0].as_py())
        kind = None if name in changed else one.schema.field(name).type
        if isinstance(value, str):
            entries, indices = pa.array([value]), pa.array(np.zeros(count, np.int32))
            full[name] = pa.DictionaryArray.from_arrays(indices, entries)
        else:
            full[name] = pa.array([value], kind).take(pa.array(np.zeros(count, np.int64)))
    return pa.table(full)


def test_a_sound_file_is_read(bounded):
    ended = bounded(READ, written(columns(1000)), "r.parquet", memory_mib=512)
    assert not ended.error, ended


@pytest.mark.parametrize(
    ("table", "named"),
    [
        (lambda: columns(2_000_000), "claims 2000000 rows"),
        (lambda: columns(200_000, reason="x" * 100_000), "bytes of text"),
        (lambda: columns(1000, status_reason="x" * 1_000_000), "bytes of text"),
        (lambda: columns(3, value=[1.0] * 50_000), "of type list"),
        (lambda: columns(3, value={"a": 1.0}), "of type struct"),
        (lambda: columns(3, method=b"\xff\xfe"), "of type binary"),
        (lambda: columns(3, value="much"), ""),
        (lambda: columns(3, seed="9" * 400), ""),
        (lambda: columns(3, images=float("inf")), ""),
        (lambda: columns(3).drop_columns(["value"]), "missing"),
        (lambda: columns(3).append_column("value", pa.array([1.0] * 3)), "doubled"),
    ],
    ids=["rows", "texts", "long texts", "lists", "structs", "bytes", "words", "digits", "infinite",
         "no values", "two values"],
)  # fmt: skip
def test_odd_rows_are_refused(refused, table, named):
    raw = written(table())
    assert len(raw) < 1 << 20
    refused(READ, raw, "r.parquet", names=named or "r.parquet", memory_mib=512)


@pytest.mark.parametrize("places", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_footer_that_lies_is_refused(bounded, places):
    """Bytes of the footer are changed in turn, the numbers of rows and bytes among them."""
    raw = written(columns(50))
    start = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    for place in range(start, len(raw), max(1, (len(raw) - start) // places)):
        changed = raw[:place] + bytes([raw[place] ^ 0x7F]) + raw[place + 1 :]
        ended = bounded(READ, changed, "r.parquet", memory_mib=512)
        assert not ended.error or ended.on_purpose, (place, ended)
    for length in (0xFFFFFFFF, 0x7FFFFFFF, 0, len(raw)):
        ended = bounded(READ, raw[:-8] + length.to_bytes(4, "little") + b"PAR1", "r.parquet")
        assert ended.on_purpose, (length, ended)
