"""Landmarks and transforms from elsewhere: valid points, or a refusal that costs little."""

from __future__ import annotations

import json
import os

import pytest

LANDMARKS = "msibench.registration:read_bigwarp"
TRANSFORM = "bounded:read_transform"


def lines(count, cell="1"):
    return "\n".join(f'"Pt-{n}","true",{n},{n % 7},{cell},{n % 5}' for n in range(count))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (lines(5001), "at most 5000"),
        ("x" * ((2 << 20) + 1), "larger than"),
        ("," * (2 << 20), "no landmark"),
        ("\n" * (1 << 20), "no landmark"),
        (lines(4, "x" * 200_000), "field"),
        (lines(4, '"' + "\n" * 300_000), "columns"),
        (lines(4, "=1+1"), "expected a coordinate"),
        (lines(4, "=HYPERLINK(\"x\")"), ""),
        (lines(4, "1e308"), "expected a coordinate"),
        (lines(4, "9" * 50), "expected a coordinate"),
        (lines(4, "\x1b[31m"), "expected a coordinate"),
        ("a,b,c,d,e,f", "true or false"),
        ('{"a": 1}', "JSON project"),
        ("", "no landmark"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_odd_landmarks_are_refused(refused, tmp_path, text, named):
    path = tmp_path / "l.csv"
    path.write_text(text)
    refused(LANDMARKS, path, names=named, memory_mib=256)


def test_points_that_are_not_set_are_read_and_not_used(bounded, tmp_path):
    path = tmp_path / "l.csv"
    path.write_text(lines(3) + "\n" + lines(1, "NaN") + "\n" + lines(1, "Infinity"))
    ended = bounded("bounded:usable_landmarks", path)
    assert ended.value == "3", ended


def kind(name, **parameters):
    return {"schema_version": 1, "kind": name, "parameters": parameters}


NET = {"coefficients": [[[0.0] * 4] * 4] * 2, "origin": [0, 0], "spacing": [8, 8]}
CORNERS = [[0, 0], [0, 9], [9, 0], [9, 9]]


@pytest.mark.parametrize(
    "document",
    [
        {"A": [["1", 0], [0, 1]], "b": [0, 0, 0]},
        {"A": [[1, 0], [0, float("nan")]], "b": [0, 0]},
        {"A": [[1, 0], [0, 10**400]], "b": [0, 0]},
        {"A": [[1, 0], [0, 1e200]], "b": [0, 0]},
        {"A": [[1, 0], [0, None]], "b": [0, 0]},
        {"A": [[1, 0], [0]], "b": [0, 0]},
        {"A": [[0] * 300] * 300, "b": [0, 0]},
        {"A": "1", "b": {"0": 1}},
        {"schema_version": 1, "kind": ["affine"], "parameters": {}},
        {"schema_version": 1, "kind": "x" * 1_000_000, "parameters": {}},
        {"schema_version": "9" * 1_000_000, "kind": "affine"},
        {"schema_version": 1, "kind": "affine", "parameters": [1]},
        kind("bspline", **NET | {"spacing": [0, 8]}),
        kind("bspline", **NET | {"spacing": [float("inf"), 8]}),
        kind("bspline", **NET | {"origin": [float("nan"), 8]}),
        kind("bspline", **NET | {"coefficients": [[[0.0] * 4] * 3] * 2}),
        kind("thin-plate", moving=CORNERS, fixed=[[0, 0]] * 4),
        kind("thin-plate", moving=CORNERS, fixed=CORNERS[:3]),
        kind("thin-plate", moving=[[n, n * n % 97] for n in range(6000)],
             fixed=[[n, n * n % 89] for n in range(6000)]),
        kind("shift", shift=[[0, 0]] * 5),
        kind("composite", transforms=7),
        kind("composite", transforms=[kind("composite", transforms=[3])]),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
def test_odd_transforms_are_refused(refused, tmp_path, document):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(document))
    refused(TRANSFORM, path, memory_mib=512)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, '{"A": ' + "9" * 5000 + "}", "[]," * (2 << 20), "x" * ((16 << 20) + 1),
     '{"schema_version": 1, "kind": "composite", "parameters": {"transforms": [' * 200, "\udcff", ""],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_transforms_nested_or_long_without_end_are_refused(refused, tmp_path, text):
    path = tmp_path / "t.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(TRANSFORM, path, names="t.json", memory_mib=512)


def test_a_pipe_is_no_file(refused, tmp_path):
    os.mkfifo(tmp_path / "t.json")
    refused(TRANSFORM, tmp_path / "t.json", names="there is no")
    refused(LANDMARKS, tmp_path / "t.json", names="there is no")
