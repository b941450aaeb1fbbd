"""Add another laboratory's bundle to a store, marked as self-reported."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from msibench.contracts.metric import MetricSpec
from msibench.degradation import protocol
from msibench.errors import DataError, IntegrityError, MSIBenchError, SchemaError
from msibench.gate.archive import BundleLimits, Manifest, unpack
from msibench.gate.bundle import SHARED_PARTS
from msibench.gate.untrusted_cells import (
    check_prediction_of,
    check_record,
    check_rows_of,
    sound_text,
)
from msibench.leaderboard.rows import SELF_REPORTED
from msibench.results.arrays import shape_of
from msibench.results.files import explained, sha256_of
from msibench.results.index import TrackIndex, read_index, update_index
from msibench.results.metric_rows import rows_as_parquet
from msibench.results.problems import SECTION
from msibench.results.removal import remove
from msibench.results.rows_digest import rows_digest
from msibench.results.schema import CellRecord, Status
from msibench.results.store import METRICS, PREDICTION, RECORD, Store


@dataclass(slots=True)
class Received:
    """Result of an import."""

    track: str
    added: list[str] = field(default_factory=list)
    """Keys."""
    notes: list[str] = field(default_factory=list)
    """What was left out, and why."""


@dataclass(frozen=True, slots=True)
class Held:
    """A cell of the track."""

    key: str
    device: str
    problem_key: str
    ours: bool
    """Measured here, not self-reported."""


def receive(
    store: Store, path: Path, metrics: Mapping[str, MetricSpec], limits: BundleLimits | None = None
) -> Received:
    """Check a whole bundle, then add its cells to the store and to the track's index.

    A cell that the store has stays as it is, and where the track has a measured cell of the same
    method on the same images, of whatever seed, a stranger's is stored but not put into the track: it
    never replaces one's own number, nor is it averaged with it. Records are written anew, with
    ``origin = "self-reported"``; only `msibench verify` can raise that.

    Raises
    ------
    DataError, SchemaError, IntegrityError
        If anything about the bundle is not as it must be; then nothing is added.
    """
    with explained(store.root), _scratch(store) as folder:
        manifest = unpack(path, folder, limits)
        records = [_check(store, folder, key, metrics, manifest) for key in manifest.keys]
        track_facts = _checked_facts(manifest, records, read_index(store, manifest.track))
        return _add(store, folder, records, manifest, track_facts)


@contextmanager
def _scratch(store: Store) -> Iterator[Path]:
    """Make a folder to unpack into; what an import that was killed leaves there, the next run sweeps."""
    store.sweep()
    folder = store.new_work("import")
    try:
        yield folder
    finally:
        remove(folder)
        with suppress(OSError):  # other work may lie there
            folder.parent.rmdir()


def _fine_shape(store: Store, record: CellRecord) -> tuple[int, int, int] | None:
    """Return (channel, row, column) of a cell's problem on the fine grid; None where it is not here."""
    path = store.problem_folder(record.problem_key) / SECTION
    if not path.is_file():
        return None
    try:
        channels, rows, columns = shape_of(path, "low")
        factor = protocol(record.protocol).factor
    except (MSIBenchError, ValueError):
        return None
    return channels, rows * factor, columns * factor


def _check(
    store: Store, folder: Path, key: str, metrics: Mapping[str, MetricSpec], manifest: Manifest
) -> CellRecord:
    """Check one cell and replace its rows by ones written here."""
    cell = folder / "cells" / key
    record = check_record(cell, key)
    there = {name for name in (METRICS, PREDICTION) if (cell / name).is_file()}
    for name in sorted(there):
        if sha256_of(cell / name) != record.files.get(name):
            raise IntegrityError(f"cells/{key}/{name} is not the file named in its record")
    if METRICS in record.files and METRICS not in there:
        raise IntegrityError(f"cells/{key}: {METRICS} is in its record but not in the bundle")
    if there and record.status is not Status.OK:
        raise IntegrityError(f"cells/{key} ended as {record.status}, but comes with scores")
    if METRICS in there:
        rows = check_rows_of(cell, record, metrics)
        digest = rows_digest(rows)
        if record.rows_digest not in {"", digest}:
            raise IntegrityError(f"cells/{key}/{METRICS} holds values that differ from its record")
        (cell / METRICS).write_bytes(rows_as_parquet(rows))
        record = replace(record, rows_digest=digest)
    if PREDICTION in there:
        check_prediction_of(cell, record, _fine_shape(store, record))
    original = manifest.files[f"cells/{key}/{RECORD}"][0]
    came = {"record_sha256": original, "files": dict(record.files), "origin": record.origin}
    return replace(record, origin=SELF_REPORTED, provenance={**record.provenance, "bundle": came})


