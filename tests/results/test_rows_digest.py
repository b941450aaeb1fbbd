"""The digest of rows against its description in docs/formats.md, byte by byte."""

import hashlib
import struct

import numpy as np
import pandas as pd
import pytest

from msibench.results.rows_digest import rows_digest


def part(content):
    return struct.pack("<Q", len(content)) + content


def by_hand(rows, *columns):
    content = b"rows-1" + struct.pack("<Q", rows)
    for name, kind, values in columns:
        content += part(name) + part(kind) + part(values)
    return f"rows-1:{hashlib.sha256(content).hexdigest()}"


def test_a_table_of_every_kind_is_its_columns_by_name():
    rows = pd.DataFrame(
        {
            "word": ["é", None],
            "value": [1.5, np.nan],
            "count": np.array([3, -1], np.int32),
            "sure": [True, False],
        }
    )
    assert rows_digest(rows) == by_hand(
        2,
        (b"count", b"i", struct.pack("<2q", 3, -1)),
        (b"sure", b"b", b"\1\0"),
        (b"value", b"f", struct.pack("<2d", 1.5, float("nan"))),
        (b"word", b"t", struct.pack("<2Q", 2, 0) + "é".encode()),
    )
    assert rows_digest(rows[rows.columns[::-1]]) == rows_digest(rows)
    assert rows_digest(rows.set_axis([5, 9])) == rows_digest(rows)


def test_what_means_the_same_has_one_digest_and_the_table_stays_as_it_was():
    rows = pd.DataFrame({"a": [0.0, np.nan], "b": ["", "x"]})
    for same in (
        rows.assign(a=[-0.0, np.nan]),
        rows.assign(a=[0.0, np.uint64(0xFFF8000000000001).view(np.float64)]),
        rows.assign(a=rows["a"].astype("float32")),
        rows.assign(b=[None, "x"]),
        rows.assign(b=[float("nan"), "x"]),
        rows.assign(b=pd.Series([pd.NA, "x"], dtype="string")),
        rows.assign(b=rows["b"].astype("category")),
    ):
        assert rows_digest(same) == rows_digest(rows)
    negative = pd.DataFrame({"a": [-0.0]})
    rows_digest(negative)
    assert np.signbit(negative["a"].to_numpy()).all()


@pytest.mark.parametrize(
    "other",
    [
        {"a": [0.0, 1.0], "b": ["", "x"]},
        {"a": [0.0, np.nan], "b": ["x", ""]},
        {"a": [0.0, np.nan], "c": ["", "x"]},
        {"a": ["0.0", "nan"], "b": ["", "x"]},
        {"a": [0.0], "b": [""]},
    ],
)
def test_what_means_something_else_has_another(other):
    assert rows_digest(pd.DataFrame(other)) != rows_digest(
        pd.DataFrame({"a": [0.0, np.nan], "b": ["", "x"]})
    )
