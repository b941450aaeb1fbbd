"""A log whose beginning and end are kept."""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import IO

from msibench.runner.child.outcome import telling_lines

LOG_HEAD = 256 * 1024


LOG_TAIL = 256 * 1024
"""Bytes kept of the start and of the end of a child's output."""


class BoundedLog:
    """The start and the end of what a child prints; the middle of a long output is dropped."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._stream = stream
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._dropped = 0
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        if self._stream is None:
            return
        descriptor = self._stream.fileno()
        while True:
            try:
                block = os.read(descriptor, 65536)
            except OSError:
                return
            if not block:
                return
            room = LOG_HEAD - len(self._head)
            self._head += block[:room]
            if rest := block[max(room, 0) :]:
                self._tail.append(rest)
                self._tail_size += len(rest)
                while self._tail_size - len(self._tail[0]) >= LOG_TAIL:
                    gone = len(self._tail.popleft())
                    self._tail_size -= gone
                    self._dropped += gone

    def close(self, path: Path) -> None:
        """Write what was kept; a descendant that holds the pipe open is not waited for."""
        self._thread.join(timeout=2.0)
        if self._stream is not None and not self._thread.is_alive():
            self._stream.close()
        with suppress(OSError):
            path.write_bytes(self.text().encode())

    def text(self) -> str:
        """Return what was kept, and how much was not."""
        middle = f"\n… {self._dropped} bytes left out …\n".encode() if self._dropped else b""
        return (bytes(self._head) + middle + b"".join(self._tail)).decode(errors="replace")

    def last_lines(self, number: int = 3) -> str:
        """Return the last lines that tell something, see `verdicts.telling_lines`."""
        return telling_lines(self.text(), number)
