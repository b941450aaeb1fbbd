"""Follow a number back: prediction → scores → rows → leaderboard, every link computed again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from msibench.contracts.method import MethodSpec
from msibench.contracts.metric import MetricSpec
from msibench.errors import IntegrityError, MSIBenchError, SchemaError, StoreError
from msibench.gate.labels import (
    contradictions,
    differs_from_problem,
    lacking_metrics,
    place_of,
)
from msibench.results.arrays import read_arrays
from msibench.results.files import sha256_of
from msibench.results.index import TrackIndex
from msibench.results.problems import SECTION, Staged
from msibench.results.rows_digest import rows_digest
from msibench.results.schema import REMEDY, CellRecord, Status
from msibench.results.store import METRICS, PREDICTION, RECORD, Store
from msibench.results.told_intervals import intervals_of
from msibench.results.verification import (
    VERIFIED,
    drop_verification,
    keep_verification,
)
from msibench.runner.problems.staged_files import REMEDY as STAGE_REMEDY
from msibench.runner.problems.staged_files import staged_fault
from msibench.runner.scores.prediction_scores import load_staged_once
from msibench.runner.scores.score import score, score_keys

SHORTEST_KEY = 6
"""Letters of a key that are needed to name a cell."""
TOLERANCE = 1e-6
"""Relative: what another processor's arithmetic may change in a score."""


@dataclass(slots=True)
class Checked:
    """Result of checking one cell or one leaderboard."""

    name: str
    faults: list[str] = field(default_factory=list)
    """What was changed, each naming its file."""
    missing: list[str] = field(default_factory=list)
    """What a track requires and its published board lacks."""
    notes: list[str] = field(default_factory=list)
    """What could not be checked, and why."""
    level: str = ""
    """``verified`` or ``reproduced`` where it was shown."""
    is_cell: bool = False
    """One cell of a store, whose scores can be computed again where its files are here."""
    drawn: bool = False
    """One cell that was to be run again."""
    claims: list[str] = field(default_factory=list)
    """What the record says and nothing here can prove: times, memory, device, and who ran it where."""


def verify_cell(
    store: Store,
    key: str,
    metrics: Mapping[str, MetricSpec],
    *,
    wanted: Iterable[str] = (),
    methods: Mapping[str, MethodSpec] | None = None,
) -> Checked:
    """Check one stored cell: record, key, labels, files, truth, and every score computed again.

    Parameters
    ----------
    metrics
        Installed metrics by name.
    wanted
        Metrics that it must have: those of its track.
    methods
        Installed methods by name; what a record says about one of them is checked against it.

    Returns
    -------
    Its faults; ``verified`` where there are none and the scores could be computed again. The level
    is kept in the store, see `msibench.results.verification`.
    """
    checked = Checked(name=key, is_cell=True)
    try:
        record = store.record(key)
    except (IntegrityError, SchemaError) as error:
        checked.faults.append(str(error))
        with suppress(StoreError):
            drop_verification(store, key)
        return checked
    checked.name = f"{record.method} · {record.dataset}/{record.section} ({key[:12]}…)"
    where = store.cell_folder(key) / RECORD
    checked.faults += [f"{where}: {text}" for text in contradictions(record)]
    checked.faults += [f"{where}: {text}" for text in _borrowed_name(record, methods or {})]
    checked.faults += _file_faults(record, store)
    checked.claims += _claims(record)
    if not checked.faults and record.status is Status.OK:
        _score_again(record, store, metrics, checked, wanted)
    elif record.status is not Status.OK:
        checked.notes.append(f"ended as {record.status}: no score to check")
    try:
        if checked.faults:
            drop_verification(store, key)
        elif checked.level:
            keep_verification(store, key, checked.level)
    except StoreError as error:
        checked.notes.append(f"what was shown cannot be kept: {error}")
    return checked


