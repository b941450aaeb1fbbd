"""Bundles and grown boards part by part, on archives, records and rows made by hand."""

import hashlib
import json
import math
import stat
import zipfile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from msibench.degradation import protocol
from msibench.errors import ConfigurationError, DataError, IntegrityError, SchemaError
from msibench.gate import archive, bundle, grow, receive
from msibench.gate.archive import BundleLimits, unpack
from msibench.gate.labels import contradictions, differs_from_problem, lacking_metrics
from msibench.results.keys import KEY_SCHEMA, digest_of, key_of
from msibench.results.schema import CellRecord, Status
from tests.gate.tables import rows_of

KEY = "ab" * 32
RECORD = f"cells/{KEY}/record.json"


# -- archives ----------------------------------------------------------------------------------


def manifest_of(members, **changes):
    files = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in members.items()
    }
    return {"schema_version": 1, "track": "small", "facts": {}, "files": files, **changes}


def packed(path, members, manifest=None, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as target:
        target.writestr("bundle.json", json.dumps(manifest or manifest_of(members)))
        for name, content in members.items():
            target.writestr(name, content)
    return path


def test_what_is_unpacked_is_what_was_packed(tmp_path):
    members = {RECORD: b"{}", "rows.parquet": bytes(range(256)) * 9000}  # more than one piece
    found = unpack(packed(tmp_path / "a.zip", members), tmp_path / "out")
    assert (found.track, found.track_facts, found.keys) == ("small", {}, [KEY])
    assert found.files == {
        name: (hashlib.sha256(content).hexdigest(), len(content))
        for name, content in members.items()
    }
    for name, content in members.items():
        assert (tmp_path / "out" / name).read_bytes() == content
    assert not (tmp_path / "out" / "bundle.json").exists()
    with pytest.raises(DataError, match=r"none\.zip cannot be read or unpacked"):
        unpack(tmp_path / "none.zip", tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"schema_version": 2}, SchemaError, "schema 2, this msibench reads 1"),
        ({"track": ".hidden"}, IntegrityError, "cannot be the name of a track"),
        ({"track": "a" * 101}, IntegrityError, "cannot be the name of a track"),
        ({"track": None}, IntegrityError, "cannot be the name of a track"),
        ({"facts": None}, DataError, "must be objects"),
        ({"files": []}, DataError, "must be objects"),
        ({"files": {RECORD: 3}}, DataError, "needs sha256 and size"),
        ({"files": {RECORD: {"sha256": "0" * 64, "size": True}}}, DataError, "needs sha256"),
        ({"files": {RECORD: {"sha256": "0" * 64, "size": 2.0}}}, DataError, "needs sha256"),
        ({"files": {RECORD: {"sha256": "0" * 63, "size": 2}}}, DataError, "needs sha256"),
        ({"files": {RECORD: {"sha256": 0, "size": 2}}}, DataError, "needs sha256"),
        ({"files": {RECORD: {"sha256": "0" * 64, "size": 2}}}, IntegrityError, "digest differs"),
        ({"files": {RECORD: {"sha256": "0" * 64, "size": 3}}}, IntegrityError, "differs in size"),
        ({"files": {}}, IntegrityError, "1 members and bundle.json do not agree"),
    ],
)
def test_a_manifest_with_one_fault_is_refused_for_it(tmp_path, changes, error, said):
    members = {RECORD: b"{}"}
    path = packed(tmp_path / "a.zip", members, manifest_of(members, **changes))
    with pytest.raises(error, match=said):
        unpack(path, tmp_path / "out")


def test_a_manifest_that_is_not_a_table_is_refused(tmp_path):
    for text, said in (("[]", "must be an object"), ("{", "is not JSON")):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as target:
            target.writestr("bundle.json", text)
        with pytest.raises(DataError, match=said):
            unpack(tmp_path / "a.zip", tmp_path / "out")
    assert packed(tmp_path / "b.zip", {}, manifest_of({}, track="a" * 100))
    assert unpack(tmp_path / "b.zip", tmp_path / "out").track == "a" * 100


def member(name=RECORD, size=100, packed_size=100, **facts):
    info = zipfile.ZipInfo(name)
    info.file_size, info.compress_size = size, packed_size
    for fact, value in facts.items():
        setattr(info, fact, value)
    return info


MIB = 1 << 20


