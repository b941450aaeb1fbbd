"""The results folder: one folder a cell, written beside and renamed into place.

::

    store.json                         schema of the folder
    cells/<kk>/<key>/                  record.json metrics.parquet prediction.h5 log.txt
    problems/<kk>/<problem key>/       problem.h5 (what methods see), section.h5 (the truth; never staged)
    leases/<key>.json                  who is at work on which cell
    queue/cells/<key>/                 cells that a batch system has (see `msibench.results.queue`)
    work/                              cells that run now; what a crash leaves here is swept
    set-aside/                         damaged cells, kept for a look
    seen/<track>.json                  what the last run saw of the cells (`msibench.results.seen_cells`)
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from msibench.errors import IntegrityError, SchemaError, StoreError
from msibench.io.whole_files import sweep_parts, sync_file, sync_folder
from msibench.owners import is_forgotten, is_orphaned, owned_name
from msibench.results import leases
from msibench.results.files import (
    explained,
    sha256_of,
    write_atomically,
)
from msibench.results.metric_rows import empty_rows
from msibench.results.removal import remove
from msibench.results.schema import REMEDY, SCHEMA_VERSION, CellRecord, record_from_json

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

RECORD, METRICS, PREDICTION, LOG = "record.json", "metrics.parquet", "prediction.h5", "log.txt"
CELL_FILES = (METRICS, PREDICTION, LOG)
MARKER = "store.json"
WRITTEN_WHOLE = ("tracks", "leases", "seen", "differences")
"""Folders of single files, in which a run that dies leaves the half of one."""
SCORE_AGAIN = "score it again with: msibench score"


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
        marker = root / MARKER
        if marker.is_file():
            try:
                schema = json.loads(marker.read_text(encoding="utf-8"))["schema_version"]
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                raise StoreError(
                    f"{marker} is damaged ({error}); remove that file alone and use msibench run, "
                    "which writes it anew: cells that are stored are not run again"
                ) from error
            check_store_schema(schema, root)
            return store
        if not create:
            raise StoreError(
                f"{root} is not a results folder (no {MARKER}); run something first, "
                "or name the folder with --results DIR"
            )
        with explained(root):
            root.mkdir(parents=True, exist_ok=True)
        write_atomically(marker, json.dumps({"schema_version": SCHEMA_VERSION}) + "\n")
        return store

    def make_folder(self, folder: Path) -> Path:
        """Make a folder of this store, but never the store itself again where it was moved away.

        Raises
        ------
        StoreError
            If the store is gone, or cannot be written.
        """
        self.check_here()
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def check_here(self) -> None:
        """Raise unless the results folder still lies where it was opened.

        Raises
        ------
        StoreError
            If it was moved or removed.
        """
        with explained(self.root):
            if not (self.root / MARKER).is_file():
                raise FileNotFoundError(errno.ENOENT, "the results folder was moved or removed")

    # -- cells ---------------------------------------------------------------------------------

    def cell_folder(self, key: str) -> Path:
        """Return where a finished cell lies."""
        return Path(
            f"{self.root}/cells/{key[:2]}/{key}"
        )  # once a cell: joining parts takes 4 times as long

    def has(self, key: str) -> bool:
        """Whether a cell is recorded, however it ended."""
        return os.path.isfile(f"{self.root}/cells/{key[:2]}/{key}/{RECORD}")  # noqa: PTH113 - once a cell

    def record(self, key: str) -> CellRecord:
        """Read one record.

        Raises
        ------
        IntegrityError, SchemaError
            If it is damaged, changed, or of another schema.
        """
        return self.record_and_digest(key)[0]

    def record_and_digest(self, key: str) -> tuple[CellRecord, str]:
        """Read one record, and return with it the sha256 of its file.

        Raises
        ------
        IntegrityError, SchemaError
            As `record`.
        """
        path = self.cell_folder(key) / RECORD
        try:
            raw = path.read_bytes()
            text = raw.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise IntegrityError(f"{path} cannot be read: {error}; {REMEDY}") from error
        record = record_from_json(text, str(path))
        if record.key != key:
            raise IntegrityError(f"{path} is the record of another cell ({record.key[:12]}…)")
        return record, hashlib.sha256(raw).hexdigest()

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
                raise IntegrityError(f"{path} is missing; {REMEDY}")
            if sha256_of(path) != digest:
                raise IntegrityError(
                    f"{path} was changed after it was written (digest differs); {REMEDY}"
                )

    def fit_path(self, key: str) -> Path:
        """Return where the fit of a method to one training set is kept."""
        return self.root / "fits" / f"{key}.h5"

    def keep_fit(self, key: str, source: Path) -> None:
        """Keep what a method has learned, for its next cell with the same training set.

        Its bytes are not looked at: only the same method, in its own process, reads them again.
        """
        target = self.fit_path(key)
        self.make_folder(target.parent)
        with explained(target):
            write_atomically(target, source.read_bytes())

    def new_work(self, key: str) -> Path:
        """Make an empty folder in which one cell is worked on."""
        folder = self.root / "work" / owned_name(key[:16])
        return self.make_folder(folder)

    def commit(
        self, work: Path, record: CellRecord, *, known: Mapping[str, str] | None = None
    ) -> CellRecord:
        """Move a finished cell into place, all of it or nothing.

        The digests of its files are added to the record. A cell that stands already is moved to
        ``work/`` first and removed after; a crash in between is mended by `sweep`.

        Parameters
        ----------
        known
            Digests that need not be computed: file → sha256.

        Raises
        ------
        StoreError
            If the folder cannot be written; a cell that stood before stands again.
        """
        digests = dict(known or {})
        target = self.cell_folder(record.key)
        with explained(target):
            files = {
                name: digests.get(name) or sha256_of(work / name)
                for name in CELL_FILES
                if (work / name).is_file()
            }
            final = replace(record, files=files)
            write_atomically(work / RECORD, final.to_json(), flushed=False)
            for entry in list(work.iterdir()):
                if entry.name not in {RECORD, *CELL_FILES}:
                    remove(entry)
                else:
                    sync_file(entry)
            sync_folder(work)
            self.make_folder(target.parent)
            self._put_in_place(work, target)
            sync_folder(target.parent)
        return final

    def _put_in_place(self, work: Path, target: Path) -> None:
        """Rename `work` to `target`, whatever other runs put there at the same moment."""
        replaced: list[Path] = []
        try:
            while True:
                old = self.root / "work" / owned_name("old")
                with suppress(FileNotFoundError):
                    target.rename(old)
                    replaced.append(old)
                try:
                    work.rename(target)
                    break
                except OSError as error:
                    if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                        raise
        except OSError:
            with suppress(OSError):
                if replaced:
                    replaced.pop().rename(target)
            raise
        finally:
            for old in replaced:
                remove(old)

    def rescore(
        self, record: CellRecord, metrics: bytes, scores: dict[str, str], digest: str = ""
    ) -> CellRecord:
        """Replace a cell's metric rows in one step; its prediction stays.

        Parameters
        ----------
        metrics, scores, digest
            The new ``metrics.parquet``, its score keys, and its `rows_digest`.
        """
        folder = self.cell_folder(record.key)
        work = self.new_work(record.key)
        with explained(folder):
            for name in record.files.keys() - {METRICS}:
                _link_or_copy(folder / name, work / name)
            (work / METRICS).write_bytes(metrics)
        kept = {name: digest for name, digest in record.files.items() if name != METRICS}
        new = replace(record, scores=scores, rows_digest=digest)
        return self.commit(work, new, known=kept)

    def set_aside(self, key: str) -> Path:
        """Move a damaged cell out of the way, and return where it lies now."""
        target = self.root / "set-aside" / f"{key}-{uuid.uuid4().hex[:8]}"
        with explained(target):
            self.make_folder(target.parent)
            with suppress(FileNotFoundError):  # another run was faster
                self.cell_folder(key).rename(target)
        return target

    def sweep(self) -> None:
        """Tidy up after dead runs of this machine: work folders, leases, half-written files.

        A cell that was being replaced when its run died is put back.
        """
        work = self.root / "work"
        for folder in list(work.iterdir()) if work.is_dir() else []:
            if is_orphaned(folder.name) or (is_forgotten(folder) and not self._is_leased(folder)):
                if folder.name.startswith("old-"):
                    self._put_back(folder)
                remove(folder)
        for left in self.root.glob("import-*"):  # of versions that unpacked bundles there
            if is_forgotten(left):
                remove(left)
        for place in ("", *WRITTEN_WHOLE):
            sweep_parts(self.root / place)
        for lease in (self.root / "leases").glob("*.json"):
            leases.drop_orphaned(lease)

    def _is_leased(self, folder: Path) -> bool:
        """Whether a living run holds the cell that a work folder is of."""
        key = folder.name[:16]
        found = (self.root / "leases").glob(f"{key}*.json") if key.isalnum() else ()
        return any(not leases.is_stale(lease) for lease in found)

    def _put_back(self, folder: Path) -> None:
        """Return a cell whose replacement never came to its place."""
        try:
            record = record_from_json((folder / RECORD).read_text("utf-8"), str(folder / RECORD))
        except (OSError, UnicodeDecodeError, IntegrityError):
            return
        if not self.has(record.key):
            with suppress(OSError):
                folder.rename(self.cell_folder(record.key))

    def lease(self, key: str) -> leases.Lease | None:
        """Take the right to run a cell, or return None while another run has it."""
        self.make_folder(self.root / "leases")
        return leases.acquire(self.lease_path(key))

    def lease_path(self, key: str) -> Path:
        """Return where the lease of a cell lies."""
        return Path(f"{self.root}/leases/{key}.json")

    # -- problems ------------------------------------------------------------------------------

    def problem_folder(self, problem_key: str) -> Path:
        """Return where a staged problem lies."""
        return self.root / "problems" / problem_key[:2] / problem_key

    # -- rows ----------------------------------------------------------------------------------

    def check_metrics(self, record: CellRecord) -> None:
        """Raise if the metric rows of a cell are missing or changed.

        Raises
        ------
        IntegrityError
            As `metric_table`.
        """
        self._metric_bytes(record)

    def metric_rows(self, record: CellRecord) -> pd.DataFrame:
        """Read the metric rows of one cell; empty for a cell that was not scored.

        Raises
        ------
        IntegrityError
            If the file is missing, damaged or changed.
        """
        table = self.metric_table(record)
        return empty_rows() if table is None else table.to_pandas()

    def metric_table(self, record: CellRecord) -> pa.Table | None:
        """Read the metric rows of one cell as they are stored; None for a cell that was not scored.

        Many of them are put together faster than as many data frames (`metric_rows`).

        Raises
        ------
        IntegrityError
            If the file is missing, damaged or changed.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        raw = self._metric_bytes(record)
        if raw is None:
            return None
        try:
            return pq.ParquetFile(pa.BufferReader(raw)).read()
        except (OSError, pa.ArrowException) as error:
            raise IntegrityError(
                f"{self.cell_folder(record.key) / METRICS} cannot be read: {error}; {SCORE_AGAIN}"
            ) from error

    def _metric_bytes(self, record: CellRecord) -> bytes | None:
        """Return the file of a cell's metric rows, as it was written; None for a cell without any."""
        if METRICS not in record.files:
            return None
        path = self.cell_folder(record.key) / METRICS
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise IntegrityError(f"{path} cannot be read: {error}; {SCORE_AGAIN}") from error
        if hashlib.sha256(raw).hexdigest() != record.files[METRICS]:
            raise IntegrityError(f"{path} was changed after it was written; {SCORE_AGAIN}")
        return raw


def check_store_schema(schema: object, root: Path) -> None:
    """Raise unless this version reads a store of `schema`.

    Raises
    ------
    SchemaError
        Saying what to do about a newer, an older or a senseless one.
    """
    if isinstance(schema, int) and not isinstance(schema, bool) and schema == SCHEMA_VERSION:
        return
    if isinstance(schema, int) and 0 <= schema < SCHEMA_VERSION:
        raise SchemaError(
            f"{root} was written by an older msibench (store schema {schema}, this one reads "
            f"{SCHEMA_VERSION}); choose another folder with --results and run there"
        )
    raise SchemaError(
        f"{root} was written by a newer msibench (store schema {schema!r}, this one "
        f"reads {SCHEMA_VERSION}); upgrade, or choose another folder with --results"
    )


def _link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; a file system without those gets a copy."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
            raise
        shutil.copyfile(source, target)
