"""Rows of a leaderboard: any of them make a table, a page of Markdown and a CSV file, or a refusal."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.contracts.plain_text import HARMFUL
from msibench.errors import MSIBenchError
from msibench.gate.sources import read_rows
from msibench.leaderboard import render
from msibench.leaderboard import table as leaderboard
from msibench.leaderboard.page_table import table_view
from msibench.leaderboard.render import leaderboard_files
from msibench.leaderboard.rows import Collected, tidy
from msibench.leaderboard.table import leaderboard_table
from msibench.results.index import TrackIndex
from msibench.results.store import rows_as_parquet
from tests.fuzz.texts import fuzz
from tests.leaderboard.test_render import TRACK, cell

NAMES = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["bicubic", "=1+1", "<b>", "a|b", "\x1b[31m", "\r=1", "$x$", "![a](b)"]),
)
VALUE = st.one_of(st.floats(), st.sampled_from([np.nan, np.inf, 0.0, 1e300, -1e300]))
CELL = st.builds(
    lambda method, section, values, status, facts: cell(method, section, values, status, **facts),
    NAMES,
    st.sampled_from(["s0", "s1", "", "../x"]),
    st.lists(st.tuples(VALUE, VALUE), max_size=3),
    st.sampled_from(["ok", "failed", "timeout", "odd"]),
    st.fixed_dictionaries(
        {},
        optional={
            "status_reason": NAMES, "seed": st.integers(-5, 5), "rss_mib": VALUE, "device": NAMES,
            "seconds_per_image": VALUE, "is_control": st.booleans(), "control": NAMES,
            "protocol": NAMES, "origin": NAMES,
        },
    ),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def monkey():
    """Return a patch; intervals of the fewest draws: what is looked for is not in their number."""
    patch = pytest.MonkeyPatch()
    patch.setattr(leaderboard, "DRAWS", 100)
    yield patch
    patch.undo()


@fuzz
@given(st.lists(CELL, min_size=1, max_size=2))
def test_any_rows_become_a_leaderboard_or_are_refused(monkey, cells):
    rows = pd.DataFrame([row for rows in cells for row in rows])
    index = TrackIndex()
    try:
        with np.errstate(all="ignore"):
            collected = Collected(tidy(rows), {"k" * 64: "a | <b> \x1b[1m"})
            table = leaderboard_table(collected.rows, TRACK)
            monkey.setattr(render, "leaderboard_table", lambda rows, track: table)
            files = leaderboard_files(collected, TRACK, index)
            table_view(table, TRACK, index)
    except MSIBenchError as error:
        assert str(error)
        return
    back = read_rows(files["rows.parquet"], "rows.parquet")
    pd.testing.assert_frame_equal(back, collected.rows)
    page = files["README.md"].decode()
    assert not HARMFUL.search(page)
    assert "<b>" not in page
    printed = list(csv.reader(io.StringIO(files["leaderboard.csv"].decode(), newline="")))
    assert {len(row) for row in printed} == {len(printed[0])}
    for name, *column in zip(*printed, strict=True):
        if name in {"method", "protocol", "status_reasons"}:
            assert all(text[:1] not in {"=", "+", "-", "@", "\t", "\r"} for text in column)


@pytest.fixture(scope="module")
def sound():
    return rows_as_parquet(tidy(pd.DataFrame(cell("a", "s0", [(1.0, 2.0)]))))


@fuzz
@given(
    raw=st.binary(max_size=200),
    place=st.integers(0, 10_000),
    flip=st.integers(1, 255),
    kind=st.sampled_from(["flip", "flip", "flip", "bytes", "parquet"]),
)
def test_a_damaged_rows_file_is_refused_or_read(sound, raw, place, flip, kind):
    content = {"bytes": raw, "parquet": b"PAR1" + raw + b"PAR1"}.get(kind)
    if content is None:
        damaged = bytearray(sound)
        damaged[place % len(sound)] ^= flip
        content = bytes(damaged)
    try:
        read_rows(content, "fuzz.parquet")
    except MSIBenchError as error:
        assert "fuzz.parquet" in str(error)


@fuzz
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=6), st.lists(st.integers(), max_size=2), max_size=3
    )
)
def test_other_tables_are_refused(columns):
    length = max(map(len, columns.values()), default=0)
    full = {name: (values + [0] * length)[:length] for name, values in columns.items()}
    full = {name: [max(-(2**62), min(2**62, v)) for v in values] for name, values in full.items()}
    out = io.BytesIO()
    pq.write_table(pa.table(full), out)
    try:
        read_rows(out.getvalue(), "fuzz.parquet")
    except MSIBenchError as error:
        assert "fuzz.parquet" in str(error)
    else:
        raise AssertionError("was read")
