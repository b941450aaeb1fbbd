"""Resumable, verified downloads; used for pretrained files and for data sets alike."""

from __future__ import annotations

import hashlib
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from pathlib import Path

from msibench.downloads.part_file import discard, notes_path, read_notes, sole_writer
from msibench.downloads.public_addresses import DownloadError, handlers
from msibench.downloads.redirects import CarefulRedirects
from msibench.errors import IntegrityError

Progress = Callable[[int, int | None], None]
"""Called with (bytes so far, bytes in all; None when the server does not say)."""

_CHUNK = 1 << 18
LARGEST = 1 << 40
"""Bytes after which a server that never ends its answer is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """With a slow or broken connection."""

    attempts: int = 4
    """How many connections in a row may break without bringing anything new."""
    timeout: float = 30.0
    """Seconds without a byte after which a connection counts as broken."""
    pause: float = 1.0
    """Seconds before the first new attempt; doubled each time."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Fetch:
    """One download in progress."""

    opener: urllib.request.OpenerDirector
    url: str
    part: Path
    size: int | None
    verifiable: bool
    """Its digest is known, so that bytes of another file would be noticed."""
    progress: Progress | None
    patience: Patience


def download(
    url: str,
    target: Path,
    *,
    sha256: str = "",
    size: int | None = None,
    progress: Progress | None = None,
    allow_local: bool = False,
    public: bool = False,
    patience: Patience | None = None,
) -> str:
    """Fetch one file; go on where an earlier, interrupted download stopped.

    Bytes gather in ``<target>.part``; only a complete and verified file gets the name `target`. A
    part is continued if the server vouches that the file is still the same (``If-Range``), or if
    `sha256` will tell; a continued file with a wrong digest is fetched once more from its beginning.

    Parameters
    ----------
    url
        ``http``, ``https`` or ``file`` address.
    target
        Where the file goes; replaced if it exists.
    sha256
        Hex digest, or its first digits; empty: not checked.
    size
        Bytes in all, if known.
    progress
        Told after every chunk.
    allow_local
        Follow redirects to private, loopback or link-local addresses of another host. Without it a
        public server cannot send this machine to look into its own network.
    public
        The address was named by somebody else (a card): it must be http or https, and lead to a public
        address, unless `allow_local`.
    patience
        With a slow or broken connection; None: the default.

    Returns
    -------
    The file's sha256.

    Raises
    ------
    DownloadError
        If the address is refused, or the file does not come completely; the part is kept.
    IntegrityError
        If the complete file has another digest or size; the part is deleted.
    """
    host = _checked_host(url, public=public)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    vouched = set() if public else {host}

    def allowed(name: str) -> bool:
        return allow_local or name.strip("[]") in vouched

    opener = urllib.request.build_opener(
        CarefulRedirects(url, allow_local=allow_local), *handlers(allowed)
    )
    fetch = _Fetch(
        opener=opener,
        url=url,
        part=part,
        size=size,
        verifiable=bool(sha256),
        progress=progress,
        patience=patience or Patience(),
    )
    with sole_writer(part) as waited:
        if waited and sha256 and target.is_file() and _digest(target).startswith(sha256.lower()):
            return _digest(target)  # another process has brought it meanwhile
        digest = _fill_and_verify(fetch, sha256)
        os.replace(part, target)  # noqa: PTH105
        discard(part)
    return digest


def _checked_host(url: str, *, public: bool) -> str | None:
    """Return the host of an address, or raise if nothing is fetched from such an address."""
    try:
        parts = urllib.parse.urlsplit(url)
        scheme, host, _ = parts.scheme, parts.hostname, parts.port
    except ValueError as error:
        raise DownloadError(f"{url!r} is not an address: {error}") from error
    if scheme not in {"http", "https", "file"}:
        raise DownloadError(f"only http, https and file addresses are fetched, got {url!r}")
    if public and scheme == "file":
        raise DownloadError(
            f"a card may name http and https addresses only, got {url!r}; copy the file by hand"
        )
    if any(letter <= " " or letter == "\x7f" for letter in url):
        raise DownloadError(f"{url!r} is not an address: it holds spaces or control characters")
    return host


