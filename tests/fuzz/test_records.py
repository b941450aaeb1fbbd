"""Records: a stranger's is read and reads back, or is refused with its name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.errors import MSIBenchError
from msibench.gate.untrusted_cells import check_record
from msibench.leaderboard.rows import rows_of_cells, tidy
from msibench.leaderboard.sound_records import check_shown
from msibench.results.keys import digest_of, plain
from msibench.results.metric_rows import rows_as_parquet
from msibench.results.schema import CellRecord, Status, record_from_json
from tests.fuzz.texts import SCALARS, fuzz, mutated

SOUND = json.loads(
    CellRecord(
        key="0" * 64,
        key_document={"schema": 1, "method": {"label": "bicubic"}, "problem": {"dataset": "toy"}},
        status=Status.OK,
        method="bicubic",
        dataset="toy",
        section="a",
        protocol="area-x4@1",
        mz_set="all",
        seed=0,
        mz=(500.0, None),
        channel_names=("m/z 500", "b"),
        timings={"upscale": 1.0},
        peaks={"rss": 10.0},
        files={"metrics.parquet": "0" * 64},
        scores={"psnr@image": "0" * 64},
        method_facts={"task": "single-image"},
        provenance={"host": "here"},
    ).to_json()
)


def signed(document):
    """Return a forged record whose own digest fits, where it can have one."""
    if isinstance(document, dict):
        document = {name: value for name, value in document.items() if name != "record_digest"}
        try:
            document["record_digest"] = digest_of(plain(document))
        except (ValueError, TypeError):
            document["record_digest"] = ""
    return json.dumps(document)


@fuzz
@given(mutated(SOUND), st.booleans())
def test_a_record_reads_back_or_is_refused(document, forged):
    text = signed(document) if forged else json.dumps(document)
    try:
        record = record_from_json(text, "fuzz/record.json")
    except MSIBenchError as error:
        assert "fuzz/record.json" in str(error)
        return
    again = record_from_json(record.to_json(), "again")
    assert again.to_json() == record.to_json()


@fuzz
@given(mutated(SOUND))
def test_a_record_of_another_results_folder_becomes_rows_or_is_refused(document):
    try:
        record = record_from_json(signed(document), "fuzz/record.json")
        check_shown(record)
    except MSIBenchError as error:
        assert len(str(error)) < 2000
        return
    rows = tidy(rows_of_cells([(record, None, record.origin)]))
    assert len(rows) == 1
    rows_as_parquet(rows)


@pytest.mark.parametrize(("name", "value"), [("status", "x" * 5000), ("key", []), ("seed", "1")])
def test_what_other_values_a_record_holds_is_told_in_short(name, value):
    with pytest.raises(MSIBenchError) as caught:
        check_shown(record_from_json(signed({**SOUND, name: value}), "fuzz/record.json"))
    assert len(str(caught.value)) < 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cell")


@fuzz
@given(document=mutated(SOUND))
def test_a_strangers_record_is_sound_or_refused(folder, document):
    (folder / "record.json").write_text(signed(document), encoding="utf-8", errors="surrogatepass")
    try:
        record = check_record(folder, "0" * 64)
    except MSIBenchError as error:
        assert "record.json" in str(error)
        return
    record.to_json().encode()


@fuzz
@given(
    st.one_of(st.text(max_size=40), st.text(alphabet='{}[]":,1e9-', max_size=60), SCALARS.map(str))
)
def test_any_text_is_a_record_or_is_refused(text):
    with pytest.raises(MSIBenchError, match="fuzz"):
        record_from_json(text, "fuzz")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, '{"schema_version": ' + "9" * 5000 + "}", "\ud800", ""],
)
def test_records_nested_or_long_without_end_are_refused(text):
    with pytest.raises(MSIBenchError, match="fuzz"):
        record_from_json(text, "fuzz")
