"""Whatever happens to a file of a results folder: it is found and named, and the word says what to do."""

import json
import os
import random
import shutil
import time
from contextlib import suppress

import pytest

from msibench.cli.main import main
from msibench.errors import IntegrityError, MSIBenchError, NewerSchemaError, SchemaError, StoreError
from msibench.results import leases
from msibench.results.index import index_path, read_index, set_index_aside
from msibench.results.keys import digest_of
from msibench.results.schema import SCHEMA_VERSION, record_from_json
from msibench.results.store import METRICS, PREDICTION, RECORD, Store, check_store_schema
from msibench.runner.problems.staged_files import staged_fault

TRACK = """
schema_version = 1
name = "small"
metrics = ["psnr"]
control_method = "nearest"
[[methods]]
method = "nearest"
[[problems]]
dataset = "phantom"
protocols = ["area-x4@1"]
sections = ["synthetic-1"]
mz = [417.2402, 616.1773, 703.5748, 734.5694]
"""
CELL_FILES = [RECORD, METRICS, PREDICTION]
STAGED_FILES = ["problem.h5", "section.h5", "digests.json"]
FILES = [*CELL_FILES, *STAGED_FILES, "store.json", "small.json"]


def flip(path, at):
    """Turn one bit of a file over."""
    raw = bytearray(path.read_bytes())
    raw[at // 8 % len(raw)] ^= 1 << at % 8
    path.write_bytes(raw)


def damage(path, how):
    if how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "flipped":
        flip(path, 8 * (path.stat().st_size // 2) + 1)
    elif how == "other bytes":
        path.write_bytes(b"\\x89HDF\\r\\n\\x1a\\n" + bytes(range(256)) * 4)
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.unlink()


def command(*arguments):
    """Run the command line in this process; return its exit status."""
    try:
        main([str(part) for part in arguments])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A track of one cell that was run by the command line."""
    place = tmp_path_factory.mktemp("measured")
    (place / "track").mkdir()
    (place / "track" / "track.toml").write_text(TRACK)
    assert command("run", place / "track", "--results", place / "results", "--json") == 0
    return place


@pytest.fixture
def place(measured, tmp_path):
    shutil.copytree(measured, tmp_path / "copy")
    return tmp_path / "copy"


def the(name, place):
    (path,) = [
        p for p in (place / "results").rglob(name) if not {"leaderboards", "seen"} & set(p.parts)
    ]
    return path


# -- every command -----------------------------------------------------------------------------

SILENT = {  # what a command does not read, it cannot find
    "status": {"problem.h5", "section.h5", "digests.json"},
    "leaderboard": {PREDICTION, "problem.h5", "section.h5", "digests.json"},
    "score": {"problem.h5", "digests.json"},
    "verify": set(),
}
CODES = {**dict.fromkeys(FILES, 7), "store.json": 2, "small.json": 2}
"""Exit codes; status shows damage and measures nothing: always 0 where the store can be opened."""
REMEDIES = ("msibench run", "msibench score", "remove it", "remove that file")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[pytest.mark.slow] if name in {"problem.h5", "digests.json"} else []
        )
        for name in FILES
    ],
)
@pytest.mark.parametrize("how", ["flipped", pytest.param("empty", marks=pytest.mark.slow),
                                 pytest.param("truncated", marks=pytest.mark.slow),
                                 pytest.param("removed", marks=pytest.mark.slow)])  # fmt: skip
def test_every_command_names_the_file_and_what_to_do(place, capsys, name, how):
    path = the(name, place)
    damage(path, how)
    gone = how == "removed" and name in {RECORD, "store.json", "small.json", "section.h5"}
    for verb, silent in SILENT.items():
        force = ("--all",) if verb == "score" else ()
        code = command(verb, place / "track", "--results", place / "results", *force)
        said = "".join(capsys.readouterr())
        assert "internal error" not in said
        assert "Traceback" not in said
        if name in silent or gone:
            continue
        if name == METRICS and verb in {"score", "verify"}:
            assert code == 0  # scored again, and sound since
            continue
        assert str(path) in said, verb
        assert any(words in said for words in REMEDIES), (verb, said)
        expected = 7 if verb == "verify" else CODES[name]  # whatever was changed, verify says 7
        assert code == (0 if verb == "status" and expected == 7 else expected), verb


@pytest.mark.parametrize("name", ["small.json", "section.h5"])
def test_a_run_sets_what_is_damaged_aside_and_mends_it(place, capsys, name):
    path = the(name, place)
    before = path.read_bytes()
    damage(path, "truncated")
    assert command("run", place / "track", "--results", place / "results", "--events") == 0
    said = "".join(capsys.readouterr())
    assert "set aside in" in said
    if name == "small.json":  # it says where its results and its track lie, and this is a copy
        now, then = (json.loads(text) for text in (path.read_bytes(), before))
        for index in (now, then):
            del index["digest"], index["facts"]["results"], index["facts"]["runs"]
        assert now == then
    else:
        assert path.read_bytes() == before
    assert command("verify", place / "track", "--results", place / "results") == 0
    assert list((place / "results" / "set-aside").iterdir())


# -- every bit ---------------------------------------------------------------------------------


def look(store, name):
    """Look at everything that a run looks at before it trusts a file; return what was read."""
    store = Store.open(store.root, create=False)
    index = read_index(store, "small")
    (key,) = index.cells.values()
    record = store.record(key)
    store.check_files(record)
    fault = staged_fault(store.problem_folder(record.problem_key))
    if fault:
        raise IntegrityError(fault)
    return index, record


@pytest.mark.parametrize("flips", [60, pytest.param(3000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_found_or_changes_nothing(measured, place, name, flips):
    path = the(name, place)
    store = Store(place / "results")
    raw, sound = path.read_bytes(), look(store, name)
    chance = random.Random(name)
    for at in {chance.randrange(8 * len(raw)) for _ in range(flips)}:
        flip(path, at)
        found, error = None, None
        try:
            found = look(store, name)
        except MSIBenchError as caught:
            error = caught
        assert found == sound or str(path.parent) in str(error), f"bit {at} of {name}"
        path.write_bytes(raw)


@pytest.mark.parametrize("how", ["empty", "truncated", "other bytes", "a folder", "removed"])
@pytest.mark.parametrize("name", [*CELL_FILES[1:], *STAGED_FILES, "store.json", "small.json"])
def test_coarser_damage_is_found_and_named(place, name, how):
    path = the(name, place)
    damage(path, how)
    if how == "removed" and name in {"digests.json", "small.json"}:
        return  # older folders have no digests; a track without an index was never run here
    with pytest.raises(MSIBenchError, match=str(path.parent)):
        look(Store(place / "results"), name)


@pytest.mark.parametrize("how", ["empty", "truncated", "other bytes", "flipped"])
def test_a_damaged_lease_blocks_nobody_for_ever(tmp_path, how):
    path = tmp_path / "leases" / "cell.json"
    assert leases.acquire(path)
    damage(path, how)
    if leases.acquire(path) is None:  # taken for another machine's: until it falls silent
        old = time.time() - leases.STALE_S - 5
        os.utime(path, (old, old))
        assert leases.acquire(path)


def test_a_damaged_index_is_kept_aside(place):
    store = Store(place / "results")
    assert set_index_aside(store, "small") is None
    path = index_path(store, "small")
    path.write_text("{")
    aside = set_index_aside(store, "small")
    assert aside.read_text() == "{"
    assert not path.exists()


@pytest.mark.parametrize(
    "content",
    [
        "[]", "null", "7", '"x"', "{}", '{"cells": [], "facts": 3}', '{"cells": {"a": 5}, "facts": {}}',
        '{"cells": {"a": "../../etc"}, "facts": {}}', '{"cells": {"a": null}, "facts": {}}',
        "[" * 100_000, "\\udc80", '{"cells": {}, "facts": {}, "digest": 1}',
    ],
)  # fmt: skip
def test_an_index_of_another_shape_is_refused(place, content):
    store = Store(place / "results")
    index_path(store, "small").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(StoreError, match="remove it and run the track again"):
        read_index(store, "small")


def test_an_index_from_before_there_were_digests_is_read(place):
    store = Store(place / "results")
    found = json.loads(index_path(store, "small").read_text())
    del found["digest"]
    index_path(store, "small").write_text(json.dumps(found))
    assert read_index(store, "small").cells == found["cells"]


# -- schemas -----------------------------------------------------------------------------------


def rewritten(place, **changes):
    """Return the text of a record as another version would have written it: its own digest fits."""
    facts = json.loads(the(RECORD, place).read_text())
    del facts["record_digest"]
    facts.update(changes)
    return json.dumps({**facts, "record_digest": digest_of(facts)})


def test_an_older_record_is_refused_with_what_to_do(place):
    text = rewritten(place, schema_version=SCHEMA_VERSION - 1)
    with pytest.raises(SchemaError, match="msibench run sets the cell aside and makes it again"):
        record_from_json(text, "record.json")


def test_a_newer_record_is_never_set_aside(place, capsys):
    path = the(RECORD, place)
    text = rewritten(place, schema_version=SCHEMA_VERSION + 1, a_new_field={"x": 1})
    path.write_text(text)
    assert command("run", place / "track", "--results", place / "results", "--json") == 2
    said = capsys.readouterr().err
    assert str(path) in said
    assert "install a newer msibench" in said
    assert path.read_text() == text


def test_a_flipped_bit_in_the_schema_number_is_damage_not_a_newer_version(place):
    text = the(RECORD, place).read_text()
    for number in (SCHEMA_VERSION + 2, SCHEMA_VERSION - 1):
        changed = text.replace(f'"schema_version": {SCHEMA_VERSION}', f'"schema_version": {number}')
        with pytest.raises(IntegrityError, match="was changed after it was written"):
            record_from_json(changed, "record.json")


def test_a_record_with_fields_that_are_not_known_yet_is_read(place):
    record = record_from_json(rewritten(place, remark="of a later release"), "record.json")
    assert record.method == "nearest"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (SCHEMA_VERSION - 1, "older msibench"),
        (SCHEMA_VERSION + 1, "newer msibench"),
        (True, "newer"),
        (-1, "newer"),
        ("1", "newer"),
        (None, "newer"),
        (1.0, "newer"),
    ],
)
def test_a_store_of_another_schema_is_refused_with_what_to_do(tmp_path, schema, said):
    with pytest.raises(SchemaError, match=said) as caught:
        check_store_schema(schema, tmp_path)
    assert "--results" in str(caught.value)


def test_newer_is_a_kind_of_schema_error():
    assert issubclass(NewerSchemaError, SchemaError)
    with suppress(SchemaError):
        raise NewerSchemaError


# -- clocks ------------------------------------------------------------------------------------

DAY = 86_400.0


@pytest.mark.parametrize("jump", [-1000 * DAY, -DAY, DAY, 1000 * DAY])
def test_a_clock_that_jumps_takes_no_living_lease(tmp_path, monkeypatch, jump):
    ours, foreign = tmp_path / "leases" / "ours.json", tmp_path / "leases" / "foreign.json"
    assert leases.acquire(ours)
    foreign.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "t"}))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    assert leases.acquire(ours) is None
    assert leases.acquire(foreign) is None
    assert not leases.is_stale(ours)


def test_a_lease_from_the_future_does_not_block_for_ever(tmp_path):
    path = tmp_path / "leases" / "cell.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "t"}))
    future = time.time() + 1000 * DAY
    os.utime(path, (future, future))
    assert leases.acquire(path) is None
    assert abs(path.stat().st_mtime - time.time()) < 60  # its silence counts from now on
    old = time.time() - leases.STALE_S - 5
    os.utime(path, (old, old))
    assert leases.acquire(path)


def test_a_process_number_that_is_used_again_is_not_its_first_owner(tmp_path):
    path = tmp_path / "leases" / "cell.json"
    assert leases.acquire(path)
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "started": facts["started"] - 100}))
    assert leases.is_stale(path)
    assert leases.acquire(path)


def test_a_process_of_another_container_is_judged_by_its_heartbeat_alone(tmp_path):
    path = tmp_path / "leases" / "cell.json"
    assert leases.acquire(path)
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "place": "same host, other namespace", "pid": 4_194_303}))
    assert not leases.is_stale(path)
