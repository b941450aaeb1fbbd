"""Tracks: what a leaderboard compares. Read from ``track.toml``, every key checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from msibench.contracts.tables import (
    check_keys,
    check_plain_name,
    check_types,
    parse_table,
    read_text,
)
from msibench.errors import ConfigurationError, UnknownNameError

TRACK_SCHEMA = 1
DEFAULT_TRACK = "quickstart"
READY = "@ready"
"""In a track's methods: every installed method that runs here as it is, that is whose weights are
found and whose budget is not ``paper``."""

DEFAULT_METRICS = ("psnr", "ssim", "rmse", "r2", "sd_ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One competitor of a track."""

    method: str
    label: str = ""
    """Name in the leaderboard; empty: the method's."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the method's defaults."""
    precision: str = "float32"

    @property
    def name(self) -> str:
        """Name in the leaderboard."""
        return self.label or self.method


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemSet:
    """Sections of one data set under one or more protocols."""

    dataset: str
    protocols: tuple[str, ...]
    mz_set: str = ""
    """Empty: the card's default."""
    sections: tuple[str, ...] = ()
    """Empty: every test section of the card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one cell may use."""

    timeout_s: float = 1800.0
    memory_gb: float | None = None
    """Resident memory of a cell's processes; None: a fair share of the machine's."""
    grace_s: float = 5.0
    """Between the polite and the final signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """A leaderboard definition."""

    name: str
    problems: tuple[ProblemSet, ...]
    title: str = ""
    description: str = ""
    entries: tuple[Entry, ...] = (Entry(method=READY),)
    seeds: tuple[int, ...] = (0,)
    metrics: tuple[str, ...] = DEFAULT_METRICS
    scheme: str = "anchored"
    control_method: str = "bicubic"
    """The method that stands at 0 of the anchored scheme."""
    missing_metric: str = "mark"
    """``mark`` or ``refuse`` a composite of which a metric is missing."""
    guide_controls: tuple[str, ...] = ()
    """Wrong guides that every fusion method is run with besides the true one."""
    required_coverage: float = 0.0
    """Share of the images that a method must have for the gates to be green."""
    limits: Limits = field(default_factory=Limits)
    folder: Path | None = None
    """Where ``track.toml`` lies and the leaderboard is written; None for a track that ships inside."""


def load_track(name: str, *, places: tuple[Path, ...] = ()) -> Track:
    """Read a track by name, by folder or by the path of its file.

    Parameters
    ----------
    name
        ``"bladder-x4"``, looked for as ``leaderboards/<name>/track.toml`` below each of `places`
        (default: the working folder) and among the tracks that ship; or a path.

    Raises
    ------
    UnknownNameError
        If there is no such track; the message lists those there are.
    ConfigurationError
        If the file has a key that does not exist or a value that cannot be meant.
    """
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return track_from_text(read_text(path), path.parent, str(path))
    if (path / "track.toml").is_file():
        path = path / "track.toml"
        return track_from_text(read_text(path), path.parent, str(path))
    found = available_tracks(places=places)
    if name not in found:
        near = get_close_matches(name, found, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownNameError(
            f"No track named {name!r}.{hint} There are: {', '.join(sorted(found))}. "
            "A track is a file leaderboards/<name>/track.toml."
        )
    file = found[name]
    if file is None:
        text = (files("msibench") / "tracks_shipped" / f"{name}.toml").read_text("utf-8")
        return track_from_text(text, None, f"shipped track {name}")
    return track_from_text(read_text(file), file.parent, str(file))


def available_tracks(*, places: tuple[Path, ...] = ()) -> dict[str, Path | None]:
    """Return every track's name with its file; None for one that ships inside the package."""
    shipped = files("msibench") / "tracks_shipped"
    found: dict[str, Path | None] = {
        entry.name.removesuffix(".toml"): None
        for entry in shipped.iterdir()
        if entry.name.endswith(".toml")
    }
    for place in places or (Path.cwd(),):
        for file in sorted(place.glob("leaderboards/*/track.toml")):
            found[file.parent.name] = file
    return found


def track_from_text(text: str, folder: Path | None, where: str) -> Track:
    """Make a track from TOML text, checking every key."""
    table = parse_table(text, where)
    if table.pop("schema_version", None) != TRACK_SCHEMA:
        raise ConfigurationError(f"{where}: schema_version must be {TRACK_SCHEMA}")
    methods = table.pop("methods", [READY])
    problems = table.pop("problems", [])
    limits = table.pop("limits", {})
    known = {
        "name", "title", "description", "seeds", "metrics", "scheme", "control_method",
        "missing_metric", "guide_controls", "required_coverage",
    }  # fmt: skip
    check_keys(table, known, where)
    if not problems:
        raise ConfigurationError(f"{where}: a track needs at least one [[problems]]")
    if "name" not in table:
        raise ConfigurationError(f"{where}: a track needs a name")
    check_plain_name(table["name"], f"{where}: name")
    if not isinstance(methods, list) or not isinstance(problems, list):
        raise ConfigurationError(f"{where}: methods and [[problems]] must be lists")
    return Track(
        **check_types(table, Track, where),
        entries=tuple(_entry(item, where) for item in methods),
        problems=tuple(_problem_set(item, where) for item in problems),
        limits=_limits(limits, where),
        folder=folder,
    )


def track_as_text(track: Track) -> str:
    """Return a track as the TOML that `track_from_text` reads; entries keep names and labels only."""
    import json

    text = json.dumps  # a TOML basic string is a JSON string
    lines = [
        f"schema_version = {TRACK_SCHEMA}",
        f"name = {text(track.name)}",
        f"title = {text(track.title)}",
        f"description = {text(track.description)}",
        f"methods = {text([entry.method for entry in track.entries])}",
        f"metrics = {text(list(track.metrics))}",
        f"scheme = {text(track.scheme)}",
        f"control_method = {text(track.control_method)}",
    ]
    for problem in track.problems:
        lines += [
            "",
            "[[problems]]",
            f"dataset = {text(problem.dataset)}",
            f"protocols = {text(list(problem.protocols))}",
        ]
    return "\n".join(lines) + "\n"


def _entry(item: object, where: str) -> Entry:
    if isinstance(item, str):
        return Entry(method=item)
    if not isinstance(item, dict):
        raise ConfigurationError(f"{where}: a method is a name or a table, got {item!r}")
    check_keys(item, {"method", "label", "config", "precision"}, f"{where}, methods")
    if "method" not in item:
        raise ConfigurationError(f"{where}: a table of methods needs method")
    return Entry(**check_types(item, Entry, f"{where}, methods"))


def _problem_set(item: Mapping[str, Any], where: str) -> ProblemSet:
    check_keys(item, {"dataset", "protocols", "mz_set", "sections"}, f"{where}, [[problems]]")
    if "dataset" not in item or not item.get("protocols"):
        raise ConfigurationError(f"{where}: each [[problems]] needs dataset and protocols")
    return ProblemSet(**check_types(item, ProblemSet, f"{where}, [[problems]]"))


def _limits(item: Mapping[str, Any], where: str) -> Limits:
    check_keys(item, {"timeout_s", "memory_gb", "grace_s"}, f"{where}, [limits]")
    return Limits(**check_types(item, Limits, f"{where}, [limits]"))
