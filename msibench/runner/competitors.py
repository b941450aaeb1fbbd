"""The methods of a run, each with its resolved configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from msibench.contracts.method import MethodSpec, WeightFile
from msibench.contracts.tables import check_keys
from msibench.datasets import file_digest
from msibench.errors import UnknownNameError
from msibench.results.keys import code_digests, digest_of
from msibench.tracks import Entry
from msibench.weights import find as find_weight
from msibench.weights.locate import missing_message

INTERVALS_VERSION = 2
"""Raised whenever the intervals that the harness calibrates may change."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Competitor:
    """One method with its resolved configuration, worked out once for all cells."""

    label: str
    """Name in the leaderboard."""
    spec: MethodSpec
    config: Mapping[str, Any]
    precision: str
    document: Mapping[str, Any]
    digest: str
    intervals: str = ""
    """What the harness's intervals are calibrated on (`msibench.tracks.Track.intervals`); empty: none are."""
    missing: str = ""
    """What to do about a weight file that is not here; empty when all are."""


def resolve_config(spec: MethodSpec, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a method's defaults with `changes`, refusing keys that it does not have."""
    check_keys(changes, set(spec.config), f"configuration of method {spec.name!r}")
    return {**spec.config, **changes}


def with_settings(
    chosen: Iterable[tuple[Entry, MethodSpec]], settings: Mapping[str, Mapping[str, Any]]
) -> list[tuple[Entry, MethodSpec]]:
    """Return the competitors that change options of others.

    Raises
    ------
    UnknownNameError
        If the run has no such method.
    """
    there = {entry.name: (entry, spec) for entry, spec in chosen}
    changed = []
    for name, changes in settings.items():
        if name not in there:
            near = get_close_matches(name, there, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else " Name it with --methods, too."
            raise UnknownNameError(f"No method of this run is named {name!r}.{hint}")
        entry, spec = there[name]
        what = ", ".join(f"{option}={value}" for option, value in sorted(changes.items()))
        config = {**entry.config, **changes}
        changed.append((replace(entry, label=f"{name} ({what})", config=config), spec))
    return changed


def competitor_of(
    entry: Entry,
    spec: MethodSpec,
    library: Mapping[str, str],
    given: tuple[Path, ...],
    intervals: str = "",
) -> Competitor:
    """Return a method with its configuration, its document and what is missing of it.

    Cells with calibrated intervals have keys of their own; without any, the keys are as before.
    """
    config = resolve_config(spec, entry.config)
    document = {
        "name": spec.name,
        "label": entry.name,
        "target": spec.target if ".py:" not in spec.target else spec.target.rpartition(":")[2],
        "config": config,
        "code": dict(code_digests(spec.target)),
        "weights": {weight.name: _weight_digest(weight, given) for weight in spec.weights},
        "versions": dict(library),
        "precision": entry.precision,
    }
    if intervals:
        document["intervals"] = {"calibrated on": intervals, "version": INTERVALS_VERSION}
    missing = ""
    for weight in spec.weights:
        if find_weight(weight, given=given) is None:
            missing = missing_message(weight)
            break
    return Competitor(
        label=entry.name,
        spec=spec,
        config=config,
        precision=entry.precision,
        document=document,
        digest=digest_of(document),
        missing=missing,
        intervals=intervals,
    )


def _weight_digest(weight: WeightFile, given: tuple[Path, ...]) -> str:
    """Return the sha256 that a weight file is known by, or its name while it is not here."""
    if weight.sha256:
        return weight.sha256
    path = find_weight(weight, given=given)
    if path is None:
        return f"not here: {weight.name}"
    return file_digest(path)