def misplaced(store: Store, index: TrackIndex) -> list[Checked]:
    """Return the cells that a track lists under wrong names."""
    found = []
    for place, key in sorted(index.cells.items()):
        with suppress(IntegrityError, SchemaError, FileNotFoundError):
            record = store.record(key)
            if place_of(record) != place:
                text = f"the track lists cell {key[:12]}… as {place}; it is {place_of(record)}"
                found.append(Checked(name=key, faults=[text]))
    return found


def _borrowed_name(record: CellRecord, methods: Mapping[str, MethodSpec]) -> list[str]:
    """Return where a record contradicts the installed method that it names."""
    document = record.key_document.get("method")
    if not isinstance(document, dict):
        return []  # said already
    name = document.get("name")
    found = []
    if record.method != name and record.method in methods:
        found.append(f"it is called {record.method!r} and is {name!r}; both are installed methods")
    spec = methods.get(str(name))
    if spec is not None:
        for fact, value in (("task", spec.task.value), ("control", spec.control)):
            if record.method_facts.get(fact, value) != value:
                found.append(f"{fact} of {name} is {record.method_facts[fact]!r}, not {value!r}")
    return found


def _claims(record: CellRecord) -> list[str]:
    """Return the parts of a record that rest on its author's word."""
    times = ", ".join(f"{name} {value:.3g} s" for name, value in sorted(record.timings.items()))
    peaks = ", ".join(f"{name} {value:.0f} MiB" for name, value in sorted(record.peaks.items()))
    host = str(record.provenance.get("processor", "") or record.provenance.get("host", ""))
    said = [f"device {record.device}", times, peaks, host]
    return [text for text in said if text]


def _file_faults(record: CellRecord, store: Store) -> list[str]:
    """Compute the digest of every file of the cell and of its truth again; return all that differ."""
    folder = store.cell_folder(record.key)
    faults = []
    for name, digest in sorted(record.files.items()):
        path = folder / name
        if not path.is_file():
            faults.append(f"{path} is missing; {REMEDY}")
        elif sha256_of(path) != digest:
            faults.append(f"{path} was changed after it was written (digest differs); {REMEDY}")
    strangers = {path.name for path in folder.iterdir()} - set(record.files) - {"record.json"}
    faults += [f"{folder / name} is not on the record" for name in sorted(strangers)]
    problem = store.problem_folder(record.problem_key)
    if fault := staged_fault(problem):
        faults.append(f"{fault}; {STAGE_REMEDY}")
        return faults
    truth = problem / SECTION
    if record.truth_digest and truth.is_file() and sha256_of(truth) != record.truth_digest:
        faults.append(f"{truth} is not the truth that the cell was scored against (digest differs)")
    return faults


def _score_again(
    record: CellRecord,
    store: Store,
    metrics: Mapping[str, MetricSpec],
    checked: Checked,
    wanted: Iterable[str],
) -> None:
    folder = store.cell_folder(record.key)
    problem = store.problem_folder(record.problem_key)
    if PREDICTION not in record.files:
        checked.notes.append("its prediction is not here: scores cannot be computed again")
        return
    if not (problem / SECTION).is_file():
        checked.notes.append("its truth is not here: scores cannot be computed again")
        return
    if METRICS not in record.files:
        checked.notes.append("it was never scored")
        return
    try:
        staged = load_staged_once(problem)
        stored = store.metric_rows(record)
        arrays, _ = read_arrays(folder / PREDICTION, ("prediction",), lazily=("prediction",))
        intervals = intervals_of(folder / PREDICTION)
    except IntegrityError as error:
        checked.faults.append(str(error))
        return
    faults = differs_from_problem(record, staged)
    checked.faults += [f"{folder / RECORD}: {text}" for text in faults]
    track = {name: metrics[name] for name in wanted if name in metrics}
    faults = lacking_metrics(record, stored, staged, track)
    checked.faults += [f"{folder / METRICS}: {text}" for text in faults]
    if record.rows_digest and rows_digest(stored) != record.rows_digest:
        checked.faults.append(
            f"{folder / METRICS} holds values that differ from its record (digest of the rows differs)"
        )
    names = sorted(set(stored["metric"]))
    known = [metrics[name] for name in names if name in metrics]
    missing = [name for name in names if name not in metrics]
    if missing:
        checked.notes.append(f"not installed, so not computed again: {', '.join(missing)}")
    mended = _mended(record, stored, known, staged, checked)
    again = [spec for spec in known if spec.name not in mended]
    rows = score(arrays["prediction"], staged, again, seed=record.seed, intervals=intervals)
    mine = stored[stored["metric"].isin([spec.name for spec in again])]
    found = [*differences(mine, rows), *_other_labels(mine, rows)]
    checked.faults += [f"{folder / METRICS}: {text}" for text in found]
    if again and not found and not missing and not mended:
        checked.level = VERIFIED


