"""``msibench verify``: follow every number back to its prediction, and find what was changed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from msibench.cli._shared import catalogue, named_track, open_store, results_option

if TYPE_CHECKING:
    from msibench.gate.verify import Checked
    from msibench.results.store import Store
    from msibench.tracks import Track


@click.command(
    epilog="Example: msibench verify quickstart --rerun 2\n\n"
    "Example: msibench verify results/cells/3f/3f…/record.json\n\n"
    "Example: msibench verify leaderboards/bladder-x4   (committed files alone, no store)\n\n"
    "Exit codes: 0 everything follows, 6 nothing could be checked, 7 something was changed."
)
@click.argument("target", default="quickstart")
@click.option("--rerun", "count", type=click.IntRange(0), default=0, help="Cells to run again.")
@click.option("--seed", default=0, show_default=True, help="Which cells are drawn for --rerun.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@results_option
def command(target: str, count: int, seed: int, as_json: bool, results: Path | None) -> int:
    """Check TARGET, a track, a leaderboard folder or one record, along its whole chain.

    Digests of records, files and truths are computed again, scores are computed again from the stored
    predictions, the leaderboard is made again, and --rerun K predictions are made again.
    """
    from msibench.errors import StoreError, UnknownNameError

    track: Track | None = None
    store: Store | None = None
    place = Path(target)
    if place.name != "record.json" and not (place / "record.json").is_file():
        try:
            track = named_track(target, results)
        except UnknownNameError:
            if len(place.name) < 12 or set(place.name) - set("0123456789abcdef"):
                raise
    elif results is None:
        results = _store_of(place)
    try:
        store = open_store(results, create=False)
    except StoreError:
        if track is None or results is not None:
            raise
    checked = _track(track, store, count, seed) if track else _record(store, target, count)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in checked], indent=1))
    else:
        _tell(checked)
    if any(one.faults for one in checked):
        return 7
    if count and not any(one.level == "reproduced" for one in checked):
        return 6
    return 0 if checked else 6


def _track(track: Track, store: Store | None, count: int, seed: int) -> list[Checked]:
    from msibench.gate.rerun import choose, rerun
    from msibench.gate.verify import Checked, verify_cell
    from msibench.gate.verify_board import verify_leaderboard
    from msibench.leaderboard.board import board_folder
    from msibench.results.index import read_index

    index = None if store is None else read_index(store, track.name)
    checked = []
    if store is not None and index is not None:
        found = catalogue()
        keys = [key for _, key in sorted(index.cells.items()) if store.has(key)]
        checked += [verify_cell(store, key, found.metrics) for key in keys]
        absent = sorted(set(index.cells.values()) - set(keys))
        sound = [key for key, one in zip(keys, checked, strict=True) if not one.faults]
        predicted = [key for key in sound if "prediction.h5" in store.record(key).files]
        checked += [rerun(store, key, found) for key in choose(predicted, count, seed=seed)]
        note = "is listed in the track, and not in the store"
        checked += [Checked(name=key, notes=[note]) for key in absent]
    folder = track.folder
    if store is not None and (folder is None or not (folder / "rows.parquet").is_file()):
        folder = board_folder(track, store)
    if folder is not None and folder.is_dir():
        checked.append(verify_leaderboard(folder, track, store, index))
    return checked


def _record(store: Store | None, target: str, count: int) -> list[Checked]:
    from msibench.gate.rerun import rerun
    from msibench.gate.verify import key_from, verify_cell

    assert store is not None
    found = catalogue()
    key = key_from(target, store)
    checked = [verify_cell(store, key, found.metrics)]
    if count and not checked[0].faults:
        checked.append(rerun(store, key, found))
    return checked


def _store_of(place: Path) -> Path:
    """Return the results folder that a record lies in: ``<store>/cells/<kk>/<key>/record.json``."""
    cell = (place.parent if place.name == "record.json" else place).resolve()
    return cell.parents[2]


def _tell(checked: list[Checked]) -> None:
    for one in checked:
        state = "CHANGED" if one.faults else one.level or "ok"
        click.echo(f"{state:<10} {one.name}")
        for text in (*one.faults, *one.notes):
            click.echo(f"{'':<10} {text}")
    faults = sum(len(one.faults) for one in checked)
    click.echo(f"{len(checked)} checked, {faults} faults")
