"""The results folder: one folder a cell, written beside and renamed into place.

::

    store.json                         schema of the folder
    cells/<kk>/<key>/                  record.json metrics.parquet prediction.h5 log.txt
    problems/<kk>/<problem key>/       problem.h5 (what methods see), section.h5 (the truth; never staged)
    leases/<key>.json                  who is at work on which cell
    work/                              cells that run now; what a crash leaves here is swept
    set-aside/                         damaged cells, kept for a look
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msibench.errors import IntegrityError, SchemaError, StoreError
from msibench.results import leases
from msibench.results.files import (
    explained,
    sha256_of,
    sync_file,
    sync_folder,
    write_atomically,
)
from msibench.results.schema import SCHEMA_VERSION, CellRecord, record_from_json

if TYPE_CHECKING:
    import pandas as pd

RECORD, METRICS, PREDICTION, LOG = "record.json", "metrics.parquet", "prediction.h5", "log.txt"
CELL_FILES = (METRICS, PREDICTION, LOG)


class Store:
    """A results folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, root: Path, *, create: bool = True) -> Store:
        """Open a results folder, making it when it is not there.

        Raises
        ------
        SchemaError
            If a newer version of msibench wrote it.
        StoreError
            If it cannot be read or made.
        """
        store = cls(root)
        marker = root / "store.json"
        if marker.is_file():
            try:
                schema = json.loads(marker.read_text(encoding="utf-8"))["schema_version"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise StoreError(f"{marker} is damaged ({error}); restore or remove it") from error
            if not isinstance(schema, int) or schema > SCHEMA_VERSION:
                raise SchemaError(
                    f"{root} was written by a newer msibench (store schema {schema}, this one "
                    f"reads {SCHEMA_VERSION}); upgrade, or choose another folder with --results"
                )
            return store
        if not create:
            raise StoreError(
                f"{root} is no results folder (no store.json); run something first, "
                "or name the folder with --results DIR"
            )
        with explained(root):
            root.mkdir(parents=True, exist_ok=True)
        write_atomically(marker, json.dumps({"schema_version": SCHEMA_VERSION}) + "\n")
        return store

    # -- cells ---------------------------------------------------------------------------------

    def cell_folder(self, key: str) -> Path:
        """Return where a finished cell lies."""
        return self.root / "cells" / key[:2] / key

    def has(self, key: str) -> bool:
        """Whether a cell is recorded, however it ended."""
        return (self.cell_folder(key) / RECORD).is_file()

    def record(self, key: str) -> CellRecord:
        """Read one record.

        Raises
        ------
        IntegrityError, SchemaError
            If it is damaged, changed, or of another schema.
        """
        path = self.cell_folder(key) / RECORD
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise IntegrityError(f"{path} cannot be read: {error}") from error
        record = record_from_json(text, str(path))
        if record.key != key:
            raise IntegrityError(f"{path} is the record of another cell ({record.key[:12]}…)")
        return record

    def keys(self) -> Iterator[str]:
        """Yield the keys of all recorded cells, sorted."""
        cells = self.root / "cells"
        if not cells.is_dir():
            return
        for branch in sorted(cells.iterdir()):
            if branch.is_dir():
                yield from sorted(cell.name for cell in branch.iterdir() if cell.is_dir())

    def records(self) -> Iterator[CellRecord]:
        """Yield every sound record, in key order; a damaged one raises."""
        for key in self.keys():
            yield self.record(key)

    def check_files(self, record: CellRecord) -> None:
        """Raise if a file beside a record is missing or changed.

        Raises
        ------
        IntegrityError
            Names the file.
        """
        folder = self.cell_folder(record.key)
        for name, digest in record.files.items():
            path = folder / name
            if not path.is_file():
                raise IntegrityError(f"{path} is missing")
            if sha256_of(path) != digest:
                raise IntegrityError(f"{path} was changed after it was written (digest differs)")

    def new_work(self, key: str) -> Path:
        """Make an empty folder in which one cell is worked on."""
        owner = f"{_host()}-{os.getpid()}"
        folder = self.root / "work" / f"{key[:16]}-{owner}-{uuid.uuid4().hex[:8]}"
        with explained(folder):
            folder.mkdir(parents=True)
        return folder

    def commit(self, work: Path, record: CellRecord) -> CellRecord:
        """Move a finished cell into place, all of it or nothing.

        The digests of its files are added to the record. A cell that stands already is replaced in
        one step: the old folder is set aside first, and removed after.
        """
        files = {name: sha256_of(work / name) for name in CELL_FILES if (work / name).is_file()}
        final = replace(record, files=files)
        target = self.cell_folder(record.key)
        with explained(target):
            write_atomically(work / RECORD, final.to_json())
            for entry in list(work.iterdir()):
                if entry.name not in {RECORD, *CELL_FILES}:
                    _remove(entry)
                else:
                    sync_file(entry)
            sync_folder(work)
            target.parent.mkdir(parents=True, exist_ok=True)
            old = None
            if target.exists():
                old = self.root / "work" / f"old-{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
                target.rename(old)
            work.rename(target)
            sync_folder(target.parent)
            if old is not None:
                _remove(old)
        return final

    def rescore(self, record: CellRecord, metrics: bytes, scores: dict[str, str]) -> CellRecord:
        """Replace a cell's metric rows; its prediction stays.

        The rows go first: a crash in between leaves rows whose digest the record does not know,
        which the next read finds and scores again.
        """
        folder = self.cell_folder(record.key)
        write_atomically(folder / METRICS, metrics)
        files = {**record.files, METRICS: sha256_of(folder / METRICS)}
        final = replace(record, files=files, scores=scores)
        write_atomically(folder / RECORD, final.to_json())
        return final

    def set_aside(self, key: str) -> Path:
        """Move a damaged cell out of the way, and return where it lies now."""
        target = self.root / "set-aside" / f"{key}-{uuid.uuid4().hex[:8]}"
        with explained(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            self.cell_folder(key).rename(target)
        return target

    def sweep(self) -> None:
        """Remove what dead runs left in ``work/`` (folders of processes that no longer run here)."""
        import psutil

        work = self.root / "work"
        if not work.is_dir():
            return
        for folder in work.iterdir():
            _, _, owner = folder.name.partition("-")
            host, _, rest = owner.partition("-")
            process = rest.partition("-")[0]
            if host == _host() and process.isdigit() and not psutil.pid_exists(int(process)):
                _remove(folder)

    def lease(self, key: str) -> leases.Lease | None:
        """Take the right to run a cell, or return None while another run has it."""
        return leases.acquire(self.lease_path(key))

    def lease_path(self, key: str) -> Path:
        """Return where the lease of a cell lies."""
        return self.root / "leases" / f"{key}.json"

    # -- problems ------------------------------------------------------------------------------

    def problem_folder(self, problem_key: str) -> Path:
        """Return where a staged problem lies."""
        return self.root / "problems" / problem_key[:2] / problem_key

    # -- rows ----------------------------------------------------------------------------------

    def metric_rows(self, record: CellRecord) -> pd.DataFrame:
        """Read the metric rows of one cell; empty for a cell that was not scored.

        Raises
        ------
        IntegrityError
            If the file is missing, damaged or changed.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.cell_folder(record.key) / METRICS
        if METRICS not in record.files:
            return empty_rows()
        try:
            raw = path.read_bytes()
            import hashlib

            if hashlib.sha256(raw).hexdigest() != record.files[METRICS]:
                raise IntegrityError(
                    f"{path} was changed after it was written; score it again with: msibench score"
                )
            table: Any = pq.read_table(pa.BufferReader(raw))
            return table.to_pandas()  # type: ignore[no-any-return]
        except (OSError, pa.ArrowException) as error:
            raise IntegrityError(f"{path} cannot be read: {error}") from error


ROW_COLUMNS = {
    "channel": "int32",
    "mz": "float64",
    "metric": "str",
    "metric_version": "int32",
    "region": "str",
    "direction": "str",
    "value": "float64",
    "reason": "str",
}
"""Columns of ``metrics.parquet``; channel -1 is a value of the whole section."""


def empty_rows() -> pd.DataFrame:
    """Return no rows, with the columns of ``metrics.parquet``."""
    import pandas as pd

    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in ROW_COLUMNS.items()})


def rows_as_parquet(rows: pd.DataFrame) -> bytes:
    """Return rows as the bytes of a Parquet file; the same rows give the same bytes."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def iter_sound(store: Store, keys: Iterable[str]) -> Iterator[tuple[str, CellRecord | Exception]]:
    """Yield each key with its record, or with what is wrong with it."""
    for key in keys:
        try:
            yield key, store.record(key)
        except (IntegrityError, SchemaError) as error:
            yield key, error


def _host() -> str:
    """Return this machine's name as one word, for the names of work folders."""
    return re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname()) or "host"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
