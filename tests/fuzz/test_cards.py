"""Cards and tracks: whatever a table holds, it becomes a card or an explained refusal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.contracts.tables import LARGEST_TABLE, parse_table, read_table
from msibench.datasets import Card, card_from_table, dataset_digest
from msibench.errors import ConfigurationError, MSIBenchError
from msibench.tracks import Track, track_as_text, track_from_text
from tests.fuzz.texts import TEXT, VALUES, fuzz, mutated

CARD = {
    "schema_version": 1, "name": "toy", "title": "A toy", "tissue": "none", "pixel_size_um": 10.0,
    "unit": "counts", "declared_range": 255, "counts": True, "tasks": ["single-image"],
    "protocols": ["area-x4@1"], "default_mz_set": "three",
    "sections": {"train": ["a"], "test": ["b"]},
    "mz_sets": {"three": {"mz": [500.0, 600.5], "ppm": 5.0, "source": "nobody"}},
    "files": [{"name": "a.npz", "role": "section", "section": "a", "url": "https://x.org/a",
               "sha256": "0" * 64, "size": 10}],
    "parameters": {"rows": 48},
}  # fmt: skip
TRACK = {
    "schema_version": 1, "name": "toy", "title": "t", "seeds": [0, 1], "metrics": ["psnr"],
    "methods": ["bicubic", {"method": "x", "label": "y", "config": {"a": 1}}],
    "problems": [{"dataset": "toy", "protocols": ["area-x4@1"], "sections": ["a"]}],
    "limits": {"timeout_s": 3, "memory_gb": 1.5}, "required_coverage": 0.5,
}  # fmt: skip


@fuzz
@given(mutated(CARD))
def test_a_table_is_a_card_or_is_refused(table):
    try:
        card = card_from_table(table, folder=Path("/nowhere/toy"))
    except MSIBenchError as error:
        assert isinstance(error, ConfigurationError)
        assert str(error)
        return
    assert isinstance(card, Card)
    assert not any(part in card.name for part in ("/", "\\", "\0"))
    assert all(isinstance(name, str) for name in card.sections)
    for section in card.sections:
        dataset_digest(card, section)
        card.files_of(section)


def as_toml(value):
    """Write what TOML can hold; None where it cannot."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(as_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{json.dumps(str(k))} = {as_toml(v)}" for k, v in value.items()) + "}"
        )
    return '"none"'


@fuzz
@given(mutated(TRACK))
def test_a_text_is_a_track_or_is_refused_and_a_track_reads_back(table):
    table = table if isinstance(table, dict) else {}
    text = "\n".join(f"{json.dumps(str(key))} = {as_toml(value)}" for key, value in table.items())
    try:
        track = track_from_text(text, None, "fuzz")
    except ConfigurationError as error:
        assert "fuzz" in str(error)
        return
    assert isinstance(track, Track)
    again = track_from_text(track_as_text(track), None, "again")
    assert (again.name, again.metrics, again.problems[0].dataset) == (
        track.name, track.metrics, track.problems[0].dataset,
    )  # fmt: skip


@fuzz
@given(st.one_of(TEXT, st.text(alphabet='[]{}=".\n#a1,', max_size=60), VALUES.map(str)))
def test_any_text_is_toml_or_is_refused(text):
    try:
        assert isinstance(parse_table(text, "fuzz"), dict)
    except ConfigurationError as error:
        assert str(error).startswith("fuzz is not TOML")


def test_toml_that_is_nested_or_long_without_end_is_refused(tmp_path):
    texts = [
        "a = " + "[" * 100_000,
        "a = " + "{a = " * 50_000,
        "a." * 50_000 + "a = 1",
        "[" + "a . " * 50_000 + "a]",
        '"a".' * 50_000 + "a = 1",
        "a=" + "9" * 9999,
    ]
    for text in texts:
        with pytest.raises(ConfigurationError):
            parse_table(text, "x")
    numbers = ", ".join(f"{n}.5" for n in range(5000))
    assert len(parse_table(f"mz = [{numbers}]", "x")["mz"]) == 5000
    path = tmp_path / "card.toml"
    path.write_bytes(b"# " + b"x" * LARGEST_TABLE)
    with pytest.raises(ConfigurationError, match="larger than"):
        read_table(path)
    path.write_text("a = 1\na = 2\n")
    with pytest.raises(ConfigurationError, match="not TOML"):
        read_table(path)
