"""Bundles: whatever an archive holds, it is added whole or refused, and nothing is left behind."""

from __future__ import annotations

import hashlib
import io
import json
import random
import warnings
import zipfile

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.errors import MSIBenchError
from msibench.gate.bundle import write_bundle
from msibench.gate.receive import receive
from msibench.results.schema import record_from_json
from msibench.results.store import Store
from tests.fuzz.texts import TEXT, fuzz, mutated
from tests.gate.conftest import catalogue, measured, small_card  # noqa: F401


@pytest.fixture(scope="module")
def bundle(measured, tmp_path_factory):  # noqa: F811
    path = tmp_path_factory.mktemp("bundle") / "tiny.zip"
    write_bundle(measured.store, "tiny", path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    return Store.open(tmp_path_factory.mktemp("elsewhere") / "results")


@pytest.fixture(autouse=True)
def calm():
    """A warning that a library gives once only would make one case end in two ways."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def take(store, raw, metrics):
    """Receive a bundle; a refusal is explained and leaves the store as it was."""
    path = store.root.parent / "stranger.zip"
    path.write_bytes(raw)
    before = sorted(str(p) for p in store.root.rglob("*"))
    try:
        receive(store, path, metrics)
    except MSIBenchError as error:
        assert str(error)
        assert sorted(str(p) for p in store.root.rglob("*")) == before
        return False
    return True


def zipped(members, compress=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compress) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo("x")
            member.filename, member.compress_type = name, compress  # as it is, a NUL too
            archive.writestr(member, content)
    return out.getvalue()


def fitted(members):
    """Make the manifest fit the members, as a careful forger would."""
    try:
        manifest = json.loads(members["bundle.json"])
        manifest["files"] = {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            for name, content in members.items()
            if name != "bundle.json"
        }
        members["bundle.json"] = json.dumps(manifest).encode()
    except (ValueError, TypeError, KeyError):
        pass
    return members


@fuzz
@given(seed=st.integers(0, 2**32), flips=st.integers(1, 12))
def test_bits_flipped_anywhere_are_refused_or_harmless(bundle, elsewhere, seed, flips):
    raw = bytearray(zipped(bundle, zipfile.ZIP_DEFLATED))
    chance = random.Random(seed)
    for _ in range(flips):
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    if chance.random() < 0.2:
        del raw[chance.randrange(len(raw)) :]
    take(elsewhere, bytes(raw), {})


@fuzz
@given(data=st.data(), fit=st.booleans())
def test_forged_documents_are_refused_or_added(bundle, elsewhere, data, fit):
    members = dict(bundle)
    names = [name for name in members if name.endswith(".json")]
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3)):
        document = data.draw(mutated(json.loads(bundle[name])))
        text = json.dumps(document)
        if name != "bundle.json" and data.draw(st.booleans()):
            text = _signed(document, text)
        members[name] = text.encode()
    if data.draw(st.booleans()):
        members[data.draw(TEXT).encode("utf-8", "replace").decode() or "x"] = b"x"
    take(elsewhere, zipped(fitted(members) if fit else members), {})


def _signed(document, text):
    from msibench.results.keys import digest_of, plain

    if isinstance(document, dict):
        document.pop("record_digest", None)
        try:
            document["record_digest"] = digest_of(plain(document))
            return json.dumps(document)
        except (ValueError, TypeError):
            return text
    return text


@fuzz
@given(data=st.data())
def test_forged_rows_are_refused_or_added(bundle, elsewhere, data, catalogue):  # noqa: F811
    name = next(name for name in sorted(bundle) if name.endswith("metrics.parquet"))
    rows = pd.read_parquet(io.BytesIO(bundle[name]))
    kind = data.draw(st.sampled_from(["cell", "column", "rows", "type", "text"]))
    if kind == "cell":
        column = data.draw(st.sampled_from(list(rows.columns)))
        rows[column] = rows[column].astype(object)
        rows.loc[data.draw(st.integers(0, len(rows) - 1)), column] = data.draw(
            st.one_of(TEXT.filter(lambda t: "\ud800" not in t and t.isprintable()), st.none())
        )
        rows[column] = rows[column].astype(str)
    elif kind == "column":
        rows = rows.rename(columns={data.draw(st.sampled_from(list(rows.columns))): "other"})
    elif kind == "rows":
        rows = pd.concat([rows] * data.draw(st.integers(0, 3)) or [rows[:0]])
    elif kind == "type":
        column = data.draw(st.sampled_from(list(rows.columns)))
        rows[column] = pd.Series([[1, 2]] * len(rows))
    else:
        rows["reason"] = "x" * data.draw(st.sampled_from([1, 20_001, 300_000]))
    out = io.BytesIO()
    rows.to_parquet(out)
    members = dict(bundle)
    members[name] = out.getvalue()
    record_name = name.replace("metrics.parquet", "record.json")
    record = record_from_json(bundle[record_name].decode(), record_name)
    from dataclasses import replace

    files = {**record.files, "metrics.parquet": hashlib.sha256(out.getvalue()).hexdigest()}
    members[record_name] = replace(record, files=files).to_json().encode()
    take(elsewhere, zipped(fitted(members)), catalogue.metrics)


@fuzz
@given(st.binary(max_size=300))
def test_any_bytes_are_refused(tmp_path_factory, raw):
    store = _any_store(tmp_path_factory)
    assert not take(store, b"PK\x03\x04" + raw, {})


_stores = {}


def _any_store(factory):
    if "one" not in _stores:
        _stores["one"] = Store.open(factory.mktemp("any") / "results")
    return _stores["one"]
