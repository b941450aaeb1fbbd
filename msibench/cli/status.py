"""``msibench status``: the state of the cells of a track, and why one is stale."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msibench.cli._shared import (
    catalogue,
    comma_list,
    in_its_results,
    named_track,
    open_store,
    results_option,
)
from msibench.cli._together import Needs, check_rules
from msibench.contracts.plain_text import visible

if TYPE_CHECKING:
    from msibench.results.store import Store
    from msibench.runner.plan import Cell


@click.command(epilog="Example: msibench status bladder-x4 --why-stale --methods swinir-msi-tiny")
@click.argument("track", required=False)
@click.option("--why-stale", is_flag=True, help="Show the lines in which old and new key differ.")
@click.option("--queue", is_flag=True, help="Show only the cells that SLURM has.")
@click.option("--methods", help="Methods or patterns, separated by commas.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@results_option
def command(
    track: str | None,
    why_stale: bool,
    queue: bool,
    methods: str | None,
    device: str,
    as_json: bool,
    results: Path | None,
) -> None:
    """Show every cell of TRACK: stored, stale, damaged, with SLURM or not run yet.

    The files of every stored cell are read and held against their digests, as a run does.

    Without TRACK: every board of the results folder, and how its cells ended by their records; no file is read.
    """
    from msibench.results.index import read_index

    if track is None:
        check_rules(
            *(Needs(o, ("TRACK",)) for o in ("--why-stale", "--queue", "--methods", "--device"))
        )
        _tell_boards(open_store(results, create=False), as_json=as_json)
        return
    from msibench.runner.executors.slurm.status import in_the_queue
    from msibench.runner.plan import Filters, make_plan

    track, results = in_its_results(track, results)
    chosen = named_track(track, results)
    store = open_store(results, create=False)
    plan = make_plan(
        chosen, catalogue(), filters=Filters(methods=comma_list(methods)), device=device
    )
    old = read_index(store, chosen.name).cells
    waiting = in_the_queue(store)
    rows = []
    for cell in plan.cells:
        if queue and cell.key not in waiting:
            continue
        row = _state(store, cell, old, why_stale)
        if cell.key in waiting and not store.has(cell.key):
            row["state"], row["reason"] = waiting[cell.key]
        rows.append(row)
    if not (queue or methods):
        planned = {str(cell.identity) for cell in plan.cells}
        rows += _beside_the_track(store, {i: k for i, k in old.items() if i not in planned})
    if as_json:
        click.echo(json.dumps(rows, indent=1, sort_keys=True))
        return
    for row in rows:
        click.echo(
            visible(
                f"{row['state']:<16} {row['cell']}"
                + (f": {row['reason']}" if row["reason"] else "")
            )
        )
        for line in row["lines"]:
            click.echo(f"    {line}")
    counts = Counter(str(row["state"]) for row in rows)
    click.echo(_counted(counts) if counts else "SLURM has no cell of this track")


def _beside_the_track(store: Store, listed: Mapping[str, str]) -> list[dict[str, str | list[str]]]:
    """Return the cells of a board that its track does not plan, as those of ``--method FILE``."""
    from msibench.results.identity import CellIdentity

    rows: list[dict[str, str | list[str]]] = []
    for identity, key in sorted(listed.items()):
        state, reason = _stored(store, key, files=True) or (
            "not run",
            "of an earlier run, and not in the store",
        )
        cell = f"{CellIdentity.listed(identity).title} (not in the track's plan)"
        rows.append({"cell": cell, "state": state, "reason": reason, "lines": [], "key": key})
    return rows


def _tell_boards(store: Store, *, as_json: bool) -> None:
    """Show how the cells of every board of a store ended, from the store alone."""
    from msibench.errors import StoreError
    from msibench.results.index import indexed_tracks, read_index

    rows: list[dict[str, Any]] = []
    for track in indexed_tracks(store):
        states: Counter[str] = Counter()
        reason = ""
        try:
            for key in read_index(store, track).cells.values():
                states[(_stored(store, key, files=False) or ("not run", ""))[0]] += 1
        except StoreError as error:  # the index itself is damaged
            reason = str(error)
        rows.append({"track": track, "cells": dict(sorted(states.items())), "reason": reason})
    if as_json:
        click.echo(json.dumps(rows, indent=1, sort_keys=True))
        return
    for row in rows:
        click.echo(visible(f"{row['track']}: {row['reason'] or _counted(row['cells'])}"))
    click.echo("one board, cell by cell: msibench status TRACK" if rows else "nothing was run yet")


def _stored(store: Store, key: str, *, files: bool) -> tuple[str, str] | None:
    """Return how a cell in the store ended, and why; None for one that is not there.

    `files`: its files are read and held against their digests.
    """
    from msibench.errors import IntegrityError, SchemaError

    try:
        if not store.has(key):
            return None
        record = store.record(key)
        if files:
            store.check_files(record)
    except (IntegrityError, SchemaError) as error:
        return "damaged", str(error)
    return str(record.status), record.reason


def _counted(states: Mapping[str, int]) -> str:
    return ", ".join(f"{states[state]} {state}" for state in sorted(states)) or "no cell"


def _state(
    store: Store, cell: Cell, old: Mapping[str, str], why: bool
) -> dict[str, str | list[str]]:
    """Return the state of one cell; `old` has the key of each place of the board as last run."""
    from msibench.errors import IntegrityError, SchemaError
    from msibench.results.keys import difference
    from msibench.results.leases import is_stale
    from msibench.runner.supervisor import ALWAYS_AGAIN

    lines: list[str] = []
    state, reason = "not run", ""
    identity = cell.identity
    try:
        if (found := _stored(store, cell.key, files=True)) is not None:
            state, reason = found
            if cell.verdict is None and state in ALWAYS_AGAIN:
                state, reason = "not run", f"it was {state}, and is run again"
        elif cell.verdict is not None:
            state, reason = str(cell.verdict), cell.reason
        elif (
            old and (old_key := old.get(str(identity), cell.key)) != cell.key and store.has(old_key)
        ):
            state = "stale"
            lines = difference(store.record(old_key).key_document, cell.document) if why else []
        elif os.path.exists(lease := store.lease_path(cell.key)):  # noqa: PTH110 - once a cell
            gone = is_stale(lease)
            state = "interrupted" if gone else "running"
    except (IntegrityError, SchemaError) as error:
        state, reason = "damaged", str(error)
    return {
        "cell": identity.title,
        "state": state,
        "reason": reason,
        "lines": lines,
        "key": cell.key,
    }
