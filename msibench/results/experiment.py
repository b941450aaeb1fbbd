"""What one board holds: cells of one set of problems, run on one kind of device.

A problem stands for the data of a section (with guide and transform), its m/z values and window, the
protocol and the wrong guide, if any; its key is a digest of all of that. Two cells with one name of
section and protocol, but of different problems, are two experiments, and no table shows both.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from msibench.errors import IntegrityError, SchemaError
from msibench.results.index import TrackIndex, read_index
from msibench.results.keys import canonical_json
from msibench.results.schema import CellRecord
from msibench.results.store import Store

INDEX_ENTRY = "experiment"
"""Name under which a track's index holds the experiment."""
Documents = Mapping[str, Mapping[str, Any]]
OTHER_PROBLEM = "of other data, m/z values, protocol, guide or transform than this board"


@dataclass(frozen=True, slots=True)
class Experiment:
    """The problems that a board compares methods on, and where they were run."""

    problems: Mapping[str, str] = field(default_factory=dict)
    """Place (data set, section, protocol, m/z set, wrong guide) → key of the problem."""
    device: str = ""
    """``cpu`` or ``cuda``."""

    @property
    def true_problems(self) -> dict[str, str]:
        """The problems without those that have a wrong guide."""
        return {place: key for place, key in self.problems.items() if not json.loads(place)[-1]}

    def continues(self, other: Experiment) -> bool:
        """Whether this is `other` still, or more of it: sections, protocols, wrong guides added."""
        return self.device == other.device and (
            other.true_problems.items() <= self.true_problems.items()
        )

    def with_controls_of(self, other: Experiment) -> Experiment:
        """Return the same experiment with the wrong guides of both."""
        return Experiment({**other.problems, **self.problems}, self.device)

    def excludes(self, record: CellRecord) -> str:
        """Return why a cell is not of this experiment; empty where it is."""
        if self.problems.get(place_of(record)) != record.problem_key:
            return OTHER_PROBLEM
        if kind_of(record.device) != self.device:
            return f"run on {kind_of(record.device)}; this board is of {self.device}"
        return ""

    def as_index_entry(self) -> dict[str, Any]:
        """Return what an index keeps."""
        return {INDEX_ENTRY: {"problems": dict(self.problems), "device": self.device}}


def place(problem: tuple[str, ...]) -> str:
    """Return where a problem stands among those of a board, from its names (`CellIdentity.problem`)."""
    return canonical_json(list(problem))


def place_of(record: CellRecord) -> str:
    """Return the place of a cell's problem."""
    return place(record.identity.problem)


def kind_of(device: str) -> str:
    """Return ``cuda`` of ``cuda:1``."""
    return device.partition(":")[0]


def stored_experiment(index: TrackIndex) -> Experiment | None:
    """Return what an index says that its board holds; None where it was written by an older msibench."""
    found = index.track_facts.get(INDEX_ENTRY)
    if not isinstance(found, Mapping):
        return None
    problems = found.get("problems")
    return Experiment(
        dict(problems) if isinstance(problems, Mapping) else {}, str(found.get("device", ""))
    )


def experiment_of(index: TrackIndex, records: Iterable[CellRecord]) -> Experiment:
    """Return what a board holds: by its index, else by what most of its cells belong to.

    Of two experiments with as many cells the one whose keys come first is taken, so that the same
    store always gives the same board.
    """
    known = stored_experiment(index)
    if known is not None:
        return known
    cells = list(records)
    device = _most((kind_of(record.device) for record in cells), "")
    here = [record for record in cells if kind_of(record.device) == device]
    own = {
        name
        for name, described in index.track_facts.get("datasets", {}).items()
        if described.get("own")
    }  # a section of one's own has one m/z set: two are two experiments
    votes: dict[str, Counter[tuple[str, str]]] = {}
    for record in here:
        at = (record.dataset, record.section, record.protocol)
        mz_set = "" if record.dataset in own else record.mz_set
        voters = votes.setdefault(canonical_json([*at, mz_set, record.control]), Counter())
        voters[place_of(record), record.problem_key] += 1
    problems = dict(_most_of(voters) for voters in votes.values())
    return Experiment(problems, device)


def held_by(store: Store, index: TrackIndex) -> Experiment:
    """Return what a board holds, asking its cells where the index does not say."""
    return experiment_of(index, _records(store, index))


def board_name(
    store: Store | None, wanted: str, experiment: Experiment, reserved: Collection[str] = ()
) -> str:
    """Return the first of ``wanted``, ``wanted-2``, … whose board is free or of this experiment.

    Parameters
    ----------
    store
        None: nothing is stored yet.
    reserved
        Names that are never given to a board of one's own: those of tracks.

    Raises
    ------
    StoreError
        If the index of a board on the way is damaged.
    """
    for number in count(1):
        name = wanted if number == 1 else f"{wanted}-{number}"
        if name in reserved:
            continue
        index = TrackIndex() if store is None else read_index(store, name)
        if store is None or not index.cells or experiment.continues(held_by(store, index)):
            break
    return name


def differences(store: Store, name: str, experiment: Experiment, documents: Documents) -> str:
    """Describe in a user's words how the board `name` differs from an experiment.

    Parameters
    ----------
    documents
        The experiment's problems: place → document.
    """
    index = read_index(store, name)
    held = held_by(store, index)
    found = [] if held.device == experiment.device else [f"device ({held.device})"]
    mine = next((doc for at, doc in documents.items() if not doc["control"]), {})
    for record in _records(store, index):
        theirs = record.key_document.get("problem", {})
        if not record.control and held.problems.get(place_of(record)) == record.problem_key:
            near = documents.get(place_of(record), mine)
            found += what_differs(near, theirs)
            break
    return " and ".join(dict.fromkeys(found)) or "problems"


def _records(store: Store, index: TrackIndex) -> Iterator[CellRecord]:
    for _, key in sorted(index.cells.items()):
        try:
            if store.has(key):
                yield store.record(key)
        except (IntegrityError, SchemaError):
            continue


def _most(values: Iterable[str], nothing: str) -> str:
    counted = Counter(values)
    return min(counted, key=lambda value: (-counted[value], value), default=nothing)


def _most_of(voters: Counter[tuple[str, str]]) -> tuple[str, str]:
    return min(voters, key=lambda value: (-voters[value], value))


def what_differs(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Describe in a user's words how two documents of problems differ.

    Parameters
    ----------
    mine, theirs
        ``problem`` of two key documents.
    """
    named = {
        "data": "data, guide or transform",
        "section": "sections",
        "dataset": "data",
        "mz": "m/z values",
        "ppm": "m/z window",
        "mz_set": "m/z values",
        "protocol": "protocol or factor",
        "seed": "seed of the degradation",
    }
    found = [text for name, text in named.items() if mine.get(name) != theirs.get(name)]
    return list(dict.fromkeys(found))
