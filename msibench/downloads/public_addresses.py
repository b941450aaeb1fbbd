"""Connect to public addresses only, decided when the connection is made.

Names are looked up once, every address found is checked, and the connection goes to one of those: a name
that resolves differently a moment later, a number that reads as a host, or a name of the local network is rejected.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from msibench.errors import MSIBenchError

_EMBEDDED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::/96"))
"""IPv6 networks whose last 32 bits are an IPv4 address."""

Allowed = Callable[[str], bool]
"""Returns whether a host of this name may be local."""


class DownloadError(MSIBenchError, OSError):
    """An address did not give the file that was asked for."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, in whatever notation."""
    found = ipaddress.ip_address(address.split("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and any(found in network for network in _EMBEDDED):
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


def is_local(host: str | None) -> bool:
    """Whether any address of `host` is not a public one; an unknown host is not local."""
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False
    return any(not is_public(str(entry[4][0])) for entry in found)


def handlers(allowed: Allowed) -> list[urllib.request.BaseHandler]:
    """Return handlers for http and https that connect to public addresses and allowed hosts only.

    Through a proxy (``http_proxy``) the connection goes to the proxy, which the user has named; the host
    behind it is checked by its name here and resolved there.
    """

    class Http(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(_factory(http.client.HTTPConnection, req, allowed), req)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            made = _factory(http.client.HTTPSConnection, req, allowed)
            return self.do_open(made, req, context=ssl.create_default_context())

    return [Http(), Https()]


def _factory(kind: type[Any], request: urllib.request.Request, allowed: Allowed) -> Any:
    target = urllib.parse.urlsplit(request.full_url)
    proxied = request.host != target.netloc

    def make(host: str, **options: Any) -> Any:
        connection = kind(host, **options)
        if proxied:
            refuse_local(target.hostname, allowed)
        else:
            connection._create_connection = lambda address, *rest, **more: _connect(
                address, allowed, *rest, **more
            )
        return connection

    return make


def refuse_local(host: str | None, allowed: Allowed) -> None:
    """Raise if a host is local and not allowed.

    Raises
    ------
    DownloadError
    """
    if host is not None and not allowed(host) and is_local(host):
        raise _refusal(host)


def _connect(
    address: tuple[str, int], allowed: Allowed, timeout: Any = None, source: Any = None, **_: Any
) -> socket.socket:
    host, port = address
    if allowed(host):
        return socket.create_connection(address, timeout, source)
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    places = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not all(is_public(place) for place in places):
        raise _refusal(host)
    failure: OSError = OSError(f"no address of {host} is known")
    for place in places:
        try:
            return socket.create_connection((place, port), timeout, source)
        except OSError as error:
            failure = error
    raise failure


def _refusal(host: str) -> DownloadError:
    return DownloadError(
        f"{host!r} is an address inside the local network, where nothing is fetched from: refused "
        "(allow it with --allow-local if you trust whoever named it)"
    )
