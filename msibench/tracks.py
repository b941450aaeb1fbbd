"""Tracks: what a leaderboard compares. Read from ``track.toml``, every key checked."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from msibench.contracts.metric import INTERVALS
from msibench.contracts.plain_text import few_of
from msibench.contracts.tables import (
    check_keys,
    check_plain_name,
    check_types,
    fields_of,
    parse_table,
    read_text,
)
from msibench.errors import ConfigurationError, UnknownNameError
from msibench.plugin_manager.discovery import installed

TRACK_SCHEMA = 1
DEFAULT_TRACK = "quickstart"
READY = "@ready"
"""In a track's methods: every installed method that runs here as it is, that is whose weights are
found and whose budget, if it has one, is ``quick``."""

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
    mz: tuple[float, ...] = ()
    """m/z values in place of those of `mz_set`, whose window is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A user's own sections, of which no card is installed."""

    data: tuple[str, ...]
    """Files with one section each."""
    guide: tuple[str, ...] = ()
    """Optical images, one a section; empty: none."""
    transform: tuple[str, ...] = ()
    """What ``msibench register`` wrote, one a section; empty: guides show the section's field of view."""
    level: int | None = None
    """Level of the guides' pyramids to read, 0 the finest; None: the one that is needed."""
    mz: tuple[float, ...] = ()
    """Empty: every channel of the files, or the m/z set of `dataset`."""
    ppm: float = 5.0
    pixel_size_um: float | None = None
    """Where the files do not say."""
    dataset: str = ""
    """The card whose m/z set and published scores apply; empty: none."""
    specimens: tuple[str, ...] = ()
    """``NAME=SECTION,SECTION`` for each animal, biopsy or preparation that several sections were cut from; a section
    may be a pattern. Empty: each section is a specimen of its own."""


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
    scheme: str = "skill"
    """Scoring scheme; where `skill` is the default and no row holds it, `anchored` takes its place."""
    control_method: str = "bicubic"
    """The method that has 0 in the anchored scheme."""
    missing_metric: str = "mark"
    """``mark`` or ``refuse`` a composite of which a metric is missing."""
    guide_controls: tuple[str, ...] = ()
    """Wrong guides that every fusion method is run with besides the true one."""
    required_coverage: float = 0.0
    """Share of the images that a method must have for the gates to be green."""
    intervals: str = ""
    """What the harness calibrates an interval for every method on, one of `INTERVALS`; empty: it does not."""
    device: str = ""
    """The kind of device that the board is measured on, ``cpu`` or ``cuda``; empty: not stated."""
    limits: Limits = field(default_factory=Limits)
    own: Own | None = None
    """The user's own sections that the track is made of; None: data sets with cards."""
    folder: Path | None = None
    """Where ``track.toml`` lies and the board is published; None for a track without such a folder."""


