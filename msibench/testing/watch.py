"""Record what a piece of code opens and connects to, through Python's audit events."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_watchers: list[list[tuple[str, str]]] = []
_installed = False
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_SOCKETS = {"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"}
_HARMLESS = ("/dev/", "/proc/")


@contextmanager
def watched() -> Iterator[list[tuple[str, str]]]:
    """Yield a list that fills with ``("write", path)`` and ``("socket", event)`` while inside.

    Sees what goes through Python; what a compiled library does by itself is not seen.
    """
    global _installed
    if not _installed:
        sys.addaudithook(_hook)  # it cannot be taken out again, so it is put in once
        _installed = True
    seen: list[tuple[str, str]] = []
    _watchers.append(seen)
    try:
        yield seen
    finally:
        _watchers.remove(seen)


def written_outside(seen: list[tuple[str, str]], folder: Path) -> list[str]:
    """Return the paths that were opened for writing elsewhere than below `folder`."""
    home = folder.resolve()
    return [
        path
        for kind, path in seen
        if kind == "write"
        and not path.startswith(_HARMLESS)
        and "__pycache__" not in path
        and home not in Path(path).resolve().parents
    ]


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _watchers:
        return
    if event == "open":
        path, mode, flags = arguments
        writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (
            isinstance(flags, int) and flags & _WRITING
        )
        if writes and isinstance(path, str | bytes | os.PathLike):
            _tell("write", os.fsdecode(path))
    elif event in _SOCKETS:
        _tell("socket", event)


def _tell(kind: str, what: str) -> None:
    for seen in _watchers:
        seen.append((kind, what))
