"""How much a cell has written into its own folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MOST_BYTES = 64 << 30
"""What a cell's folder may hold by default: its prediction and its scratch."""
MOST_FILES = 200_000
LOOK_S = 1.0
"""Seconds between two checks; nothing prevents writing in between."""


def disk_use(folder: Path) -> tuple[int, int]:
    """Return the bytes on disk and the number of files below a folder; links are not followed.

    Stops counting at `MOST_FILES`.
    """
    held, files = 0, 0
    waiting = [os.fspath(folder)]
    while waiting and files <= MOST_FILES:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                files += 1
                with suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    held += found.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                if files > MOST_FILES:
                    break
    return held, files


def too_much(folder: Path, most_bytes: int) -> str:
    """Return why a cell must end for what it wrote; empty while it may go on."""
    held, files = disk_use(folder)
    if held > most_bytes:
        return (
            f"wrote {held / 2**30:.2f} GiB into its folder, where {most_bytes / 2**30:.2f} GiB are "
            "allowed; raise the limit with --disk"
        )
    return f"wrote more than {MOST_FILES} files" if files > MOST_FILES else ""
