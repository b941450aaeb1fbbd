"""Repeat a stored prediction, starting from the data, and compare."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from msibench.datasets import Card
from msibench.errors import IntegrityError, MSIBenchError, StoreError
from msibench.gate.verify import Checked
from msibench.plugin_manager import Catalogue
from msibench.results.arrays import read_arrays
from msibench.results.files import sha256_of
from msibench.results.keys import difference
from msibench.results.schema import CellRecord, Status
from msibench.results.store import PREDICTION, Store
from msibench.results.verification import REPRODUCED, keep_verification
from msibench.run_track import run_track
from msibench.runner.options import RunOptions
from msibench.runner.own_section import own_card
from msibench.runner.plan import Cell, Filters, make_plan
from msibench.scoring.seeds import seed_from
from msibench.tracks import Entry, ProblemSet, Track

TOLERANCE = 1e-4
"""Of the largest intensity: what another processor may change in the last bits of float32."""


RUN_AGAIN = frozenset({Status.OK, Status.FAILED, Status.INVALID_OUTPUT})
"""Statuses that a rerun reproduces on any machine."""


def choose(keys: Sequence[str], count: int, *, seed: int = 0) -> list[str]:
    """Draw cells to run again; the same store and seed give the same ones."""
    ordered = sorted(keys)
    rng = np.random.default_rng(seed_from("verify", str(seed)))
    drawn = rng.permutation(len(ordered))[:count]
    return [ordered[place] for place in sorted(drawn)]


def rerun(
    store: Store,
    key: str,
    catalogue: Catalogue,
    *,
    cards: Mapping[str, Card] | None = None,
    single: Mapping[str, str] | None = None,
    options: RunOptions | None = None,
) -> Checked:
    """Run one cell again in a folder of its own, the problem staged anew, and compare predictions.

    Returns
    -------
    ``reproduced`` where the prediction is the same within `TOLERANCE`; a fault where it is not; a
    note where it cannot be run here (data or plugin missing, or code that changed since).
    """
    record = store.record(key)
    name = f"{record.method} · {record.dataset}/{record.section} ({key[:12]}…), run again"
    checked = Checked(name=name, drawn=True)
    if record.status not in RUN_AGAIN or (
        record.status is Status.OK and PREDICTION not in record.files
    ):
        checked.notes.append("it has no prediction to compare with")
        return checked
    try:
        track, cell = plan_again(record, catalogue, cards, single)
    except MSIBenchError as error:
        checked.notes.append(f"it cannot be run here: {error}")
        return checked
    if cell.key != key:
        lines = difference(record.key_document, cell.document)
        checked.notes.append(
            "it cannot be run as it was: what its key stands for changed since: "
            + "; ".join(lines[:6])
        )
        return checked
    with tempfile.TemporaryDirectory(prefix="msibench-verify-") as scratch:
        aside = Store.open(Path(scratch) / "results")
        plan = make_plan(
            track,
            catalogue,
            cards=cards,
            filters=_filters(record),
            seeds=(record.seed,),
            device=record.device,
        )
        plan = type(plan)(plan.track, tuple(c for c in plan.cells if c.key == key), plan.notes)
        run_track(plan.track, catalogue, aside, options, plan=plan, part=plan.cells)
        _compare(store, aside, record, checked)
        if any("made again" in fault for fault in checked.faults):
            twice = Store.open(Path(scratch) / "twice")
            run_track(plan.track, catalogue, twice, options, plan=plan, part=plan.cells)
            third = Checked(name=name)
            _compare(aside, twice, record, third)
            if third.faults:
                checked.faults.append(
                    "its output is random and it does not say so: two runs of the cell with one seed "
                    "differ; draw every random number from the problem's seed"
                )
    if checked.level and not checked.faults:
        try:
            keep_verification(store, key, checked.level)
        except StoreError as error:
            checked.notes.append(f"what was shown cannot be kept: {error}")
    return checked


def cards_of_own(track: Track, catalogue: Catalogue) -> dict[str, Card]:
    """Return the cards of a user's own sections that a track names, as far as their files are here."""
    if track.own is None:
        return {}
    here = {
        role: tuple(str(_beside(track, name)) for name in getattr(track.own, role))
        for role in ("data", "guide", "transform")
    }
    own = replace(track.own, data=here["data"], guide=here["guide"], transform=here["transform"])
    with suppress(MSIBenchError, OSError):
        card = own_card(own, catalogue)
        return {card.name: card}
    return {}