def _fill_and_verify(fetch: _Fetch, sha256: str) -> str:
    """Fetch the whole part and return its digest; a continued part that is wrong is fetched anew once."""
    while True:
        continued = _fill_patiently(fetch)
        digest, got = _digest(fetch.part), fetch.part.stat().st_size
        if digest.startswith(sha256.lower()) and (fetch.size is None or got == fetch.size):
            return digest
        discard(fetch.part)
        if not continued:
            raise IntegrityError(
                f"{fetch.url} is not the file on record: expected sha256 {sha256 or 'unknown'} and "
                f"{fetch.size if fetch.size is not None else 'any number of'} bytes, got {digest} "
                f"and {got} bytes. Nothing was kept."
            )


def _fill_patiently(fetch: _Fetch) -> bool:
    """Call `_fill` until the file is complete, taking a broken connection up again."""
    url, part, patience = fetch.url, fetch.part, fetch.patience
    failures, furthest = 0, 0
    while True:
        try:
            return _fill(fetch)
        except DownloadError:
            raise
        except urllib.error.HTTPError as error:
            error.close()
            failures += 1
            if error.code < 500 or failures == patience.attempts:
                raise DownloadError(f"{url}: the server answers {error}") from error
        except (OSError, HTTPException, ValueError, UnicodeError) as error:
            if isinstance(getattr(error, "reason", None), DownloadError):
                raise error.reason from None  # type: ignore[union-attr]
            reached = part.stat().st_size if part.exists() else 0
            failures = 1 if reached > furthest else failures + 1
            furthest = max(furthest, reached)
            if url.startswith("file:") or failures == patience.attempts or _is_our_disk(error):
                reason = getattr(error, "reason", error)
                raise DownloadError(
                    f"{url} could not be fetched completely: {reason}. "
                    "What has arrived is kept; the same command resumes there."
                ) from error
        time.sleep(patience.pause * 2 ** (failures - 1))


def _fill(fetch: _Fetch) -> bool:
    """Append what is missing to `part`; raise if the connection ends before the file does.

    Returns whether the file was put together from more than one answer.
    """
    url, part, size = fetch.url, fetch.part, fetch.size
    have = part.stat().st_size if part.exists() else 0
    known = read_notes(part)
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if have and known.get("url") == url and (known.get("validator") or fetch.verifiable):
        request.add_header("Range", f"bytes={have}-")
        if known.get("validator"):
            request.add_header("If-Range", known["validator"])
    else:
        have = 0
    total: int | None
    try:
        response = fetch.opener.open(request, timeout=fetch.patience.timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        error.close()
        if known.get("total") == have:
            return True  # everything had come; only the renaming was missing
        discard(part)
        raise ConnectionError(
            "the partial file on disk no longer matches; starting again"
        ) from error
    with response:
        headers: Message = response.headers
        if response.status == 206 and _first_byte(headers) == have:
            mode, total = "ab", have + int(headers["Content-Length"])
        else:
            mode, have = "wb", 0
            length = headers.get("Content-Length")
            total = int(length) if length is not None else size
            etag = headers.get("ETag")
            strong = etag if etag and not etag.startswith("W/") else None
            validator = strong or headers.get("Last-Modified") or ""
            notes_path(part).write_text(
                json.dumps({"url": url, "validator": validator, "total": total})
            )
        with part.open(mode) as out:
            while chunk := response.read(_CHUNK):
                out.write(chunk)
                have += len(chunk)
                if size is not None and have > size:
                    return mode == "ab"  # more than it should be: its size is judged by the caller
                if have > LARGEST:
                    raise DownloadError(f"{url} sends more than {LARGEST} bytes; stopped")
                if fetch.progress is not None:
                    fetch.progress(have, total)
            out.flush()
            os.fsync(out.fileno())
    if total is not None and have < total:
        raise ConnectionError(f"the connection ended after {have} of {total} bytes")
    return mode == "ab"


def _is_our_disk(error: BaseException) -> bool:
    return isinstance(error, OSError) and (error.filename is not None or error.errno == 28)


def _first_byte(headers: Message) -> int:
    """Return where a ``Content-Range: bytes 100-199/200`` begins, -1 without one."""
    unit, _, rest = str(headers.get("Content-Range", "")).partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdigit() else -1


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
