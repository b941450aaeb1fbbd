"""``msibench verify``: follow every number back to its prediction, and find what was changed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from msibench.cli._shared import (
    catalogue,
    in_its_results,
    named_track,
    open_store,
    results_option,
    results_root,
)
from msibench.cli._together import Needs, option_rules

if TYPE_CHECKING:
    from msibench.gate.verify import Checked
    from msibench.results.store import Store
    from msibench.tracks import Track


@click.command(
    epilog="Example: msibench verify quickstart --rerun 2\n\n"
    "Example: msibench verify results/cells/3f/3f…/record.json\n\n"
    "Example: msibench verify leaderboards/*/   (committed files alone, no store)\n\n"
    "Exit codes: 0 everything follows, 6 nothing could be checked, 7 something was changed."
)
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@click.option("--rerun", "count", type=click.IntRange(0), default=0, help="Cells to run again.")
@click.option("--seed", default=0, show_default=True, help="Which cells are drawn for --rerun.")
@click.option(
    "--fresh-salt",
    "fresh",
    is_flag=True,
    help="With --rerun: judge their methods on new synthetic sections, too.",
)
@click.option(
    "--method", "files", multiple=True, help="A method that was run as file.py:Class, for --rerun."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@results_option
@option_rules(
    Needs("--fresh-salt", ("--rerun",), "the methods of K cells are judged"),
    Needs("--seed", ("--rerun",), "it draws the cells that are run again"),
    Needs("--method", ("--rerun",), "it says where a method is that is run again"),
)
def command(
    targets: tuple[str, ...],
    count: int,
    seed: int,
    fresh: bool,
    files: tuple[str, ...],
    as_json: bool,
    results: Path | None,
) -> int:
    """Check each TARGET, a track, a leaderboard folder or one record, along its whole chain.

    Digests of records, files and truths are computed again, scores are computed again from the stored
    predictions, the leaderboard is made again, and --rerun K predictions are made again. Without a TARGET
    it is quickstart.
    """
    again = _Again(count=count, seed=seed, fresh=fresh, single=_single(files))
    known = [_known(target, results) for target in targets or ("quickstart",)]
    checked = [_checked(*one, again) for one in known]
    every = [one for part in checked for one in part]
    if as_json:
        click.echo(json.dumps([asdict(one) for one in every], indent=1))
    else:
        _tell(every)
    return max(_exit_code(part, count) for part in checked)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Again:
    """Which cells are run again, and how."""

    count: int
    seed: int
    fresh: bool
    single: dict[str, str]


def _known(target: str, results: Path | None) -> tuple[str, Path | None, Track | None]:
    """Return a target, its results folder and its track, so that a wrong name ends the command before any work."""
    target, results = in_its_results(target, results)
    track = _track_named(target, results)
    if results is None and _is_record(Path(target)):
        results = _store_of(Path(target))
    return target, results, track


def _checked(
    target: str, results: Path | None, track: Track | None, again: _Again
) -> list[Checked]:
    """Check one target."""
    store, checked = _opened(results, needed=track is None or results is not None)
    if track:
        checked += _track(track, store, again)
    elif store is not None:
        checked += _record(store, target, again)
    return checked


def _track_named(target: str, results: Path | None) -> Track | None:
    """Return the chosen track; None for a record, given by its file, folder or key."""
    from msibench.errors import UnknownNameError

    place = Path(target)
    if _is_record(place):
        return None
    try:
        return named_track(target, results)
    except UnknownNameError:
        if len(place.name) < 12 or set(place.name) - set("0123456789abcdef"):
            raise
    return None


def _opened(results: Path | None, *, needed: bool) -> tuple[Store | None, list[Checked]]:
    """Open the results; a damaged folder is a fault, an absent one only where it is `needed`."""
    from msibench.errors import SchemaError, StoreError
    from msibench.gate.verify import Checked

    try:
        return open_store(results, create=False), []
    except SchemaError:
        raise
    except StoreError as error:
        if _is_damaged_store(results):
            return None, [Checked(name="the results folder", faults=[str(error)])]
        if needed:
            raise
    return None, []


def _exit_code(checked: list[Checked], count: int) -> int:
    if any(one.faults for one in checked):
        return 7
    drawn = [one for one in checked if one.drawn]
    if count and not (drawn and all(one.level == "reproduced" for one in drawn)):
        click.echo("not every cell that was drawn could be run again as it was", err=True)
        return 6
    cells = [one for one in checked if one.is_cell]
    if cells and not any(one.level for one in cells):
        click.echo("nothing recomputed: no cell's scores could be computed again here", err=True)
        return 6
    return 0 if checked else 6


def _is_damaged_store(results: Path | None) -> bool:
    """Whether a folder that cannot be opened holds results all the same."""
    root = results_root(results)
    return any((root / name).is_dir() for name in ("cells", "problems", "tracks"))


def _track(track: Track, store: Store | None, again: _Again) -> list[Checked]:
    from msibench.errors import StoreError
    from msibench.gate.fresh import judge_afresh
    from msibench.gate.rerun import RUN_AGAIN, cards_of_own, choose, rerun
    from msibench.gate.verify import Checked, misplaced, verify_cell
    from msibench.gate.verify_board import facts_of_track, verify_leaderboard
    from msibench.results.index import read_index

    found = catalogue()
    checked = []
    index = None
    try:
        index = None if store is None else read_index(store, track.name)
    except StoreError as error:
        checked.append(Checked(name=f"the index of track {track.name}", faults=[str(error)]))
    if store is not None and index is not None:
        keys = [key for _, key in sorted(index.cells.items()) if store.has(key)]
        cells = [
            verify_cell(store, key, found.metrics, wanted=track.metrics, methods=found.methods)
            for key in keys
        ]
        checked += cells
        checked += misplaced(store, index)
        absent = sorted(set(index.cells.values()) - set(keys))
        sound = [key for key, one in zip(keys, cells, strict=True) if not one.faults]
        settled = [key for key in sound if store.record(key).status in RUN_AGAIN]
        cards = cards_of_own(track, found)
        for key in choose(settled, again.count, seed=again.seed):
            checked.append(rerun(store, key, found, cards=cards, single=again.single))
            if again.fresh:
                control = track.control_method
                checked.append(
                    judge_afresh(store, key, found, control_method=control, single=again.single)
                )
        note = "is listed in the track, and not in the store"
        checked += [Checked(name=key, notes=[note]) for key in absent]
    track_facts = facts_of_track(track, found)
    for folder in _folders(track, store):
        checked.append(verify_leaderboard(folder, track, store, index, track_facts=track_facts))
    return checked


def _single(files: tuple[str, ...]) -> dict[str, str]:
    """Return name → ``file.py:Class`` of methods that no plugin provides."""
    from msibench.plugin_manager import method_from_file

    return {method_from_file(reference).name: reference for reference in files}


def _folders(track: Track, store: Store | None) -> list[Path]:
    """Return where boards of a track are: published beside its file, and in the results folder."""
    from msibench.leaderboard.board import board_folder

    places = [] if track.folder is None else [track.folder]
    if store is not None and board_folder(track, store).resolve() not in {
        place.resolve() for place in places
    }:
        places.append(board_folder(track, store))
    there = [place for place in places if (place / "rows.parquet").is_file()]
    return there or [place for place in places if place.is_dir()]


def _record(store: Store, target: str, again: _Again) -> list[Checked]:
    from msibench.gate.fresh import judge_afresh
    from msibench.gate.rerun import rerun
    from msibench.gate.verify import key_from, verify_cell

    found = catalogue()
    key = key_from(target, store)
    checked = [verify_cell(store, key, found.metrics, methods=found.methods)]
    if again.count and not checked[0].faults:
        checked.append(rerun(store, key, found, single=again.single))
        if again.fresh:
            checked.append(judge_afresh(store, key, found, single=again.single))
    return checked


def _is_record(place: Path) -> bool:
    return place.name == "record.json" or (place / "record.json").is_file()


def _store_of(place: Path) -> Path:
    """Return the results folder that a record lies in: ``<store>/cells/<kk>/<key>/record.json``."""
    cell = (place.parent if place.name == "record.json" else place).resolve()
    return cell.parents[2]


def _tell(checked: list[Checked]) -> None:
    for one in checked:
        state = "CHANGED" if one.faults else one.level or ("not run" if one.drawn else "ok")
        click.echo(f"{state:<10} {one.name}")
        for text in (*one.faults, *(f"missing: {text}" for text in one.missing), *one.notes):
            click.echo(f"{'':<10} {text}")
    if any(one.claims for one in checked):
        click.echo(
            "claimed, and not checked: device, times and memory of every cell, e.g. "
            + next("; ".join(one.claims) for one in checked if one.claims)
        )
    faults = sum(len(one.faults) for one in checked)
    missing = sum(len(one.missing) for one in checked)
    click.echo(
        f"{len(checked)} checked, {faults} fault{'s' * (faults != 1)}"
        + (f", {missing} missing" * bool(missing))
    )