@pytest.mark.parametrize(
    ("members", "limits", "said"),
    [
        ([member(external_attr=0)], {}, ""),
        ([member(external_attr=(stat.S_IFREG | 0o600) << 16)], {}, ""),
        ([member(external_attr=(stat.S_IFLNK | 0o777) << 16)], {}, "a link or a special file"),
        ([member(external_attr=(stat.S_IFDIR | 0o777) << 16)], {}, "a link or a special file"),
        ([member(), member()], {}, "appears twice"),
        ([member(flag_bits=0x1)], {}, "is encrypted"),
        ([member(flag_bits=0x800)], {}, ""),
        ([member(compress_type=zipfile.ZIP_DEFLATED)], {}, ""),
        ([member(compress_type=zipfile.ZIP_BZIP2)], {}, "unsupported compression"),
        ([member(orig_filename="bundle.json")], {}, "does not belong in a bundle"),
        ([member("evil.py")], {}, "does not belong in a bundle"),
        ([member(size=MIB, packed_size=1)], {}, ""),  # so little is no bomb
        ([member(size=MIB + 1, packed_size=1)], {}, "grows from 1 to"),
        ([member("rows.parquet", 300 * MIB, MIB)], {}, ""),
        ([member("rows.parquet", 300 * MIB + 1, MIB)], {}, "grows from"),
        ([member(size=64 * MIB, packed_size=MIB)], {}, ""),
        ([member(size=64 * MIB + 1, packed_size=MIB)], {}, f"more than {64 * MIB}"),
        ([member("rows.parquet", 500)], {"member_bytes": 500}, ""),
        ([member("rows.parquet", 501)], {"member_bytes": 500}, "has 501 bytes, more than 500"),
        ([member(), member("rows.parquet")], {"total_bytes": 200}, ""),
        ([member(), member("rows.parquet")], {"total_bytes": 199}, "unpacks to 200 bytes"),
        ([member(), member("rows.parquet")], {"members": 2}, ""),
        ([member(), member("rows.parquet")], {"members": 1}, "has 2 members, more than 1"),
    ],
)
def test_what_the_directory_of_an_archive_says_is_held_against_the_limits(members, limits, said):
    if not said:
        archive._check_members(members, BundleLimits(**limits))
        return
    with pytest.raises(IntegrityError, match=said):
        archive._check_members(members, BundleLimits(**limits))


def test_a_member_has_no_time_no_owner_and_is_packed_where_that_helps(tmp_path):
    path = tmp_path / "piece"
    path.write_bytes(b"12" * MIB)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as target:
        bundle._add(target, "bundle.json", b"{}")
        bundle._add(target, "rows.parquet", path)
    with zipfile.ZipFile(tmp_path / "a.zip") as made:
        text, rows = made.infolist()
        assert made.read("rows.parquet") == path.read_bytes()
    assert (text.compress_type, rows.compress_type) == (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)
    for info in (text, rows):
        assert info.date_time == (1980, 1, 1, 0, 0, 0)
        assert info.external_attr == (stat.S_IFREG | 0o644) << 16
        assert info.create_system == 3  # Unix, whatever packs it
    said = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": 2 * MIB}
    assert bundle._size_and_digest(path) == said == bundle._size_and_digest(path.read_bytes())
    with pytest.raises(ConfigurationError, match=r"ends in \.zip"):
        bundle.write_bundle(None, "small", tmp_path / "a.tar")


def test_members_of_a_cell_are_its_record_its_scores_and_the_prediction_if_asked(tmp_path):
    store = SimpleNamespace(cell_folder=lambda key: tmp_path / key)
    files = {"metrics.parquet", "prediction.h5", "log.txt"}
    for wanted, names in (
        (False, ["metrics.parquet", "record.json"]),
        (True, ["metrics.parquet", "prediction.h5", "record.json"]),
    ):
        assert list(bundle._members_of(store, KEY, files, wanted)) == [
            (f"cells/{KEY}/{name}", tmp_path / KEY / name) for name in names
        ]
    assert [name for name, _ in bundle._members_of(store, KEY, set(), True)] == [RECORD]


# -- labels ------------------------------------------------------------------------------------


