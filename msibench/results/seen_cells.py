"""What the last run of a track saw of each cell: bytes that are still the same need not be read into again.

``seen/<track>.json`` of a results folder. A cell's entry counts only while the sha256 of its record and of
every file beside it are those that were seen, and all of the file only where this user's own run sealed it, with
the msibench that is installed now: what a stranger packed, or a disk damaged, is as good as absent, and
everything is worked out from the cells.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import sys
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msibench.downloads.cache_root import cache_root
from msibench.errors import StoreError
from msibench.results.files import sha256_of, write_atomically
from msibench.results.keys import digest_of
from msibench.results.schema import CellRecord
from msibench.results.store import RECORD, Store
from msibench.weights import is_here

if TYPE_CHECKING:
    from msibench.contracts.metric import MetricSpec

FOLDER = "seen"
SEAL_KEY = "seal.key"
"""In the user's cache folder: what seals are made with. Without it nothing is believed."""
LIBRARIES = ("numpy", "pandas", "pyarrow", "scipy", "jinja2", "tabulate")
"""Whose versions may change the bytes of a board."""
CODE = {".py", ".toml", ".j2", ".js", ".css"}


@dataclass(frozen=True, slots=True)
class SeenCell:
    """One cell as it was when it was read."""

    record: str
    """sha256 of ``record.json``."""
    files: tuple[tuple[str, str], ...]
    """Names and sha256 of the files beside it."""
    status: str
    reason: str
    twin: str = ""
    """Key of the same cell on the other kind of device; empty where that cannot be told."""
    scored: str = ""
    """`metrics_digest` of the metrics that it was found to hold; empty where nobody looked."""

    @classmethod
    def of(cls, record: CellRecord, digest: str, twin: str) -> SeenCell:
        """Return a record that was read from bytes of this sha256, its files as it vouches for them."""
        files = tuple(sorted(record.files.items()))
        return cls(digest, files, str(record.status), record.reason, twin)

    def as_list(self) -> list[object]:
        """Return its fields in their order."""
        return [self.record, self.files, self.status, self.reason, self.twin, self.scored]


@dataclass(slots=True, eq=False)
class SeenCells:
    """The cells of a track as its last run saw them."""

    store: Store
    track: str
    cells: Mapping[str, SeenCell] = field(default_factory=dict)
    """Key → cell."""
    board: Mapping[str, Any] = field(default_factory=dict)
    """What `msibench.leaderboard.unchanged` keeps of the board that was written."""
    _sound: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, store: Store, track: str) -> SeenCells:
        """Return what is there; nothing where it is absent, damaged, of other code, or not ours."""
        nothing = cls(store, track)
        key = _seal_key(make=False)
        try:
            seal, _, text = _place(store, track).read_bytes().partition(b"\n")
            if key is None or not hmac.compare_digest(seal, _seal(key, text)):
                return nothing
            found = json.loads(text)
            if found["track"] != track or found["code"] != code_in_use():
                return nothing
            cells = {key: _cell(values) for key, values in found["cells"].items()}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return nothing
        return cls(store, track, cells, found["board"])

    def write(self, cells: Mapping[str, SeenCell], board: Mapping[str, Any]) -> None:
        """Keep what was seen; where that cannot be written the next run works it out again."""
        key = _seal_key(make=True)
        if key is None or (cells == self.cells and board == self.board):
            return
        content = {
            "track": self.track,
            "code": code_in_use(),
            "cells": {name: cell.as_list() for name, cell in sorted(cells.items())},
            "board": board,
        }
        text = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
        with suppress(OSError, StoreError):
            place = _place(self.store, self.track)
            self.store.make_folder(place.parent)
            write_atomically(place, _seal(key, text) + b"\n" + text)

    def sound(self, key: str) -> SeenCell | None:
        """Return a cell whose record and files hold the very bytes that were seen; None for any other.

        Files are read once in a run; the record each time, as another run may replace the cell.
        """
        cell = self.cells.get(key)
        if cell is None:
            return None
        folder = str(self.store.cell_folder(key))
        try:
            if sha256_of(f"{folder}/{RECORD}") != cell.record:
                return None
            if key not in self._sound:
                if any(sha256_of(f"{folder}/{name}") != digest for name, digest in cell.files):
                    return None
                self._sound.add(key)
        except OSError:
            return None
        return cell

    def up_to_date(self, key: str, metrics: str) -> bool:
        """Whether a cell is sound and holds all metrics of this digest under their present keys."""
        cell = self.cells.get(key)
        return cell is not None and cell.scored == metrics and self.sound(key) is not None


def with_metrics(cells: Mapping[str, SeenCell], metrics: str) -> dict[str, SeenCell]:
    """Return cells that were found to hold the metrics of this digest."""
    return {key: replace(cell, scored=metrics) for key, cell in cells.items()}


def metrics_digest(metrics: Iterable[MetricSpec]) -> str:
    """Return what stands for a list of metrics: all that decides which scores a cell must hold.

    Also which of their pretrained files are here: a score that lacked one is computed once it is.
    """
    return digest_of(
        [
            [
                spec.name, spec.version, dict(spec.params), list(spec.regions), sorted(spec.needs),
                [name for name in sorted(spec.weights) if is_here(name)],
            ]
            for spec in metrics
        ]
    )  # fmt: skip


@lru_cache(maxsize=1)
def code_in_use() -> str:
    """Return a digest of msibench's own files and of the libraries that boards are made with."""
    root = Path(__file__).resolve().parents[1]
    own = {
        path.relative_to(root).as_posix(): sha256_of(path)
        for path in sorted(root.rglob("*"))
        if path.suffix in CODE and "tracks_shipped" not in path.parts
    }
    libraries = {"python": sys.version, "zlib": zlib.ZLIB_RUNTIME_VERSION}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            libraries[name] = version(name)
    return digest_of([own, libraries])


def _place(store: Store, track: str) -> Path:
    return store.root / FOLDER / f"{track}.json"


def _cell(values: list[Any]) -> SeenCell:
    record, files, *words = values
    return SeenCell(record, tuple((name, digest) for name, digest in files), *words)


def _seal(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).hexdigest().encode()


def _seal_key(*, make: bool) -> bytes | None:
    """Return this user's own key, made where there is none and that is wanted; None without one."""
    path = cache_root() / SEAL_KEY
    try:
        if make and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{SEAL_KEY}-{secrets.token_hex(8)}")
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(descriptor, secrets.token_bytes(32))
            finally:
                os.close(descriptor)
            with suppress(FileExistsError):
                os.link(part, path)
            part.unlink()
        key = path.read_bytes()
    except OSError:
        return None
    return key if len(key) == 32 else None
