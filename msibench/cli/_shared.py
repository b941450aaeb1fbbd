"""What several commands share: options, the catalogue, the store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from msibench.library.installed import catalogue as catalogue

if TYPE_CHECKING:
    from msibench.leaderboard.board import Board
    from msibench.results.store import Store
    from msibench.tracks import Track

Function = TypeVar("Function", bound=Callable[..., Any])


def results_option(function: Function) -> Function:
    """Add ``--results DIR``."""
    return click.option(
        "--results",
        type=click.Path(file_okay=False, path_type=Path),
        default=None,
        help="Results folder (default: $MSIBENCH_RESULTS, else ./results).",
    )(function)


def open_store(results: Path | None, *, create: bool) -> Store:
    """Open the results folder that was named, or the default one."""
    from msibench.results.store import Store

    return Store.open(results_root(results), create=create)


def publish_option(function: Function) -> Function:
    """Add ``--publish``."""
    return click.option(
        "--publish",
        is_flag=True,
        help="Write the board into the folder of the track's file, not into the results folder.",
    )(function)


def base_option(function: Function) -> Function:
    """Add ``--base DIR``."""
    return click.option(
        "--base",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Committed board whose rows are taken as they are; what the results folder holds of other "
        "methods is added to them.",
    )(function)


def grown_board(
    base: Path, track: Track, results: Path | None
) -> tuple[Store | None, Board, list[str]]:
    """Return a committed board with what the results folder adds, and remarks on that."""
    from msibench.gate.grow import grown_board as grow
    from msibench.gate.submit import change_lines

    store = store_if_there(results)
    grown = grow(base, track, catalogue(), store)
    said = change_lines(grown)
    return store, grown.board, said


def folder_of_grown(
    track: Track, results: Path | None, output: Path | None, *, publish: bool
) -> Path:
    """Return where a grown board is written: not where the next run writes the board of its store."""
    from msibench.leaderboard.board import published_folder

    if output is not None and publish:
        raise click.UsageError("-o and --publish both say where the board goes: give one")
    if publish:
        return published_folder(track)
    return output or results_root(results) / "grown" / track.name


def folder_of_board(
    track: Track, store: Store, output: Path | None = None, *, publish: bool = False
) -> Path:
    """Return where a board is written: the folder that was named, the track's own, or the results folder."""
    from msibench.leaderboard.board import board_folder, published_folder

    if output is not None and publish:
        raise click.UsageError("-o and --publish both say where the board goes: give one")
    return output or (published_folder(track) if publish else board_folder(track, store))


def store_if_there(results: Path | None) -> Store | None:
    """Open the results folder that was named, or the default one; None where nothing is stored yet."""
    there = (results_root(results) / "store.json").exists()
    return open_store(results, create=False) if there else None


def named_track(name: str, results: Path | None) -> Track:
    """Return a track by name or path; boards of one's own sections are known in the results folder."""
    from msibench.tracks import load_track

    return load_track(name, results=results_root(results))


def in_its_results(target: str, results: Path | None) -> tuple[str, Path | None]:
    """Return a board's folder in a results folder as its name and that folder; else both as they came."""
    place = Path(target)
    if results is not None or not place.is_dir():
        return target, results
    place = place.resolve()
    root = place.parent.parent
    if place.parent.name != "leaderboards" or not (root / "store.json").is_file():
        return target, results
    here = Path.cwd()
    return place.name, root.relative_to(here) if root.is_relative_to(here) else root


def results_root(results: Path | None) -> Path:
    """Return the results folder that was named, or the default one; an empty variable counts as unset."""
    return results or Path(os.environ.get("MSIBENCH_RESULTS") or "results")


def comma_list(text: str | None) -> tuple[str, ...]:
    """Split ``"a,b"``; nothing for None."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
