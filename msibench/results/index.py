"""Which cells of a results folder belong to a track now: ``tracks/<name>.json``.

The store keeps every cell ever run; a leaderboard is made of the current one of each identity. The
index is written by ``msibench run`` and is all that a rebuild needs: no plugin is asked again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msibench.errors import StoreError
from msibench.owners import owned_name
from msibench.results.files import explained, write_atomically
from msibench.results.keys import digest_of, plain
from msibench.results.leases import waited_for
from msibench.results.store import Store

_KEY = re.compile(r"[\w.-]{1,128}")


@dataclass(frozen=True, slots=True)
class TrackIndex:
    """The current cells of a track, and what its pages say about them."""

    cells: Mapping[str, str] = field(default_factory=dict)
    """`msibench.results.identity.CellIdentity` as text → key."""
    track_facts: Mapping[str, Any] = field(default_factory=dict)
    """Track, data sets, metrics, citations, published tables: plain JSON."""


def read_index(store: Store, track: str) -> TrackIndex:
    """Return a track's index; empty when the track was never run into this store.

    Raises
    ------
    StoreError
        If the file is damaged.
    """
    path = index_path(store, track)
    if not path.exists():
        return TrackIndex()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        digest = found.pop("digest", None)
        if digest is not None and digest != digest_of(found):
            raise ValueError("its digest differs")
        cells, track_facts = dict(found["cells"]), dict(found["facts"])
        if not all(isinstance(key, str) and _KEY.fullmatch(key) for key in cells.values()):
            raise ValueError("it lists what is not a key of a cell")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(
            f"{path} is damaged ({error}); remove it and run the track again: "
            "cells that are stored are not run again"
        ) from error
    return TrackIndex(cells, track_facts)


def update_index(
    store: Store, track: str, cells: Mapping[str, str], track_facts: Mapping[str, Any]
) -> TrackIndex:
    """Add cells to a track's index, replacing those of the same identity.

    Several runs may do so at a time: each waits for the other, and no cells are lost.
    """
    path = index_path(store, track)
    store.make_folder(path.parent)
    with waited_for(store.lease_path(f"track-{track}")):
        old = read_index(store, track)
        merged = TrackIndex({**old.cells, **cells}, {**old.track_facts, **track_facts})
        content: dict[str, Any] = {"cells": plain(merged.cells), "facts": plain(merged.track_facts)}
        content["digest"] = digest_of(content)
        text = json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False)
        if not path.is_file() or path.read_text(encoding="utf-8") != text + "\n":
            write_atomically(path, text + "\n")
    return merged


def indexed_tracks(store: Store) -> list[str]:
    """Return the tracks that were ever run into a store, by name."""
    return sorted(path.stem for path in index_path(store, "any").parent.glob("*.json"))


def set_index_aside(store: Store, track: str) -> Path | None:
    """Move a damaged index out of the way, and return its new path; None for an intact one.

    A run makes it anew from its plan: cells that are stored are not run again.
    """
    try:
        read_index(store, track)
    except StoreError:
        aside = store.make_folder(store.root / "set-aside") / owned_name(f"track-{track}.json")
        with explained(aside):
            index_path(store, track).rename(aside)
        return aside
    return None


def index_path(store: Store, track: str) -> Path:
    """Return the path of a track's index."""
    return store.root / "tracks" / f"{track}.json"
