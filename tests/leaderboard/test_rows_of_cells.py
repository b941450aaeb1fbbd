"""Rows of many cells are those of each cell, one after another."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from msibench.leaderboard.rows import COLUMNS, VALUE_COLUMNS, rows_of_cells, tidy
from msibench.results.schema import CellRecord, Status


def record(number, **changes):
    found = CellRecord(
        key=f"{number:064x}", key_document={}, status=Status.OK, method=f"m{number}", dataset="d",
        section="s", protocol="area-x4@1", mz_set="all", seed=number, control="", device="cpu",
        mz=(400.0, None), timings={"upscale": 3.0 * number, "fit": 1.0}, peaks={"rss": 10.0},
        provenance={"sandbox": "namespaces"}, method_facts={"task": "guided", "control": True},
    )  # fmt: skip
    return replace(found, **changes)


def table(number, rows=2, kinds=None):
    frame = pd.DataFrame(
        {
            "channel": np.arange(rows, dtype=np.int32),
            "mz": np.linspace(400, 500, rows),
            "metric": [f"metric-{i % 2}" for i in range(rows)],
            "metric_version": np.int32(1),
            "region": "image",
            "direction": "higher",
            "value": np.arange(rows) + 10.0 * number,
            "reason": ["", *("µ is undefined" for _ in range(rows - 1))],
        }
    )
    return pa.Table.from_pandas(frame, schema=kinds, preserve_index=False)


def test_one_by_one_and_together_they_are_the_same():
    parts = [
        (record(1), table(1, 5), "measured"),
        (record(2, status=Status.TIMEOUT, reason="ran long"), table(2), "measured"),
        (record(3), None, "self-reported"),
        (record(4, mz=(), timings={}, peaks={"vram": 2.0}), table(4, 1), "measured"),
        (record(5), table(5, 0 + 3), "measured"),
    ]
    together = tidy(rows_of_cells(parts))
    apart = tidy(pd.concat([rows_of_cells([part]) for part in parts], ignore_index=True))
    pd.testing.assert_frame_equal(together, apart)
    assert list(together.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert together.groupby("method").size().to_dict() == {
        "m1": 5,
        "m2": 1,
        "m3": 1,
        "m4": 1,
        "m5": 3,
    }
    ended = together[together["method"] == "m2"].iloc[0]
    assert (ended["metric"], ended["status"], ended["status_reason"]) == ("", "timeout", "ran long")
    assert np.isnan(ended["value"])
    first = together[together["method"] == "m1"]
    assert first["value"].tolist() == [10.0, 12.0, 14.0, 11.0, 13.0]
    assert (first["seconds_per_image"] == 2.0).all()
    assert together[together["method"] == "m4"]["seconds_per_image"].isna().all()


def test_rows_that_another_library_wrote_are_the_same_rows():
    """Texts as dictionaries or large strings, and numbers of another width."""
    wide = pa.schema(
        [
            ("channel", pa.int64()), ("mz", pa.float64()), ("metric", pa.large_string()),
            ("metric_version", pa.int64()), ("region", pa.dictionary(pa.int32(), pa.string())),
            ("direction", pa.large_string()), ("value", pa.float64()), ("reason", pa.string()),
        ]
    )  # fmt: skip
    one, other = (tidy(rows_of_cells([(record(1), t, "measured"), (record(2), table(2), "measured")]))
                  for t in (table(1, 4), table(1, 4, wide)))  # fmt: skip
    pd.testing.assert_frame_equal(one, other)


def test_a_table_that_lacks_a_column_is_refused():
    with pytest.raises(KeyError):
        rows_of_cells([(record(1), table(1).drop_columns([VALUE_COLUMNS[0]]), "measured")])


def test_without_cells_there_are_the_columns():
    assert set(COLUMNS) <= set(rows_of_cells([]).columns)