def record_of(**changes):
    problem = {
        "dataset": "toy", "section": "s0", "mz_set": "all", "control": "",
        "protocol": protocol("area-x4@1").definition(),
    }  # fmt: skip
    document = {
        "schema": KEY_SCHEMA, "problem": problem, "training": {}, "seed": 0, "device": "cpu",
        "method": {"label": "net", "precision": "float32"},
    }  # fmt: skip
    facts = {
        "key": key_of(document), "key_document": document, "status": Status.OK, "method": "net",
        "dataset": "toy", "section": "s0", "protocol": "area-x4@1", "mz_set": "all", "seed": 0,
        "problem_key": digest_of(problem), "mz": (400.0, None), "channel_names": ("400.0", "x"),
        "pixel_size_um": 2.5,
    }  # fmt: skip
    return CellRecord(**{**facts, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"key": "0" * 64}, ["its key document belongs to key"]),
        ({"method": "other"}, ["method is 'other'; its key stands for 'net'"]),
        ({"dataset": "bladder"}, ["data set is 'bladder'"]),
        ({"section": "s1"}, ["section is 's1'"]),
        ({"mz_set": "few"}, ["m/z set is 'few'"]),
        ({"control": "mirrored"}, ["wrong guide is 'mirrored'"]),
        ({"seed": 1}, ["seed is 1"]),
        ({"seed": False}, ["seed is False; its key stands for 0"]),
        ({"device": "cuda"}, ["device is 'cuda'"]),
        ({"precision": "float16"}, ["precision is 'float16'"]),
        ({"problem_key": "0" * 64}, ["problem key is"]),
        ({"protocol": "area-x2@1"}, ["protocol 'area-x2@1' is not the one"]),
        ({"protocol": "none-x2@1"}, ["there is no protocol 'none-x2@1'"]),
        ({"status": Status.FAILED}, []),
        ({"status": Status.FAILED, "files": {"prediction.h5": "0"}}, ["ended as failed, and yet"]),
        ({"status": Status.FAILED, "files": {"metrics.parquet": "0"}}, ["ended as failed, and"]),
        ({"status": Status.FAILED, "files": {"log.txt": "0"}}, []),
        ({"files": {"prediction.h5": "0"}}, []),
        ({"key_document": {}}, ["its key document is incomplete"]),
        ({"seed": 1, "device": "cuda"}, ["seed is 1", "device is 'cuda'"]),
    ],
)
def test_each_label_is_held_against_what_the_key_stands_for(changes, said):
    found = contradictions(record_of(**changes))
    assert len(found) == len(said)
    for fault, words in zip(found, said, strict=True):
        assert words in fault


def test_protocols_are_looked_at_only_when_asked_and_other_schemas_not_at_all():
    assert contradictions(record_of(protocol="none-x2@1"), protocols=False) == []
    document = {**record_of().key_document, "schema": -1}
    (fault,) = contradictions(record_of(key_document=document))
    assert f"has schema -1, not {KEY_SCHEMA}" in fault


def staged_of(mz=(400.0, math.nan), names=("400.0", "x"), size=10.0, **facts):
    low = SimpleNamespace(mz=np.array(mz), channel_names=lambda: tuple(names), pixel_size_um=size)
    return SimpleNamespace(low=low, protocol=SimpleNamespace(factor=4), **facts)


@pytest.mark.parametrize(
    ("staged", "changes", "said"),
    [
        ({}, {}, ""),
        ({"mz": (400.5, math.nan)}, {}, "its m/z are not those"),
        ({"mz": (400.0, 500.0)}, {}, "its m/z are not those"),
        ({}, {"channel_names": ("x", "400.0")}, "its channel names are not"),
        ({"size": 40.0}, {}, "pixel size is 2.5 µm; its problem gives 10 µm"),
        ({"size": 10.0 * (1 + 1e-10)}, {}, ""),
        ({"size": 10.0 * (1 + 1e-8)}, {}, "pixel size is"),
        ({"size": math.nan}, {}, "pixel size is 2.5"),
        ({"size": math.nan}, {"pixel_size_um": None}, ""),
        ({}, {"pixel_size_um": None}, "pixel size is nan"),
    ],
)
def test_a_record_is_held_against_its_problem(staged, changes, said):
    found = differs_from_problem(record_of(**changes), staged_of(**staged))
    assert len(found) == bool(said)
    assert said in "".join(found)