def _add(
    store: Store,
    folder: Path,
    records: list[CellRecord],
    manifest: Manifest,
    track_facts: Mapping[str, Any],
) -> Received:
    received = Received(track=manifest.track)
    taken = _taken(store, manifest.track)
    _check_problems(records, taken)
    cells: dict[str, str] = {}
    for record in records:
        key = record.key
        label = f"{record.method} · {record.dataset}/{record.section} ({key[:12]}…)"
        if store.has(key):
            received.notes.append(f"{label}: the store has it already; kept as it is")
        else:
            work = store.new_work(key)
            for name in (METRICS, PREDICTION):
                source = folder / "cells" / key / name
                if source.is_file():
                    shutil.move(source, work / name)
            store.commit(work, record)
            received.added.append(key)
        place = record.identity.in_table
        held = taken.get(place)
        if held and held.key != key and (held.ours or held.device != record.device):
            received.notes.append(f"{label}: the track has a cell in this place, which stays there")
        elif held is None or held.key != key:
            cells[str(record.identity)] = key
            taken[place] = Held(key, record.device, record.problem_key, ours=False)
    update_index(store, manifest.track, cells, track_facts)
    return received


def _taken(store: Store, track: str) -> dict[tuple[str, ...], Held]:
    """Return the places of a track that hold a cell; own cells before imported ones."""
    taken: dict[tuple[str, ...], Held] = {}
    for key in read_index(store, track).cells.values():
        if not store.has(key):
            continue
        try:
            record = store.record(key)
        except (IntegrityError, SchemaError):
            continue
        ours = record.origin != SELF_REPORTED
        if ours or record.identity.in_table not in taken:
            taken[record.identity.in_table] = Held(
                key, record.device, record.problem_key, ours=ours
            )
    return taken


def _check_problems(records: list[CellRecord], taken: Mapping[tuple[str, ...], Held]) -> None:
    """Reject cells of other data under the name of ours: they would be compared image by image."""
    known = {place[1:]: held.problem_key for place, held in taken.items()}
    for record in records:
        place = record.identity.in_table[1:]
        if known.setdefault(place, record.problem_key) != record.problem_key:
            raise DataError(
                f"{record.dataset}/{record.section} ({record.protocol}, m/z set {record.mz_set}) "
                "was made from other data, or other m/z, than the cells of the track here; they cannot be put in one table"
            )


def _checked_facts(
    manifest: Manifest, records: list[CellRecord], index: TrackIndex
) -> dict[str, Any]:
    """Return the descriptions that pages show: our own where they exist, else those of the bundle, checked."""
    used = {
        "datasets": {record.dataset for record in records},
        "protocols": {record.protocol for record in records},
        "methods": {record.method for record in records},
        "metrics": {name.partition("@")[0] for record in records for name in record.scores},
    }
    track_facts: dict[str, Any] = {}
    for part in SHARED_PARTS:
        given = manifest.track_facts.get(part, {})
        ours = dict(index.track_facts.get(part, {}))
        if not isinstance(given, dict):
            raise IntegrityError(f"bundle.json: what is said of {part} must be an object")
        for name in sorted(used[part] - ours.keys()):
            ours[name] = _checked_fact(part, name, given.get(name, {}))
        track_facts[part] = ours
    return track_facts


TEXTS = {
    "datasets": (
        "title", "description", "tissue", "polarity", "pixel_size_um", "licence", "citation",
        "bibtex",
    ),
    "protocols": ("description",),
    "methods": ("title", "task", "citation", "licence", "plugin"),
    "metrics": ("direction", "unit", "title", "citation"),
}  # fmt: skip
"""Texts of each kind of description; nothing else is taken over except the flags below."""
FLAGS = {"datasets": ("synthetic", "ground_truth"), "methods": ("control",)}


def _checked_fact(part: str, name: str, given: object) -> dict[str, Any]:
    """Return the known fields of an untrusted description, each of its type; absent ones are empty."""
    if not isinstance(given, dict):
        raise IntegrityError(f"bundle.json: the description of {part} {name!r} must be an object")
    fact: dict[str, Any] = {}
    for field_name in TEXTS[part]:
        text = given.get(field_name, "")
        if not sound_text(text):
            raise IntegrityError(f"bundle.json: {field_name} of {part} {name!r} is not plain text")
        fact[field_name] = text
    for flag in FLAGS.get(part, ()):
        fact[flag] = given.get(flag) is True
    if part == "protocols":
        fact["definition"] = protocol(name).definition()
    if part == "methods":
        fact |= {"config": {}, "training_data": [], "sources": {}}
    if part == "metrics":
        version = given.get("version", 0)
        fact["version"] = version if type(version) is int else 0
    return fact
