"""Rows of a leaderboard: any of them make a table, a page of Markdown and a CSV file, or a refusal."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msibench.contracts.plain_text import HARMFUL
from msibench.errors import MSIBenchError
from msibench.gate.sources import read_rows
from msibench.leaderboard import table as leaderboard
from msibench.leaderboard.board import Board
from msibench.leaderboard.page_table import table_view
from msibench.leaderboard.render import markdown_page
from msibench.leaderboard.rows import Collected, tidy
from msibench.leaderboard.safe_csv import safe_csv
from msibench.leaderboard.table import leaderboard_table
from msibench.results.index import TrackIndex
from msibench.results.metric_rows import rows_as_parquet
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


@pytest.fixture(scope="module")
def few_draws():
    """Intervals of the fewest draws: what is looked for is not in their number."""
    patch = pytest.MonkeyPatch()
    patch.setattr(leaderboard, "DRAWS", 100)
    yield
    patch.undo()


def frame(cells):
    return tidy(pd.DataFrame([row for rows in cells for row in rows]))


@fuzz
@given(st.lists(CELL, min_size=1, max_size=2))
def test_any_rows_read_back_as_they_were_written(cells):
    rows = frame(cells)
    pd.testing.assert_frame_equal(read_rows(rows_as_parquet(rows), "rows.parquet"), rows)


@settings(fuzz, max_examples=max(10, fuzz.max_examples // 10))
@given(st.lists(CELL, min_size=1, max_size=2))
def test_any_rows_become_a_leaderboard_or_are_refused(few_draws, cells):
    """The whole way, some 0.1 s a case: a tenth of the cases."""
    try:
        with np.errstate(all="ignore"):
            collected = Collected(frame(cells), {"k" * 64: "a | <b> \x1b[1m"})
            table = leaderboard_table(collected.rows, TRACK)
            assert_harmless(table, collected)
    except MSIBenchError as error:
        assert str(error)


@pytest.fixture(scope="module")
def board(few_draws):
    """The table of a sound board, whose texts and numbers strangers then replace."""
    cells = [
        cell("bicubic", "s0", [(30.0, 0.9), (31.0, 0.8)]),
        cell("b", "s1", [(32.0, 0.9)]),
        cell("c", "s0", [], "failed", status_reason="no"),
    ]
    rows = frame(cells)
    return leaderboard_table(rows, TRACK), rows


@fuzz
@given(data=st.data())
def test_any_texts_and_numbers_of_a_board_stay_what_they_are(board, data):
    table, rows = (part.copy() for part in board)
    for part in (table, rows):
        for name in data.draw(st.lists(st.sampled_from(list(part.columns)), max_size=4)):
            column, place = part[name], data.draw(st.integers(0, len(part) - 1))
            if pd.api.types.is_float_dtype(column):
                part.loc[place, name] = data.draw(VALUE)
            elif not pd.api.types.is_numeric_dtype(column):
                part[name] = column.astype(object)
                part.loc[place, name] = data.draw(NAMES)
    with np.errstate(all="ignore"):
        assert_harmless(table, Collected(rows, {}))


def assert_harmless(table, collected):
    """Assert that what is printed of a board holds no markup, formula or control character of its own."""
    board = Board(collected, TRACK, TrackIndex())
    vars(board)["table"] = table  # also one that no rows give
    page = markdown_page(board)
    page.encode()
    assert not HARMFUL.search(page)
    assert "<b>" not in page
    text = safe_csv(table).to_csv(index=False, float_format="%.10g", lineterminator="\n")
    printed = list(csv.reader(io.StringIO(text, newline="")))
    assert {len(row) for row in printed} == {len(printed[0])}
    for name, *column in zip(*printed, strict=True):
        if name in {"method", "protocol", "status_reasons"}:
            assert all(text[:1] not in {"=", "+", "-", "@", "\t", "\r"} for text in column)
    table_view(board)


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
