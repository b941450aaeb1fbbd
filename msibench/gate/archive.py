"""Open an untrusted bundle: everything is checked before, and while, anything is unpacked."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msibench.errors import DataError, IntegrityError, SchemaError
from msibench.gate.bundle import BUNDLE_SCHEMA, MANIFEST

MEMBER = re.compile(
    r"bundle\.json|rows\.parquet|cells/[0-9a-f]{64}/(record\.json|metrics\.parquet|prediction\.h5)"
)
"""Names of members; anything else (a path outside, a link, a pickle) is refused."""
TRACK_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
LARGEST_TEXT = 64 << 20
RATIO = 300
"""A member that grows by more than this on unpacking is treated as a zip bomb."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleLimits:
    """What a bundle may take before it is rejected."""

    members: int = 400_000
    total_bytes: int = 64 << 30
    """Of all members unpacked."""
    member_bytes: int = 8 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The checked content of ``bundle.json``."""

    track: str
    track_facts: Mapping[str, Any]
    files: Mapping[str, tuple[str, int]]
    """Member → sha256, size."""

    @property
    def keys(self) -> list[str]:
        """Keys of the cells, sorted."""
        return sorted({name.split("/")[1] for name in self.files if name.startswith("cells/")})


def unpack(path: Path, folder: Path, limits: BundleLimits | None = None) -> Manifest:
    """Unpack a bundle into an empty folder.

    Raises
    ------
    DataError
        If the file is not a bundle.
    SchemaError
        If another version of msibench wrote it.
    IntegrityError
        If a member has a name, kind, size or digest that it must not have. Nothing outside `folder`
        is written in any case.
    """
    bounds = limits or BundleLimits()
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            _check_members(infos, bounds)
            manifest = _manifest(_text(archive, archive.getinfo(MANIFEST)))
            there = {info.filename for info in infos} - {MANIFEST}
            if there != set(manifest.files):
                odd = sorted(there ^ set(manifest.files))
                raise IntegrityError(
                    f"{path}: {len(odd)} members and {MANIFEST} do not agree, e.g. {odd[0]!r}"
                )
            for info in infos:
                if info.filename != MANIFEST:
                    _extract(archive, info, folder, *manifest.files[info.filename])
    except KeyError as error:
        raise DataError(f"{path} is not a bundle: it holds no {MANIFEST}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} is not a bundle, or is damaged: {error}") from error
    except OSError as error:
        if isinstance(error, DataError | SchemaError):
            raise
        raise DataError(f"{path} cannot be read or unpacked: {error}") from error
    return manifest


def _check_members(infos: list[zipfile.ZipInfo], bounds: BundleLimits) -> None:
    """Reject members by what the archive's directory says about them, before any is opened."""
    if len(infos) > bounds.members:
        raise IntegrityError(f"the bundle has {len(infos)} members, more than {bounds.members}")
    total, seen = 0, set()
    for info in infos:
        name = info.filename
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.orig_filename != name or not MEMBER.fullmatch(name):
            raise IntegrityError(
                f"the bundle holds {name!r}, which does not belong in a bundle; refused"
            )
        if kind not in {0, stat.S_IFREG}:
            raise IntegrityError(f"{name!r} is a link or a special file; refused")
        if name in seen:
            raise IntegrityError(f"{name!r} appears twice in the bundle; refused")
        if info.flag_bits & 0x1:
            raise IntegrityError(f"{name!r} is encrypted; refused")
        if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise IntegrityError(f"{name!r} uses an unsupported compression; refused")
        if info.file_size > max(1 << 20, RATIO * info.compress_size):
            raise IntegrityError(
                f"{name!r} grows from {info.compress_size} to {info.file_size} bytes; refused"
            )
        largest = LARGEST_TEXT if name.endswith(".json") else bounds.member_bytes
        if info.file_size > largest:
            raise IntegrityError(f"{name!r} has {info.file_size} bytes, more than {largest}")
        seen.add(name)
        total += info.file_size
    if total > bounds.total_bytes:
        raise IntegrityError(f"the bundle unpacks to {total} bytes, more than {bounds.total_bytes}")


def _manifest(text: bytes) -> Manifest:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{MANIFEST} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{MANIFEST} must be an object")
    schema = found.get("schema_version")
    if schema != BUNDLE_SCHEMA:
        raise SchemaError(
            f"the bundle has schema {schema!r}, this msibench reads {BUNDLE_SCHEMA}; "
            "ask for one that was packed with the same version, or upgrade"
        )
    track, track_facts, files = (found.get(name) for name in ("track", "facts", "files"))
    if not isinstance(track, str) or not TRACK_NAME.fullmatch(track):
        raise IntegrityError(f"{MANIFEST}: {track!r} cannot be the name of a track; refused")
    if not isinstance(track_facts, dict) or not isinstance(files, dict):
        raise DataError(f"{MANIFEST}: facts and files must be objects")
    checked = {}
    for name, entry in files.items():
        digest = entry.get("sha256") if isinstance(entry, dict) else None
        size = entry.get("size") if isinstance(entry, dict) else None
        if (
            not isinstance(digest, str)
            or not isinstance(size, int)
            or isinstance(size, bool)
            or not re.fullmatch(r"[0-9a-f]{64}", digest)
        ):
            raise DataError(f"{MANIFEST}: {name!r} needs sha256 and size")
        checked[name] = (digest, size)
    return Manifest(track=track, track_facts=track_facts, files=checked)


def _text(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as stream:
        return stream.read(LARGEST_TEXT)


def _extract(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path, digest: str, size: int
) -> None:
    """Write one member, stopping at its stated size."""
    if info.file_size != size:
        raise IntegrityError(f"{info.filename!r} differs in size from what {MANIFEST} says")
    target = folder / info.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    hasher, left = hashlib.sha256(), size
    with archive.open(info) as source, target.open("xb") as out:
        while piece := source.read(1 << 20):
            left -= len(piece)
            if left < 0:
                raise IntegrityError(f"{info.filename!r} is larger than declared; refused")
            hasher.update(piece)
            out.write(piece)
    if left or hasher.hexdigest() != digest:
        raise IntegrityError(f"{info.filename!r} was changed after it was packed (digest differs)")