def _beside(track: Track, name: str) -> Path:
    """Return the path of a file of a track: as it is named, else beside the track's file."""
    path = Path(name)
    return path if path.exists() or track.folder is None else track.folder / path


def plan_again(
    record: CellRecord,
    catalogue: Catalogue,
    cards: Mapping[str, Card] | None = None,
    single: Mapping[str, str] | None = None,
) -> tuple[Track, Cell]:
    """Return a track of the one cell that a record describes, and the cell as it would run now.

    Parameters
    ----------
    single
        Name → ``file.py:Class`` of methods that no plugin provides.
    """
    method = record.key_document["method"]
    chosen = record.key_document["problem"]["mz_set"]
    track = Track(
        name="verify",
        entries=(
            Entry(
                method=(single or {}).get(method["name"], method["name"]),
                label=record.method,
                config=method["config"],
                precision=record.precision,
            ),
        ),
        problems=(
            ProblemSet(
                dataset=record.dataset,
                protocols=(record.protocol,),
                mz_set="" if chosen == "chosen" else chosen,
                sections=(record.section,),
            ),
        ),
        seeds=(record.seed,),
        metrics=(),
        guide_controls=(record.control,) if record.control else (),
    )
    plan = make_plan(track, catalogue, cards=cards, filters=_filters(record), device=record.device)
    cells = [cell for cell in plan.cells if cell.problem.control == record.control]
    if len(cells) != 1:
        raise MSIBenchError(f"its description gives {len(cells)} cells")
    return track, cells[0]


def _filters(record: CellRecord) -> Filters:
    problem = record.key_document["problem"]
    if problem["mz_set"] != "chosen":
        return Filters()
    return Filters(mz=tuple(float(value) for value in problem["mz"]))


def _compare(store: Store, aside: Store, record: CellRecord, checked: Checked) -> None:
    if not aside.has(record.key):
        checked.notes.append(
            "it was begun and not finished: its process was ended from outside, or its code or data "
            "changed meanwhile; verify again"
        )
        return
    again = aside.record(record.key)
    if record.status is not Status.OK:
        if again.status is record.status:
            checked.level = REPRODUCED
            checked.notes.append(f"it ended as {again.status} again: {again.reason}"[:300])
        else:
            checked.faults.append(f"it ended as {record.status}, and ends as {again.status} now")
        return
    if again.status is not Status.OK:
        checked.faults.append(f"it was ok, and ended as {again.status} now: {again.reason}")
        return
    if record.truth_digest and again.truth_digest != record.truth_digest:
        checked.faults.append("the truth that its data give now is another (digest differs)")
        return
    paths = [one.cell_folder(record.key) / PREDICTION for one in (store, aside)]
    try:
        first, second = (read_arrays(path, ("prediction",))[0]["prediction"] for path in paths)
    except IntegrityError as error:
        checked.faults.append(str(error))
        return
    if first.shape != second.shape:
        checked.faults.append(f"{paths[0]} has shape {first.shape}, made again {second.shape}")
        return
    scale = max(float(np.abs(second).max(initial=0.0)), 1e-12)
    apart = float(np.abs(first.astype(np.float64) - second).max(initial=0.0)) / scale
    if apart > TOLERANCE:
        checked.faults.append(
            f"{paths[0]} differs from the prediction made again by {apart:.2g} of its largest "
            f"intensity; {TOLERANCE:g} is allowed"
        )
        return
    checked.level = REPRODUCED
    exact = sha256_of(paths[0]) == sha256_of(paths[1])
    checked.notes.append("byte for byte" if exact else f"within {apart:.1g} of its largest value")
