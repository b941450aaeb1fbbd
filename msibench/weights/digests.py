"""What the bytes of a pretrained file must be: published digests, and those recorded at the first use."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from msibench.contracts.method import WeightFile
from msibench.downloads import cache_root
from msibench.errors import ConfigurationError, IntegrityError

_READ = 1 << 20
_seen: dict[tuple[str, int, int], str] = {}
"""Digests of files that have not changed since this process read them."""


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file as 64 hex digits; read again only when the file has changed."""
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    if key not in _seen:
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(_READ):
                digest.update(chunk)
        _seen[key] = digest.hexdigest()
    return _seen[key]


def published_prefix(file: WeightFile) -> str:
    """Return the hex digits of `file`'s sha256 that its publisher has made known; may be empty.

    All 64, or the leading ones where only those were published (torchvision puts eight of them into
    its file names).

    Raises
    ------
    ConfigurationError
        If the registered digest is neither a sha256 nor the beginning of one.
    """
    digest = file.sha256.lower()
    if digest and not re.fullmatch(r"[0-9a-f]{8,64}", digest):
        raise ConfigurationError(
            f"sha256 of {file.name!r} must be 64 hex digits, or at least the first 8, "
            f"got {file.sha256!r}"
        )
    return digest


def check(path: Path, file: WeightFile, *, record: bool) -> str:
    """Return the sha256 of `path` after checking it against the record of `file`.

    Parameters
    ----------
    path
        The copy to check.
    file
        What it should be.
    record
        Whether an unpublished digest is recorded now and expected ever after.

    Raises
    ------
    IntegrityError
        If the bytes are not what they should be.
    """
    digest = sha256_of(path)
    expected = published_prefix(file)
    if not digest.startswith(expected):
        raise IntegrityError(
            f"{path} is not the published {file.name}: expected sha256 {expected}"
            f"{'…' if len(expected) < 64 else ''}, got {digest}. Delete it and fetch it again."
        )
    if record and len(expected) < 64:
        first = _read_ledger().get(file.name)
        if first is None:
            _write_ledger(file.name, digest)
        elif first["sha256"] != digest:
            raise IntegrityError(
                f"{path} has changed since it was first seen on {first['seen']}: sha256 was "
                f"{first['sha256']}, is {digest}. If you replaced it on purpose: "
                f"msibench weights add {path} --as {file.name} --replace"
            )
    return digest


def forget(file: WeightFile) -> None:
    """Drop the digest recorded for `file`, so that the next copy sets it anew."""
    _write_ledger(file.name, None)


def _ledger_path() -> Path:
    return cache_root() / "weights" / "digests.json"


def _read_ledger() -> dict[str, dict[str, str]]:
    try:
        ledger = json.loads(_ledger_path().read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"{_ledger_path()} records the digests of pretrained files and cannot be read: {error}. "
            "Delete it to record them anew."
        ) from error
    return dict(ledger)


def _write_ledger(name: str, digest: str | None) -> None:
    """Write one line of the ledger; on a read-only cache the digest stays unrecorded."""
    path = _ledger_path()
    with contextlib.suppress(PermissionError), _locked(path):
        ledger = _read_ledger()
        if digest is None:
            ledger.pop(name, None)
        else:
            today = datetime.now(UTC).strftime("%Y-%m-%d")
            ledger[name] = {"sha256": digest, "seen": today}
        text = json.dumps(ledger, indent=1, sort_keys=True) + "\n"
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as draft:
            draft.write(text)
        os.replace(draft.name, path)  # noqa: PTH105


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time write; without fcntl (Windows) the last writer wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
