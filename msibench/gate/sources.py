"""Where the two sides of a comparison come from: stores, leaderboards, git revisions, benchmarks."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from msibench.errors import ConfigurationError, IntegrityError, SchemaError
from msibench.gate.rows_file import unpack_rows
from msibench.gate.samples import Timings, read_pytest_benchmark
from msibench.leaderboard.rows import ALSO, COLUMNS, collect, tidy
from msibench.results.index import read_index
from msibench.results.schema import Status
from msibench.results.store import Store

ROWS = "rows.parquet"
LARGEST_FILE = 2 << 30
"""Bytes of a rows file beyond which it is not read."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Side:
    """One side of a comparison."""

    name: str
    """As it was given."""
    rows: pd.DataFrame | None = None
    """Rows of a leaderboard; None for benchmark results."""
    benchmarks: Timings | None = None
    """Timings of benchmarks; None for rows."""
    damaged: Mapping[str, str] = field(default_factory=dict)
    """What was changed or damaged, and how."""
    truths: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    """(data set, section, protocol, m/z set) → digest of the truth, where the records are at hand."""


def load_side(given: str, *, track: str = "", folder: Path | None = None) -> Side:
    """Read one side of a comparison.

    Parameters
    ----------
    given
        A results folder (with `track`), a leaderboard folder, a ``rows.parquet``, the JSON of
        pytest-benchmark, or ``REV:leaderboards/x`` (``REV`` alone with `track`) of committed rows,
        which is read with ``git show`` and checks nothing out.
    track
        Track of a results folder or revision.
    folder
        Where git looks; the working folder when None.

    Raises
    ------
    ConfigurationError
        If there is no such thing.
    IntegrityError
        If the file is not what it claims to be.
    """
    path = Path(given)
    if path.is_dir():
        return _from_folder(given, path, track)
    if path.is_file():
        if path.suffix == ".json":
            return Side(name=given, benchmarks=read_pytest_benchmark(path))
        if path.stat().st_size > LARGEST_FILE:
            raise IntegrityError(f"{path} is larger than {LARGEST_FILE >> 30} GiB; not read")
        return Side(name=given, rows=read_rows(path.read_bytes(), given))
    return _from_git(given, track, folder)


def read_rows(raw: bytes, where: str) -> pd.DataFrame:
    """Read the bytes of a ``rows.parquet``.

    Raises
    ------
    IntegrityError
        If they are not a table of rows.
    """
    import pyarrow as pa

    found = unpack_rows(raw, COLUMNS, where, also=ALSO)
    try:
        return tidy(found)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise IntegrityError(f"{where} is not a table of rows: {error}") from error


def _from_folder(given: str, path: Path, track: str) -> Side:
    if (path / "store.json").is_file():
        return _from_store(given, path, track)
    for candidate in (path / ROWS, path / track / ROWS, path / "leaderboards" / track / ROWS):
        if candidate.is_file() and (candidate.parent == path or track):
            return Side(name=given, rows=read_rows(candidate.read_bytes(), str(candidate)))
    raise ConfigurationError(
        f"{given} is neither a results folder (store.json) nor a leaderboard (rows.parquet); "
        "run the track first, or name the leaderboard with --track"
    )


def _from_store(given: str, path: Path, track: str) -> Side:
    store = Store.open(path, create=False)
    if not track:
        there = sorted(file.stem for file in (path / "tracks").glob("*.json"))
        if len(there) != 1:
            raise ConfigurationError(
                f"{given} is a results folder of {len(there)} tracks ({', '.join(there) or 'none'}); "
                "say which with --track NAME"
            )
        track = there[0]
    index = read_index(store, track)
    collected = collect(store, index)
    damaged = dict(collected.damaged)
    truths = {}
    for key in index.cells.values():
        if key in damaged or not store.has(key):
            continue
        try:
            record = store.record(key)
        except (IntegrityError, SchemaError) as error:
            damaged[key] = str(error)
            continue
        if record.status is Status.OK and record.truth_digest:
            place = record.identity.problem[:-1]  # a wrong guide changes no truth
            truths[place] = record.truth_digest
    return Side(name=given, rows=collected.rows, damaged=damaged, truths=truths)


def _from_git(given: str, track: str, folder: Path | None) -> Side:
    revision, colon, inside = given.partition(":")
    if not colon and track:
        inside = f"leaderboards/{track}"
    if not revision or not inside or given.startswith("-"):
        raise ConfigurationError(
            f"there is no {given!r} here; give a results folder, a leaderboard folder, the JSON of "
            "pytest-benchmark, or committed rows as REV:leaderboards/NAME"
        )
    inside = inside.rstrip("/")
    file = inside if inside.endswith(".parquet") else f"{inside}/{ROWS}"
    raw = _git_show(revision, file, given, folder)
    if raw.startswith(b"version https://git-lfs"):
        raise ConfigurationError(f"{given} is a Git LFS pointer; fetch the file itself first")
    return Side(name=given, rows=read_rows(raw, given))


def _git_show(revision: str, file: str, given: str, folder: Path | None) -> bytes:
    command = ["git", "show", "--no-textconv", "--end-of-options", f"{revision}:{file}"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"{given}: git cannot be asked: {error}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-300:]
        raise ConfigurationError(
            f"{given} is not a file or folder here, and git has no {revision}:{file} ({said})"
        )
    return done.stdout
