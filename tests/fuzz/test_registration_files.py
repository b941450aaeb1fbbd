"""Transforms and landmarks: whatever a file holds, points come of it or an explained refusal."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.errors import MSIBenchError
from msibench.registration import read_bigwarp
from msibench.registration.file_guard import parse_json
from msibench.registration.transform import from_document
from tests.fuzz.texts import TEXT, fuzz, mutated

AFFINE = {"A": [[1.0, 0.1], [0.0, 0.9]], "b": [3, -4.5]}
NET = {
    "schema_version": 1, "kind": "bspline", "parameters": {
        "coefficients": [[[0.5] * 4] * 4] * 2, "origin": [0, 0], "spacing": [8, 8.5],
    },
}  # fmt: skip
PLATE = {
    "schema_version": 1, "kind": "thin-plate", "parameters": {
        "moving": [[0, 0], [0, 9], [9, 0], [8, 9]], "fixed": [[1, 0], [0, 10], [9, 1], [9, 9]],
    },
}  # fmt: skip
CHAIN = {
    "schema_version": 1,
    "kind": "composite",
    "parameters": {"transforms": [AFFINE, NET, PLATE]},
}


@fuzz
@given(st.sampled_from([AFFINE, NET, PLATE, CHAIN]).flatmap(mutated))
def test_a_document_is_a_map_of_points_or_is_refused(document):
    try:
        found = from_document(parse_json(json.dumps(document), "fuzz"), "fuzz")
    except MSIBenchError as error:
        assert len(str(error)) < 1000
        return
    assert np.asarray(found([[0.0, 1.0], [3.0, 2.0]])).shape == (2, 2)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("landmarks") / "l.csv"


CELL = st.one_of(
    TEXT, st.floats().map(str), st.integers().map(str), st.sampled_from(["true", "false", '"', ","])
)
ROW = st.one_of(
    st.lists(CELL, max_size=9).map(",".join),
    st.tuples(TEXT, st.sampled_from(["true", "false", "1"]), CELL, CELL, CELL, CELL).map(",".join),
    st.tuples(*[st.integers(-99, 99).map(str)] * 4).map(
        lambda four: ",".join(["a", "true", *four])
    ),
)


@fuzz
@given(rows=st.lists(ROW, max_size=5))
def test_a_text_is_landmarks_or_is_refused(file, rows):
    file.write_bytes("\n".join(rows).encode("utf-8", "surrogatepass"))
    try:
        found = read_bigwarp(file)
    except MSIBenchError as error:
        assert "l.csv" in str(error)
        assert len(str(error)) < 1000
        return
    usable = found.usable()
    assert np.isfinite(usable.moving).all()
    assert len(usable) <= len(found)
