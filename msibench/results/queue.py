"""Cells that a batch system has: ``queue/cells/<key>/`` of the results folder.

Unlike ``work/``, these folders outlive their supervisor: jobs that run elsewhere read and write them,
and the next run takes them over. A ticket, ``queued.json``, says under which number a cell went.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msibench.results.store import Store

TICKET = "queued.json"
KEPT_S = 86_400.0
"""Seconds for which an array's logs stay after the last of its cells."""


def queue_folder(store: Store, key: str) -> Path:
    """Return where a cell lies while a batch system has it."""
    return store.root / "queue" / "cells" / key


def batch_folder(store: Store, batch: str) -> Path:
    """Return where one array lies: its script, its tasks, its logs."""
    return store.root / "queue" / "batches" / batch


def read_ticket(folder: Path) -> dict[str, Any] | None:
    """Return what was noted of a cell when it was submitted; None where nothing sound is."""
    try:
        ticket = json.loads((folder / TICKET).read_text(encoding="utf-8"))
        sound = (
            isinstance(ticket["batch"], str)
            and isinstance(ticket["task"], str)
            and isinstance(ticket["place"], int)
            and isinstance(ticket["tries"], int)
            and ticket["key"] == folder.name
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return ticket if sound else None


def tickets(store: Store) -> Iterator[dict[str, Any]]:
    """Yield the tickets of all cells in the queue."""
    cells = store.root / "queue" / "cells"
    for folder in sorted(cells.iterdir()) if cells.is_dir() else ():
        if (ticket := read_ticket(folder)) is not None:
            yield ticket


def sweep_queue(store: Store) -> None:
    """Remove cells that were recorded in another way, and arrays that no cell refers to any more."""
    cells, batches = store.root / "queue" / "cells", store.root / "queue" / "batches"
    used = set()
    for folder in list(cells.iterdir()) if cells.is_dir() else ():
        # while a supervisor is at work on a cell it holds the lease, from before the folder is made
        if store.has(folder.name) and not store.lease_path(folder.name).exists():
            shutil.rmtree(folder, ignore_errors=True)
        elif (ticket := read_ticket(folder)) is not None:
            used.add(ticket["batch"])
    for folder in list(batches.iterdir()) if batches.is_dir() else ():
        try:
            silent = time.time() - folder.stat().st_mtime
        except OSError:
            continue
        if folder.name not in used and silent > KEPT_S:
            shutil.rmtree(folder, ignore_errors=True)
