"""Redirects that a download follows, and those that it rejects."""

from __future__ import annotations

import urllib.parse
import urllib.request
from typing import IO, Any

from msibench.downloads.public_addresses import DownloadError, is_local


class CarefulRedirects(urllib.request.HTTPRedirectHandler):
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
        """Return the next request, or reject it."""
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
