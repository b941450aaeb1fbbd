"""Resumable, verified downloads; used for pretrained files and for data sets alike."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from msibench.downloads.public_addresses import DownloadError, handlers, is_local
from msibench.errors import IntegrityError

Progress = Callable[[int, int | None], None]
"""Called with (bytes so far, bytes in all; None when the server does not say)."""

_CHUNK = 1 << 18
LARGEST = 1 << 40
"""Bytes after which a server that never ends is given up."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str = "",
    size: int | None = None,
    progress: Progress | None = None,
    allow_local: bool = False,
    public: bool = False,
    attempts: int = 4,
    timeout: float = 30.0,
    pause: float = 1.0,
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
    attempts
        How many connections in a row may break without bringing anything new.
    timeout
        Seconds without a byte after which a connection counts as broken.
    pause
        Seconds before the first new attempt; doubled each time.

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
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    vouched = set() if public else {host}

    def allowed(name: str) -> bool:
        return allow_local or name.strip("[]") in vouched

    opener = urllib.request.build_opener(
        _CarefulRedirects(url, allow_local=allow_local), *handlers(allowed)
    )
    with _sole_writer(part):
        while True:
            continued = _fill_patiently(
                opener,
                url,
                part,
                size=size,
                verifiable=bool(sha256),
                progress=progress,
                timeout=timeout,
                attempts=attempts,
                pause=pause,
            )
            digest, got = _digest(part), part.stat().st_size
            if digest.startswith(sha256.lower()) and (size is None or got == size):
                break
            _discard(part)
            if not continued:
                raise IntegrityError(
                    f"{url} is not the file on record: expected sha256 {sha256 or 'unknown'} and "
                    f"{size if size is not None else 'any number of'} bytes, got {digest} and "
                    f"{got} bytes. Nothing was kept."
                )
        os.replace(part, target)  # noqa: PTH105
        _discard(part)
    return digest


def _fill_patiently(
    opener: urllib.request.OpenerDirector,
    url: str,
    part: Path,
    *,
    size: int | None,
    verifiable: bool,
    progress: Progress | None,
    timeout: float,
    attempts: int,
    pause: float,
) -> bool:
    """Call `_fill` until the file is complete, taking a broken connection up again."""
    failures, furthest = 0, 0
    while True:
        try:
            return _fill(
                opener,
                url,
                part,
                size=size,
                verifiable=verifiable,
                progress=progress,
                timeout=timeout,
            )
        except DownloadError:
            raise
        except urllib.error.HTTPError as error:
            error.close()
            failures += 1
            if error.code < 500 or failures == attempts:
                raise DownloadError(f"{url}: the server answers {error}") from error
        except (OSError, HTTPException, ValueError, UnicodeError) as error:
            if isinstance(getattr(error, "reason", None), DownloadError):
                raise error.reason from None  # type: ignore[union-attr]
            reached = part.stat().st_size if part.exists() else 0
            failures = 1 if reached > furthest else failures + 1
            furthest = max(furthest, reached)
            if url.startswith("file:") or failures == attempts or _is_our_disk(error):
                reason = getattr(error, "reason", error)
                raise DownloadError(
                    f"{url} could not be fetched completely: {reason}. "
                    "What has come is kept; the same command goes on from there."
                ) from error
        time.sleep(pause * 2 ** (failures - 1))


def _fill(
    opener: urllib.request.OpenerDirector,
    url: str,
    part: Path,
    *,
    size: int | None,
    verifiable: bool,
    progress: Progress | None,
    timeout: float,
) -> bool:
    """Append what is missing to `part`; raise if the connection ends before the file does.

    Returns whether the file was put together from more than one answer.
    """
    have = part.stat().st_size if part.exists() else 0
    known = _read_notes(part)
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if have and known.get("url") == url and (known.get("validator") or verifiable):
        request.add_header("Range", f"bytes={have}-")
        if known.get("validator"):
            request.add_header("If-Range", known["validator"])
    else:
        have = 0
    total: int | None
    try:
        response = opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        error.close()
        if known.get("total") == have:
            return True  # everything had come; only the renaming was missing
        _discard(part)
        raise ConnectionError("the part on disk no longer fits the file; starting anew") from error
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
            _notes_path(part).write_text(
                json.dumps({"url": url, "validator": validator, "total": total})
            )
        with part.open(mode) as out:
            while chunk := response.read(_CHUNK):
                out.write(chunk)
                have += len(chunk)
                if size is not None and have > size:
                    return mode == "ab"  # more than it should be: its size is judged by the caller
                if have > LARGEST:
                    raise DownloadError(f"{url} sends more than {LARGEST} bytes; given up")
                if progress is not None:
                    progress(have, total)
            out.flush()
            os.fsync(out.fileno())
    if total is not None and have < total:
        raise ConnectionError(f"the connection ended after {have} of {total} bytes")
    return mode == "ab"


class _CarefulRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, except into this machine's own network, to files, or out of TLS."""

    def __init__(self, first: str, *, allow_local: bool) -> None:
        self.first_host = urllib.parse.urlsplit(first).hostname
        self.allow_local = allow_local

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the next request, or refuse it."""
        new = urllib.parse.urlsplit(newurl)
        if new.scheme not in {"http", "https"}:
            raise DownloadError(f"{req.full_url} redirects to {newurl!r}: only http(s) is followed")
        if req.type == "https" and new.scheme == "http":
            raise DownloadError(f"{req.full_url} redirects out of https to {newurl!r}: refused")
        if not self.allow_local and new.hostname != self.first_host and is_local(new.hostname):
            raise DownloadError(
                f"{req.full_url} redirects to {newurl!r}, an address inside the local network: "
                "refused (allow it with --allow-local if you trust the server)"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_our_disk(error: BaseException) -> bool:
    return isinstance(error, OSError) and (error.filename is not None or error.errno == 28)


def _first_byte(headers: Message) -> int:
    """Return where a ``Content-Range: bytes 100-199/200`` begins, -1 without one."""
    unit, _, rest = str(headers.get("Content-Range", "")).partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdigit() else -1


def _notes_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_notes(part: Path) -> dict[str, Any]:
    try:
        notes = json.loads(_notes_path(part).read_text())
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _notes_path(part).unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def _sole_writer(part: Path) -> Iterator[None]:
    """Keep a second process from writing into the same part; without fcntl there is no such guard."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    lock_path = part.with_name(part.name + ".lock")
    with lock_path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DownloadError(
                f"{part.name} is being downloaded by another process; wait for it"
            ) from error
        try:
            yield
        finally:
            lock_path.unlink(missing_ok=True)