def test_scores_on_record_in_rows_and_of_the_track_are_held_against_one_another(monkeypatch):
    monkeypatch.setattr(
        "msibench.gate.labels.score_keys",
        lambda metrics, staged, digest: dict.fromkeys(f"{one}@image" for one in metrics),
    )

    def lacking(said, there, wanted):
        rows = pd.DataFrame(
            [name.split("@") for name in there], columns=["metric", "region"], dtype=str
        )
        record = record_of(scores=dict.fromkeys(said, ""))
        return lacking_metrics(record, rows, staged_of(), dict.fromkeys(wanted, None) | {
            name: name for name in wanted
        })  # fmt: skip

    both = ["psnr@image", "psnr@image", "ssim@image"]
    assert lacking(both, both, ["psnr", "ssim"]) == []
    assert lacking(both, both, []) == []
    (fault,) = lacking(both, ["psnr@image"], ["psnr", "ssim"])
    assert fault == "ssim@image is on its record, and not among its scores"
    (fault,) = lacking(["psnr@image"], both, ["psnr", "ssim"])
    assert fault == "ssim@image is among its scores, and not on its record"
    (fault,) = lacking(both, both, ["psnr", "rmse"])
    assert fault.startswith("rmse@image is a metric of the track")


# -- import ------------------------------------------------------------------------------------


def test_cells_of_one_place_are_of_one_problem():
    ours = receive.Held(KEY, "cpu", "1" * 64, ours=True)
    taken = {record_of(method="other").identity.in_table: ours}
    receive._check_problems([record_of(problem_key="1" * 64)], taken)
    for records, held in (
        ([record_of(problem_key="2" * 64)], taken),
        ([record_of(problem_key="1" * 64), record_of(method="b", problem_key="2" * 64)], {}),
    ):
        with pytest.raises(
            DataError, match=r"toy/s0 \(area-x4@1, m/z set all\) was made from other"
        ):
            receive._check_problems(records, held)
    elsewhere = [record_of(problem_key="2" * 64, section="s1"), record_of(problem_key="1" * 64)]
    receive._check_problems(elsewhere, taken)


def test_of_a_description_only_known_fields_of_their_type_are_taken():
    given = {
        "title": "Net", "task": "guided", "citation": 0, "control": True, "plugin": "p", "code": "x"
    }  # fmt: skip
    with pytest.raises(IntegrityError, match="citation of methods 'net' is not plain text"):
        receive._checked_fact("methods", "net", given)
    found = receive._checked_fact("methods", "net", {**given, "citation": "c", "control": 1})
    assert found == {
        "title": "Net", "task": "guided", "citation": "c", "licence": "", "plugin": "p",
        "control": False, "config": {}, "training_data": [], "sources": {},
    }  # fmt: skip
    assert receive._checked_fact("methods", "net", {"control": True})["control"] is True
    for version, wanted in ((3, 3), (True, 0), ("3", 0), (None, 0)):
        assert receive._checked_fact("metrics", "psnr", {"version": version})["version"] == wanted
    assert receive._checked_fact("metrics", "psnr", {})["version"] == 0
    shown = receive._checked_fact("protocols", "area-x4@1", {"definition": "mine"})
    assert shown["definition"] == protocol("area-x4@1").definition()
    data = receive._checked_fact("datasets", "toy", {"synthetic": True})
    assert (data["synthetic"], data["ground_truth"]) == (True, False)
    assert "definition" not in data
    with pytest.raises(IntegrityError, match="must be an object"):
        receive._checked_fact("methods", "net", [])


def test_ones_own_descriptions_stand_and_unused_ones_stay_outside():
    index = SimpleNamespace(track_facts={"methods": {"net": {"title": "ours"}}})
    facts = {"methods": {"net": {"title": "theirs"}, "b": {"title": "B"}, "unused": {}}}
    manifest = SimpleNamespace(track_facts=facts)
    records = [record_of(scores={"psnr@image": "x"}), record_of(method="b")]
    found = receive._checked_facts(manifest, records, index)
    assert set(found) == {"datasets", "protocols", "methods", "metrics"}
    assert set(found["methods"]) == {"net", "b"}
    assert found["methods"]["net"] == {"title": "ours"}
    assert found["methods"]["b"]["title"] == "B"
    assert set(found["metrics"]) == {"psnr"}
    assert set(found["datasets"]) == {"toy"}
    manifest.track_facts = {"methods": []}
    with pytest.raises(IntegrityError, match="what is said of methods must be an object"):
        receive._checked_facts(manifest, records, index)


