"""Which cells of a results folder belong to a track now: ``tracks/<name>.json``.

The store keeps every cell ever run; a leaderboard is made of the current one of each identity. The
index is written by ``msibench run`` and is all that a rebuild needs: no plugin is asked again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msibench.errors import StoreError
from msibench.results.files import write_atomically
from msibench.results.keys import canonical_json, plain
from msibench.results.store import Store


@dataclass(frozen=True, slots=True)
class TrackIndex:
    """The current cells of a track, and the facts that its pages show."""

    cells: Mapping[str, str] = field(default_factory=dict)
    """Identity (method, data set, section, protocol, m/z set, seed, control, device) → key."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Track, data sets, metrics, citations, published tables: plain JSON."""


def identity(
    method: str,
    dataset: str,
    section: str,
    protocol: str,
    mz_set: str,
    seed: int,
    control: str,
    device: str,
) -> str:
    """Return the name of a cell among those of a track; one cell at most bears it."""
    return canonical_json([method, dataset, section, protocol, mz_set, seed, control, device])


def read_index(store: Store, track: str) -> TrackIndex:
    """Return a track's index; empty when the track was never run into this store.

    Raises
    ------
    StoreError
        If the file is damaged.
    """
    path = store.root / "tracks" / f"{track}.json"
    if not path.is_file():
        return TrackIndex()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return TrackIndex(dict(found["cells"]), dict(found["facts"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} is damaged ({error}); remove it and run the track again: "
            "cells that are stored are not run again"
        ) from error


def update_index(
    store: Store, track: str, cells: Mapping[str, str], facts: Mapping[str, Any]
) -> TrackIndex:
    """Add cells to a track's index, replacing those of the same identity."""
    old = read_index(store, track)
    merged = TrackIndex({**old.cells, **cells}, {**old.facts, **facts})
    path = store.root / "tracks" / f"{track}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(
        plain({"cells": merged.cells, "facts": merged.facts}),
        sort_keys=True,
        indent=1,
        ensure_ascii=False,
    )
    if not path.is_file() or path.read_text(encoding="utf-8") != text + "\n":
        write_atomically(path, text + "\n")
    return merged