def _mended(
    record: CellRecord,
    stored: pd.DataFrame,
    known: Iterable[MetricSpec],
    staged: Staged,
    checked: Checked,
) -> set[str]:
    """Return the metrics whose version changed since; report score keys that do not follow."""
    versions = dict(stored.groupby("metric")["metric_version"].first())
    mended = set()
    for spec in known:
        wanted = score_keys([spec], staged, record.files[PREDICTION])
        if versions[spec.name] != spec.version:
            mended.add(spec.name)
            checked.notes.append(
                f"{spec.name}: scored as version {versions[spec.name]}, this msibench computes "
                f"{spec.version}; bring it up to date with: msibench score"
            )
        elif any(record.scores.get(name) != key for name, key in wanted.items()):
            checked.faults.append(
                f"{spec.name}: its score key does not follow from prediction, truth and version"
            )
    return mended


def differences(stored: pd.DataFrame, again: pd.DataFrame) -> list[str]:
    """Return the scores that differ between stored rows and rows that were computed again."""
    keys = ["metric", "region", "channel"]
    sides = [side.set_index(keys)["value"].sort_index() for side in (stored, again)]
    if not all(side.index.is_unique for side in sides):
        return ["a score stands more than once"]
    before, after = sides[0].align(sides[1], join="outer")
    absent = ~before.index.isin(sides[0].index) | ~before.index.isin(sides[1].index)
    near = np.isclose(
        before.to_numpy(float), after.to_numpy(float), rtol=TOLERANCE, atol=1e-12, equal_nan=True
    )
    found = []
    for (metric, region, channel), old, new in zip(
        before.index[absent | ~near],
        before[absent | ~near],
        after[absent | ~near],
        strict=True,
    ):
        found.append(f"{metric} ({region}) of channel {channel} is {old!r}, computed again {new!r}")
    return found


def _other_labels(stored: pd.DataFrame, again: pd.DataFrame) -> list[str]:
    """Return the columns besides the values in which rows differ from rows computed again."""
    keys = ["metric", "region", "channel"]
    sides = [side.set_index(keys).sort_index() for side in (stored, again)]
    if not (sides[0].index.is_unique and sides[0].index.equals(sides[1].index)):
        return []  # said already
    found = []
    for column in ("mz", "metric_version", "direction"):
        before, after = (side[column] for side in sides)
        same = (before == after) | (before.isna() & after.isna())
        if not same.all():
            place = sides[0].index[~same.to_numpy()][0]
            found.append(
                f"{column} of {place[0]} ({place[1]}), channel {place[2]} is {before[place]!r}; its "
                f"problem and metric give {after[place]!r}"
            )
    return found


def key_from(text: str, store: Store) -> str:
    """Return the key that a record's path, its folder, the key or its beginning names.

    Raises
    ------
    MSIBenchError
        If no cell, or more than one, is meant.
    """
    path = Path(text)
    if path.name == "record.json":
        path = path.parent
    wanted = path.name
    known = list(store.keys()) if len(wanted) >= SHORTEST_KEY else []
    found = [key for key in known if key.startswith(wanted)]
    if len(found) != 1:
        raise MSIBenchError(
            f"{text!r} names {len(found)} cells of {store.root}; give a record.json, or a key by "
            "its first 12 letters"
        )
    return found[0]
