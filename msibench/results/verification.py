"""What is known of a cell beyond its record: ``verified.json`` of a results folder.

A record says where its numbers come from: ``measured`` here, or ``self-reported`` in a bundle. What
`msibench verify` could show is kept apart, so that no record is ever rewritten, and holds only for the
very bytes of the record that it was shown for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from msibench.results.files import sha256_of, write_atomically
from msibench.results.schema import CellRecord
from msibench.results.store import RECORD, Store

VERIFIED, REPRODUCED = "verified", "reproduced"
LEVELS = (VERIFIED, REPRODUCED)
"""``verified``: scores were computed again from prediction and truth; ``reproduced``: the prediction
was made again, too. The later one is the stronger."""
FILE = "verified.json"


def read_verifications(store: Store) -> dict[str, dict[str, str]]:
    """Return key → ``level`` and ``record`` (sha256 of the record's file); empty without any.

    A file that cannot be read proves nothing, and counts as none.
    """
    path = store.root / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        str(key): {"level": str(entry["level"]), "record": str(entry["record"])}
        for key, entry in found.items()
        if isinstance(entry, dict) and entry.get("level") in LEVELS and "record" in entry
    }


def shown_origin(
    store: Store, record: CellRecord, known: Mapping[str, Mapping[str, str]] | None = None
) -> str:
    """Return what a row says of its origin: the level that was shown, else what the record says."""
    entry = (read_verifications(store) if known is None else known).get(record.key)
    if entry and entry["record"] == sha256_of(store.cell_folder(record.key) / RECORD):
        return entry["level"]
    return record.origin


def keep_verification(store: Store, key: str, level: str) -> None:
    """Write down that a cell was verified or reproduced; a stronger level that holds stays."""
    known = read_verifications(store)
    digest = sha256_of(store.cell_folder(key) / RECORD)
    old = known.get(key)
    if old and old["record"] == digest and LEVELS.index(old["level"]) >= LEVELS.index(level):
        return
    known[key] = {"level": level, "record": digest}
    write_atomically(store.root / FILE, json.dumps(known, indent=1, sort_keys=True) + "\n")


def drop_verification(store: Store, key: str) -> None:
    """Forget what was shown of a cell, because it no longer holds."""
    known = read_verifications(store)
    if known.pop(key, None) is not None:
        write_atomically(store.root / FILE, json.dumps(known, indent=1, sort_keys=True) + "\n")