def test_an_own_cell_comes_before_an_imported_one_of_its_place(monkeypatch):
    made = {
        "a": record_of(key="a", origin="self-reported", problem_key="1"),
        "b": record_of(key="b", origin="measured", problem_key="2", device="cuda"),
        "c": record_of(key="c", origin="self-reported", problem_key="3"),
        "d": record_of(key="d", method="other", origin="self-reported", problem_key="4"),
    }

    def record(key):
        if key == "spoilt":
            raise IntegrityError("spoilt")
        return made[key]

    def held(*keys):
        index = SimpleNamespace(cells=dict(enumerate(keys)))
        monkeypatch.setattr(receive, "read_index", lambda store, track: index)
        store = SimpleNamespace(has=lambda key: key != "gone", record=record)
        return receive._taken(store, "small")

    place = made["a"].identity.in_table
    for order in ("abc", "bac", "cab"):
        assert held(*order)[place] == receive.Held("b", "cuda", "2", ours=True)
    assert held("a", "c")[place] == receive.Held("a", "cpu", "1", ours=False)
    both = held("gone", "spoilt", "a", "d")
    assert set(both) == {place, made["d"].identity.in_table}


@pytest.mark.parametrize(
    ("held", "listed", "noted"),
    [
        (None, True, False),
        ({"key": "other", "ours": True}, False, True),
        ({"key": "other", "ours": False}, True, False),  # imported before: the newer one stands
        ({"key": "other", "ours": False, "device": "cuda"}, False, True),
        ({"key": "mine", "ours": True}, False, False),
        ({"key": "mine", "ours": False}, False, False),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_who_keeps_a_place_of_the_track(monkeypatch, tmp_path, held, listed, noted, there):
    record = record_of(key="mine")
    place = record.identity.in_table
    taken = {} if held is None else {
        place: receive.Held(**{"device": "cpu", "problem_key": record.problem_key, **held})
    }  # fmt: skip
    indexed, stored = [], []
    monkeypatch.setattr(receive, "_taken", lambda store, track: taken)
    monkeypatch.setattr(
        receive, "update_index", lambda store, track, cells, facts: indexed.append((track, cells))
    )
    work = tmp_path / "work"
    work.mkdir()
    source = tmp_path / "cells" / "mine"
    source.mkdir(parents=True)
    (source / "metrics.parquet").write_bytes(b"rows")
    store = SimpleNamespace(
        has=lambda key: there,
        new_work=lambda key: work,
        commit=lambda folder, one: stored.append((folder, one)),
    )
    found = receive._add(store, tmp_path, [record], SimpleNamespace(track="small"), {})
    assert indexed == [("small", {str(record.identity): "mine"} if listed else {})]
    assert stored == ([] if there else [(work, record)])
    assert found.added == ([] if there else ["mine"])
    assert (work / "metrics.parquet").exists() is not there
    assert any("has it already" in note for note in found.notes) is there
    assert any("stays there" in note for note in found.notes) is noted
    if listed:
        assert taken[place] == receive.Held("mine", "cpu", record.problem_key, ours=False)


# -- grown boards ------------------------------------------------------------------------------


BASE = rows_of(("bicubic", "net"), metrics=("psnr", "ssim"), sections=2, channels=2)
OWN = rows_of(("bicubic", "mine"), metrics=("psnr", "ssim"), sections=2, channels=2)


def differences(base=BASE, own=OWN):
    return list(grow._differences(base, own, own[own["method"] == "mine"], "bicubic"))


def other_cells(rows):
    return rows.assign(cell=rows["cell"].map(lambda key: key[::-1]))


def psnr_of(rows, change, method="bicubic"):
    where = (rows["method"] == method) & (rows["metric"] == "psnr")
    return rows.assign(value=rows["value"] + change * where)


def with_wrong_guide(rows):
    wrong = rows.assign(control="mirrored", cell=rows["cell"].map(lambda key: "0" + key[1:]))
    return pd.concat([rows, wrong])


GUIDED = OWN.assign(task=OWN["method"].map({"bicubic": "single-image", "mine": "guided"}))


@pytest.mark.parametrize(
    ("base", "own", "said"),
    [
        (BASE, OWN, []),
        (BASE, other_cells(OWN), []),
        (BASE, OWN.assign(device="cuda"), ["run on cuda, the board on cpu"]),
        (BASE, OWN.assign(device="cpu:4"), []),
        (BASE, psnr_of(OWN, 1.0), []),  # the key shows that the data are the same
        (BASE, other_cells(psnr_of(OWN, 1e-3)), ["other data, guide, m/z values or protocol"] * 2),
        (BASE, other_cells(psnr_of(OWN, 1e-6)), []),
        (BASE, other_cells(psnr_of(OWN, 1e-3, "mine")), []),
        (BASE, other_cells(OWN[OWN["method"] == "mine"]), ["no method that both hold on toy/s"] * 2),
        (BASE, OWN[OWN["section"] == "s0"], ["mine was not run on 1 of the board's cells (toy, s1"]),
        (BASE, OWN[OWN["metric"] == "psnr"], ["mine has no value of ssim"]),
        (BASE, OWN.assign(metric_version=2), ["psnr of version 2, the board has version 1",
                                              "ssim of version 2, the board has version 1"]),
        (BASE, GUIDED, []),
        (BASE, other_cells(GUIDED), ["shows that the guide is the same"] * 2),
        (BASE.assign(metric=BASE["metric"].replace("ssim", "guide_leakage")),
         other_cells(GUIDED.assign(metric=GUIDED["metric"].replace("ssim", "guide_leakage"))), []),
        (BASE.assign(task="guided"), other_cells(OWN.assign(task="guided")), []),
        (with_wrong_guide(BASE), other_cells(psnr_of(with_wrong_guide(OWN), 1e-3)),
         ["protocol on toy/s0/area-x4@1/all: psnr of bicubic is", "protocol on toy/s1/area"]),
        (BASE, OWN.where(OWN["section"] == "s0", other_cells(psnr_of(OWN, 1e-3))),
         ["m/z values or protocol on toy/s1/area-x4@1/all"]),
        (BASE, rows_of(("bicubic", "mine"), metrics=("psnr", "ssim", "rmse"), sections=2, channels=2),
         []),
        (pd.concat([BASE, rows_of(("led",), metrics=("shift",), sections=2, channels=2, task="guided")]),
         GUIDED, ["mine has no value of shift"]),
        (BASE.assign(task="guided"), OWN, []),  # of guided methods, nothing is asked of others
    ],
)  # fmt: skip
def test_what_may_stand_beside_committed_rows(base, own, said):
    found = differences(base, own)
    assert len(found) == len(said), found
    for fault, words in zip(found, said, strict=True):
        assert words in fault


def test_of_other_data_the_first_value_is_told():
    own = other_cells(psnr_of(OWN, 1e-3))
    value = BASE.loc[(BASE["method"] == "bicubic") & (BASE["metric"] == "psnr"), "value"].iloc[0]
    assert differences(own=own)[0] == (
        "other data, guide, m/z values or protocol on toy/s0/area-x4@1/all: psnr of bicubic is "
        f"{value + 1e-3:.6g}, the board has {value:.6g}"
    )


def test_a_place_that_the_board_lacks_is_named():
    more = rows_of(("bicubic", "mine"), metrics=("psnr", "ssim"), sections=7, channels=2)
    more = more[~more["section"].isin(["s3"])]
    (first, *rest) = differences(own=more)
    assert first == (
        "4 sections, protocols, m/z sets or wrong guides that the board lacks "
        "(toy/s2/area-x4@1/all; toy/s4/area-x4@1/all; toy/s5/area-x4@1/all)"
    )
    assert len(rest) == 4
    assert all("nothing shows that its data are the same" in fault for fault in rest)


def test_values_of_two_machines_are_close_to_a_millionth():
    first = pd.Series([1.0, 1000.0, 0.0, np.nan, 1.0])
    second = pd.Series([1.0 + 1.9e-6, 1000.0009, 1e-6, np.nan, 1.0 + 2.1e-6])
    assert list(grow._close(first, second)) == [True, True, True, True, False]


def test_times_are_kept_of_the_boards_own_machine_alone():
    new = OWN[OWN["method"] == "mine"]
    kept, notes = grow._fitted(BASE, OWN, new)
    assert notes == []  # bicubic took the same seconds in the same cell
    pd.testing.assert_frame_equal(kept, new)
    moved, notes = grow._fitted(BASE, other_cells(OWN), new)
    assert moved[["seconds_per_image", "fit_seconds"]].isna().all(axis=None)
    assert len(notes) == 1
    slower = OWN.assign(seconds_per_image=0.75)
    assert grow._fitted(BASE, slower, new)[0]["seconds_per_image"].isna().all()


def test_metrics_and_columns_that_the_board_lacks_are_left_out():
    more = rows_of(("bicubic", "mine"), metrics=("psnr", "rmse", "shift"), sections=2, channels=2)
    new = more[more["method"] == "mine"].assign(isolation="none")
    kept, (note, *_) = grow._fitted(BASE, OWN, new)
    assert set(kept["metric"]) == {"psnr"}
    assert note == "left out, for the board does not have it: rmse, shift"
    assert "isolation" not in kept
    there, _ = grow._fitted(BASE.assign(isolation="bwrap"), OWN, new)
    assert "isolation" in there


def test_a_method_must_have_run_on_every_cell_and_with_wrong_guides_if_it_looks_at_one():
    wrong = BASE.assign(control="mirrored", cell=BASE["cell"].map(lambda key: key[::-1]))
    base = pd.concat([BASE, wrong])
    alone = OWN[OWN["method"] == "mine"]
    assert list(grow._holes(base, alone)) == []
    (hole,) = grow._holes(base, alone.assign(task="guided"))
    assert (
        hole == "mine was not run on 2 of the board's cells (toy, s0, area-x4@1, all, mirrored, 0)"
    )
    (hole,) = grow._holes(BASE, alone.assign(seed=1))
    assert "mine was not run on 2 of" in hole


def test_how_far_scores_moved_is_told_by_scheme_and_an_anchored_one_may_not(monkeypatch):
    schemes = {
        "anchored": SimpleNamespace(name="anchored", normalisation="control"),
        "scaled": SimpleNamespace(name="scaled", normalisation="minmax"),
        "absent": SimpleNamespace(name="absent", normalisation="minmax"),
    }
    monkeypatch.setattr(grow, "scheme_of", lambda track, metrics: schemes["anchored"])
    monkeypatch.setattr(grow, "load_scheme", schemes.__getitem__)
    monkeypatch.setattr(grow, "BESIDE", ("anchored", "scaled", "absent"))

    def board(own, scaled):
        methods = ["a", "b", "c"][: len(own)]
        table = {"protocol": "p", "method": methods, "composite": own, "scaled": scaled}
        return SimpleNamespace(rows=BASE, track=None, table=pd.DataFrame(table))

    before = board([0.5, 0.25], [1.0, 0.0])
    assert grow._moved(before, board([0.5, 0.25, 9], [0.75, 0.125, 1])) == {"scaled": 0.25}
    assert grow._moved(before, board([0.5, 0.25 + 9e-10, 9], [1.0, 0.0, 1])) == {"scaled": 0.0}
    nothing = board([np.nan, np.nan], [np.nan, np.nan])
    assert grow._moved(nothing, nothing) == {"scaled": 0.0}
    with pytest.raises(IntegrityError, match=r"scheme .anchored. moved by 0\.125"):
        grow._moved(before, board([0.5, 0.375, 9], [1.0, 0.0, 1]))


def test_differences_are_told_in_the_order_of_their_names_whatever_that_of_the_rows():
    own = rows_of(("bicubic", "b", "a"), metrics=("psnr",), sections=2, channels=2)
    own = own[(own["method"] == "bicubic") | (own["section"] == "s0")].iloc[::-1]
    new = own[own["method"] != "bicubic"]
    assert list(grow._holes(BASE, new)) == [
        f"{name} was not run on 1 of the board's cells (toy, s1, area-x4@1, all, 0)"
        for name in ("a", "b")
    ]
    lacking = [fault for fault in grow._differences(BASE, own, new, "bicubic") if "value" in fault]
    assert [fault.partition(" has no value of ssim")[0] for fault in lacking] == ["a", "b"]
    more = rows_of(("bicubic", "a"), metrics=("psnr",), sections=4, channels=2).iloc[::-1]
    alone = more[more["method"] == "a"]
    told = list(grow._other_problems(BASE, alone, alone, "bicubic"))
    assert [f"toy/s{number}/" in fault for number, fault in enumerate(told)] == [True] * 4
