"""Pack the rows and records of a track into one file to share: same store, same bytes."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

from msibench.errors import ConfigurationError, StoreError
from msibench.io.partial import beside
from msibench.leaderboard.rows import collect
from msibench.results.files import explained, sha256_of
from msibench.results.index import read_index
from msibench.results.keys import plain
from msibench.results.metric_rows import rows_as_parquet
from msibench.results.store import METRICS, PREDICTION, RECORD, Store

BUNDLE_SCHEMA = 1
MANIFEST, ROWS = "bundle.json", "rows.parquet"
SHARED_PARTS = ("datasets", "protocols", "methods", "metrics")
LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""Time of every member: bundles do not depend on when they were packed."""


def write_bundle(
    store: Store,
    track: str,
    path: Path,
    *,
    predictions: bool = False,
    methods: Collection[str] = (),
) -> int:
    """Write a bundle of every current cell of a track; with `methods`, of theirs.

    ::

        bundle.json                        schema, track, facts, and sha256 and size of every member
        rows.parquet                       rows of the leaderboard, for a look without msibench
        cells/<key>/record.json, metrics.parquet[, prediction.h5]

    Logs and truths stay at home: logs may hold paths, truths may not be yours to share.

    Returns
    -------
    Number of cells.

    Raises
    ------
    StoreError
        If nothing of the track is in the store.
    IntegrityError
        If a cell was changed: nothing is written.
    """
    if path.suffix != ".zip":
        raise ConfigurationError(f"a bundle's name ends in .zip, got {path.name!r}")
    index = read_index(store, track)
    keys = sorted({key for key in index.cells.values() if store.has(key)})
    if not keys:
        raise StoreError(f"nothing of track {track!r} is in {store.root}; run it first")
    members: list[tuple[str, Path | bytes]] = []
    records = [store.record(key) for key in keys]
    if methods:
        records = [record for record in records if record.method in methods]
    keys = [record.key for record in records]
    for key, record in zip(keys, records, strict=True):
        store.check_files(record)
        members += _members_of(store, key, set(record.files), predictions)
    rows = collect(store, index).rows
    members.append((ROWS, rows_as_parquet(rows[rows["cell"].isin(keys)].reset_index(drop=True))))
    manifest = {
        "schema_version": BUNDLE_SCHEMA,
        "track": track,
        "facts": {name: index.track_facts.get(name, {}) for name in SHARED_PARTS},
        "files": {name: _size_and_digest(content) for name, content in members},
    }
    text = json.dumps(plain(manifest), sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, content in [(MANIFEST, text.encode()), *sorted(members, key=_name)]:
            _add(archive, name, content)
    return len(keys)


def _members_of(
    store: Store, key: str, files: set[str], predictions: bool
) -> Iterator[tuple[str, Path | bytes]]:
    wanted = {RECORD, METRICS, PREDICTION} if predictions else {RECORD, METRICS}
    for name in sorted(wanted & (files | {RECORD})):
        yield f"cells/{key}/{name}", store.cell_folder(key) / name


def _size_and_digest(content: Path | bytes) -> dict[str, object]:
    if isinstance(content, bytes):
        return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return {"sha256": sha256_of(content), "size": content.stat().st_size}


def _add(archive: zipfile.ZipFile, name: str, content: Path | bytes) -> None:
    info = zipfile.ZipInfo(name, LONG_AGO)
    # Predictions and rows are compressed already.
    packed = name.endswith(".json")
    info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    info.external_attr = 0o100644 << 16
    info.create_system = 3
    if isinstance(content, bytes):
        archive.writestr(info, content)
        return
    info.file_size = content.stat().st_size
    with content.open("rb") as source, archive.open(info, "w") as target:
        while piece := source.read(1 << 20):
            target.write(piece)


def _name(member: tuple[str, Path | bytes]) -> str:
    return member[0]