def load_track(name: str, *, results: Path | None = None) -> Track:
    """Read a track by name, by folder or by the path of its file.

    Parameters
    ----------
    name
        ``"bladder-x4"``, looked for as ``leaderboards/<name>/track.toml`` below the working folder,
        among the tracks that ship, and among the boards of `results`; or a path.
    results
        A results folder, whose boards of one's own sections have names, too.

    Raises
    ------
    UnknownNameError
        If there is no such track; the message lists those there are.
    ConfigurationError
        If the file has a key that does not exist or a value that is not valid.
    """
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return track_from_text(read_text(path), path.parent, str(path))
    if (path / "track.toml").is_file():
        kept = board_file(path.resolve().parent.parent, path.resolve().name)
        if not kept.is_file():
            kept = path / "track.toml"
        return track_from_text(read_text(kept), path, str(kept))
    found = available_tracks(results=results)
    if name not in found and (offered := installed().tracks.get(name)):
        return track_from_text(read_text(offered.path), None, f"track {name} of a plugin")
    if name not in found:
        near = get_close_matches(name, found, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownNameError(
            f"No track named {name!r}.{hint} There are: {few_of(sorted(found), command='msibench list tracks')}. "
            "A track is a file leaderboards/<name>/track.toml; boards of your own sections are found "
            "by name in their results folder (--results)."
        )
    file = found[name]
    if file is not None and results is not None and file == board_file(results, name):
        return track_from_text(read_text(file), None, str(file))
    if file is None:
        return load_shipped(name)
    return track_from_text(read_text(file), file.parent, str(file))


def board_file(results: Path, name: str) -> Path:
    """Return where a results folder keeps the definition of a board that has no file of its own."""
    return results / "tracks" / f"{name}.toml"


def shipped_tracks() -> tuple[str, ...]:
    """Return the names of the tracks inside the package."""
    return tuple(sorted(_shipped()))


def load_shipped(name: str) -> Track:
    """Read a track that ships inside the package."""
    inside = files("msibench") / "tracks_shipped"
    committed = inside / "leaderboards" / name / "track.toml"
    file = committed if committed.is_file() else inside / f"{name}.toml"
    return _read_shipped(name, file)


def _read_shipped(name: str, file: Traversable) -> Track:
    return _shipped_track(file.read_text("utf-8"), name)


@cache
def _shipped_track(text: str, name: str) -> Track:
    """Return what a text says; a run asks for all that ship several times."""
    return track_from_text(text, None, f"shipped track {name}")


def shipped_boards(device: str) -> dict[str, str]:
    """Return ``leaderboard.csv`` of every committed board of a kind of device, by track.

    A track that states no device counts as one of the processor.
    """
    found = {}
    for name, track in _shipped().items():
        csv = files("msibench") / "tracks_shipped" / "leaderboards" / name / "leaderboard.csv"
        if csv.is_file() and (_read_shipped(name, track).device or "cpu") == device:
            found[name] = csv.read_text("utf-8")
    return found


def shipped_rows(device: str) -> tuple[Path, ...]:
    """Return ``rows.parquet`` of every committed board of a kind of device, by name.

    A checkout has them; an installed package does not. Boards that state no device count for both kinds.
    """
    found = []
    for name, track in sorted(_shipped().items()):
        place = files("msibench") / "tracks_shipped" / "leaderboards" / name / "rows.parquet"
        if place.is_file() and (_read_shipped(name, track).device or device) == device:
            found.append(Path(str(place)))
    return tuple(found)


def _shipped() -> dict[str, Traversable]:
    """Return the files of the tracks inside the package: its own, and the committed leaderboards'."""
    inside = files("msibench") / "tracks_shipped"
    found = {e.name.removesuffix(".toml"): e for e in inside.iterdir() if e.name.endswith(".toml")}
    committed = inside / "leaderboards"  # in a checkout a link to the folder of that name
    for folder in committed.iterdir() if committed.is_dir() else ():
        if (track := folder / "track.toml").is_file():
            found[folder.name] = track
    return found


def available_tracks(*, results: Path | None = None) -> dict[str, Path | None]:
    """Return every track's name with its file; None for one that ships inside the package.

    Boards of `results` come last: none of them takes the name of a track.
    """
    found: dict[str, Path | None] = {}
    if results is not None:
        found |= {file.stem: file for file in sorted(results.glob("tracks/*.toml"))}
    found |= dict.fromkeys(shipped_tracks())
    for file in sorted(Path.cwd().glob("leaderboards/*/track.toml")):
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
    own = table.pop("own", None)
    known = {
        "name", "title", "description", "seeds", "metrics", "scheme", "control_method",
        "missing_metric", "guide_controls", "required_coverage", "device", "intervals",
    }  # fmt: skip
    check_keys(table, known, where)
    if not problems:
        raise ConfigurationError(f"{where}: a track needs at least one [[problems]]")
    if "name" not in table:
        raise ConfigurationError(f"{where}: a track needs a name")
    check_plain_name(table["name"], f"{where}: name")
    if not isinstance(methods, list) or not isinstance(problems, list):
        raise ConfigurationError(f"{where}: methods and [[problems]] must be lists")
    if table.get("device", "") not in {"", "cpu", "cuda"}:
        raise ConfigurationError(
            f"{where}: device is the kind that the board is measured on, cpu or cuda; "
            f"got {table['device']!r}"
        )
    if table.get("intervals", "") not in {"", *INTERVALS}:
        raise ConfigurationError(
            f"{where}: intervals says what they are calibrated on, {' or '.join(INTERVALS)}; "
            f"got {table['intervals']!r}"
        )
    read = Track(
        **check_types(table, Track, where),
        entries=tuple(_entry(item, where) for item in methods),
        problems=tuple(_problem_set(item, where) for item in problems),
        limits=_limits(limits, where),
        own=None if own is None else _own(own, where),
        folder=folder,
    )
    return with_intervals(read, read.intervals)


def with_intervals(track: Track, kind: str) -> Track:
    """Return a track for which the harness calibrates intervals, its metrics completed by those of intervals.

    Parameters
    ----------
    kind
        One of `INTERVALS`; empty: the track as it is.
    """
    if not kind:
        return track
    from msibench.metrics.trust_specs import CALIBRATED_METRICS

    lacking = tuple(name for name in CALIBRATED_METRICS if name not in track.metrics)
    return replace(track, intervals=kind, metrics=(*track.metrics, *lacking))


def track_as_text(track: Track) -> str:
    """Return a track as the TOML that `track_from_text` reads; all of it but its folder."""
    table = _as_table(track, skip={"entries", "problems", "limits", "own", "folder"})
    methods = [
        entry.method if entry == Entry(method=entry.method) else _as_table(entry)
        for entry in track.entries
    ]
    lines = [f"schema_version = {TRACK_SCHEMA}", *_lines({**table, "methods": methods})]
    for problem in track.problems:
        lines += ["", "[[problems]]", *_lines(_as_table(problem))]
    if limits := _as_table(track.limits):
        lines += ["", "[limits]", *_lines(limits)]
    if track.own is not None:
        lines += ["", "[own]", *_lines(_as_table(track.own))]
    return "\n".join(lines) + "\n"


def _as_table(value: Any, skip: Collection[str] = ()) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from their defaults."""
    found = {}
    for each in fields(value):
        default = each.default if each.default_factory is MISSING else each.default_factory()
        held = getattr(value, each.name)
        if each.name not in skip and held != default:
            found[each.name] = held
    return found


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in table.items()]


def _toml(value: Any) -> str:
    """Return a value of TOML; its basic strings, numbers and lists are those of JSON, tables are not."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{json.dumps(str(k))} = {_toml(v)}" for k, v in value.items())
        return "{ " + inner + " }" if inner else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value).replace("\x7f", "\\u007f")


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
    known = {"dataset", "protocols", "mz_set", "sections", "mz"}
    check_keys(item, known, f"{where}, [[problems]]")
    if "dataset" not in item or not item.get("protocols"):
        raise ConfigurationError(f"{where}: each [[problems]] needs dataset and protocols")
    return ProblemSet(**check_types(item, ProblemSet, f"{where}, [[problems]]"))


def _own(item: Mapping[str, Any], where: str) -> Own:
    check_keys(item, fields_of(Own), f"{where}, [own]")
    if not item.get("data"):
        raise ConfigurationError(f"{where}: [own] needs data, a list of files")
    return Own(**check_types(item, Own, f"{where}, [own]"))


def _limits(item: Mapping[str, Any], where: str) -> Limits:
    check_keys(item, {"timeout_s", "memory_gb", "grace_s"}, f"{where}, [limits]")
    return Limits(**check_types(item, Limits, f"{where}, [limits]"))
