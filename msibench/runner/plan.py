"""From a track to cells: what is to be run, with the key that says whether it was run already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from msibench.contracts.method import MethodSpec, Task, WeightFile
from msibench.contracts.tables import check_keys
from msibench.datasets import Card, MZSet, dataset_digest, load_card
from msibench.degradation import DegradationProtocol, protocol
from msibench.errors import ConfigurationError, MSIBenchError, UnknownNameError
from msibench.plugin_manager import Catalogue, resolve_method
from msibench.results.experiment import Experiment, kind_of, place
from msibench.results.identity import CellIdentity
from msibench.results.keys import KEY_SCHEMA, code_digests, digest_of, short_key, versions
from msibench.results.schema import Status
from msibench.runner.own_section import own_card
from msibench.tracks import READY, Entry, ProblemSet, Track
from msibench.weights import find as find_weight
from msibench.weights.locate import missing_message


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ProblemPlan:
    """One section under one protocol with one m/z set: what is staged once for all methods."""

    card: Card
    section: str
    protocol: DegradationProtocol
    mz_set: MZSet
    seed: int = 0
    control: str = ""
    document: Mapping[str, Any]
    key: str


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Competitor:
    """One method with its resolved configuration, worked out once for all cells."""

    label: str
    """Name in the leaderboard."""
    spec: MethodSpec
    config: Mapping[str, Any]
    precision: str
    document: Mapping[str, Any]
    digest: str
    missing: str = ""
    """What to do about a weight file that is not here; empty when all are."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Cell:
    """One unit of work."""

    competitor: Competitor
    problem: ProblemPlan
    seed: int
    device: str
    key: str
    verdict: Status | None = None
    """Set when the cell need not be run to know how it ends."""
    reason: str = ""

    @property
    def label(self) -> str:
        """Name in the leaderboard."""
        return self.competitor.label

    @property
    def spec(self) -> MethodSpec:
        """The method."""
        return self.competitor.spec

    @property
    def identity(self) -> CellIdentity:
        """The place of a board that it is for."""
        problem = self.problem
        return CellIdentity(
            method=self.label,
            dataset=problem.card.name,
            section=problem.section,
            protocol=problem.protocol.name,
            mz_set=problem.mz_set.name,
            seed=self.seed,
            control=problem.control,
            device=self.device.partition(":")[0],
        )

    @property
    def name(self) -> str:
        """What messages call it: method, section, protocol, control."""
        return self.identity.title

    @property
    def document(self) -> dict[str, Any]:
        """What the key stands for, in full."""
        return key_document(self.competitor, self.problem, self.seed, self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What to leave out of a track; every field is a set of names or shell patterns, empty: all."""

    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    mz: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Additions:
    """What runs besides the methods of a track."""

    methods: tuple[MethodSpec, ...] = ()
    """From single files, checkpoints or trainings."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Method → option → value: such a method runs once more, under a name that says what differs."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """All cells of a run, in a stable order."""

    track: Track
    cells: tuple[Cell, ...]
    notes: tuple[str, ...] = field(default=())
    """What was left out and why."""
    problems: tuple[ProblemPlan, ...] = field(default=())
    """Every problem of the track, whatever the filters leave of it."""
    experiment: Experiment = field(default_factory=Experiment)
    """What the board of the track holds."""


def make_plan(
    track: Track,
    catalogue: Catalogue,
    *,
    cards: Mapping[str, Card] | None = None,
    filters: Filters | None = None,
    seeds: Iterable[int] | None = None,
    device: str = "cpu",
    additions: Additions | None = None,
    given_weights: tuple[Path, ...] = (),
) -> Plan:
    """Expand a track into cells.

    Parameters
    ----------
    track, catalogue
        What to compare, and what is installed.
    cards
        Cards that stand in for installed data sets of the same name (a user's own files).
    filters
        What to leave out.
    seeds
        Seeds in place of the track's.
    device
        ``"cpu"`` or ``"cuda"``; part of the key, because timings and last digits differ.
    additions
        What runs besides the track's methods.
    given_weights
        Files or folders in which to look for pretrained files first.

    Raises
    ------
    UnknownNameError
        If the track names something that is not installed.
    ConfigurationError
        If a method's configuration has a key that does not exist.
    """
    wanted, added = filters or Filters(), additions or Additions()
    every, problems = _every_problem(track, catalogue, cards or {}, wanted)
    chosen, notes = _competitors(track, catalogue, problems, wanted, added.methods, given_weights)
    chosen += _with_settings(chosen, added.settings)
    library = versions()
    competitors = [_competitor(entry, spec, library, given_weights) for entry, spec in chosen]
    cells = [
        _cell(competitor, problem, seed, device)
        for problem in problems
        for competitor in competitors
        for seed in (tuple(seeds) if seeds is not None else track.seeds)
        if not problem.control or competitor.spec.task is not Task.SINGLE_IMAGE
    ]
    return Plan(track, tuple(cells), tuple(notes), tuple(every), _experiment(every, device))


def experiment_of_track(track: Track, catalogue: Catalogue, device: str) -> Experiment:
    """Return what the board of a track holds, without planning any method."""
    return _experiment(_every_problem(track, catalogue, {}, Filters())[0], device)


def _experiment(problems: Iterable[ProblemPlan], device: str) -> Experiment:
    places = {
        place(p.card.name, p.section, p.protocol.name, p.mz_set.name, p.control): p.key
        for p in problems
    }
    return Experiment(places, kind_of(device))


def with_control(methods: tuple[str, ...], track: Track) -> tuple[str, ...]:
    """Add the method that the scores are anchored at, without which there would be none.

    Empty stays empty: every method of the track.
    """
    if not methods or track.scheme not in {"anchored", "skill"} or track.control_method in methods:
        return methods
    return (*methods, track.control_method)


def resolve_config(spec: MethodSpec, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a method's defaults with `changes`, refusing keys that it does not have."""
    check_keys(changes, set(spec.config), f"configuration of method {spec.name!r}")
    return {**spec.config, **changes}


def _every_problem(
    track: Track, catalogue: Catalogue, cards: Mapping[str, Card], filters: Filters
) -> tuple[list[ProblemPlan], list[ProblemPlan]]:
    """Return every problem of a track, and those that the filters leave."""
    if track.own is not None and not cards:
        card = own_card(track.own, catalogue)
        cards = {card.name: card}
    every: list[ProblemPlan] = []
    left: list[ProblemPlan] = []
    for problem_set in track.problems:
        asked = _matches(problem_set.dataset, filters.datasets)
        try:
            found = list(_problems(problem_set, catalogue, cards, track, filters.mz))
        except MSIBenchError:
            if asked:
                raise
            continue  # nobody asked for it, and nothing of it is run
        every += found
        left += [
            problem
            for problem in found
            if asked
            and _matches(problem.section, filters.sections)
            and _matches(problem.protocol.name, filters.protocols)
        ]
    return every, left


def _problems(
    wanted: ProblemSet,
    catalogue: Catalogue,
    cards: Mapping[str, Card],
    track: Track,
    mz: tuple[float, ...],
) -> Iterable[ProblemPlan]:
    card = cards.get(wanted.dataset) or load_card(catalogue.dataset(wanted.dataset))
    mz_set = card.mz_set(wanted.mz_set or card.default_mz_set)
    if chosen_mz := mz or wanted.mz:
        mz_set = MZSet(name="chosen", mz=chosen_mz, ppm=mz_set.ppm, source="command line")
    for name in wanted.protocols:
        chosen = protocol(name)
        if card.factor and chosen.factor != card.factor:
            raise ConfigurationError(
                f"data set {card.name!r} has no truth and its factor is {card.factor}; "
                f"protocol {name!r} has factor {chosen.factor}"
            )
        for section in wanted.sections or card.test:
            for control in ("", *track.guide_controls):
                if control and card.tasks == ("single-image",):
                    continue
                yield plan_problem(card, section, chosen, mz_set, control=control)


def plan_problem(
    card: Card,
    section: str,
    chosen: DegradationProtocol,
    mz_set: MZSet,
    *,
    control: str = "",
    seed: int = 0,
) -> ProblemPlan:
    """Describe one problem and give it its key; nothing is read."""
    document = {
        "dataset": card.name,
        "data": dataset_digest(card, section),
        "section": section,
        "protocol": chosen.definition(),
        "mz": [repr(value) for value in mz_set.mz],
        "ppm": repr(mz_set.ppm),
        "mz_set": mz_set.name,
        "control": control,
        "seed": seed,
    }
    return ProblemPlan(
        card=card,
        section=section,
        protocol=chosen,
        mz_set=mz_set,
        seed=seed,
        control=control,
        document=document,
        key=digest_of(document),
    )


def _competitors(
    track: Track,
    catalogue: Catalogue,
    problems: Iterable[ProblemPlan],
    filters: Filters,
    extra: Iterable[MethodSpec],
    given: tuple[Path, ...],
) -> tuple[list[tuple[Entry, MethodSpec]], list[str]]:
    tasks = {task for problem in problems for task in problem.card.tasks}
    chosen: dict[str, tuple[Entry, MethodSpec]] = {}
    notes: list[str] = []
    for entry in track.entries:
        if entry.method == READY:
            for name, spec in sorted(catalogue.methods.items()):
                if spec.task.value not in tasks:
                    continue
                missing = [w.name for w in spec.weights if find_weight(w, given=given) is None]
                if missing:
                    notes.append(f"{name}: left out, weights missing ({', '.join(missing)})")
                elif spec.budget not in ("", "quick"):
                    whose = "the paper's" if spec.budget == "paper" else spec.budget
                    notes.append(f"{name}: left out, its budget is {whose}; name it to run it")
                else:
                    chosen.setdefault(name, (Entry(method=name), spec))
        else:
            chosen[entry.name] = (entry, resolve_method(entry.method, catalogue))
    named = set()
    for spec in extra:
        named.add(spec.name)
        chosen[spec.name] = (Entry(method=spec.name), spec)
    if filters.methods:
        for pattern in filters.methods:
            if not any(fnmatchcase(name, pattern) for name in chosen):
                spec = resolve_method(pattern, catalogue)
                chosen[pattern] = (Entry(method=pattern), spec)
        # what was named with --method runs beside what --methods lists
        chosen = {n: v for n, v in chosen.items() if n in named or _matches(n, filters.methods)}
        notes = [text for text in notes if _matches(text.partition(":")[0], filters.methods)]
    return list(chosen.values()), notes


def _with_settings(
    chosen: Iterable[tuple[Entry, MethodSpec]], settings: Mapping[str, Mapping[str, Any]]
) -> list[tuple[Entry, MethodSpec]]:
    """Return the competitors that change options of others.

    Raises
    ------
    UnknownNameError
        If the run has no such method.
    """
    there = {entry.name: (entry, spec) for entry, spec in chosen}
    changed = []
    for name, changes in settings.items():
        if name not in there:
            near = get_close_matches(name, there, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else " Name it with --methods, too."
            raise UnknownNameError(f"No method of this run is named {name!r}.{hint}")
        entry, spec = there[name]
        what = ", ".join(f"{option}={value}" for option, value in sorted(changes.items()))
        config = {**entry.config, **changes}
        changed.append((replace(entry, label=f"{name} ({what})", config=config), spec))
    return changed


def _competitor(
    entry: Entry, spec: MethodSpec, library: Mapping[str, str], given: tuple[Path, ...]
) -> Competitor:
    config = resolve_config(spec, entry.config)
    document = {
        "name": spec.name,
        "label": entry.name,
        "target": spec.target if ".py:" not in spec.target else spec.target.rpartition(":")[2],
        "config": config,
        "code": dict(code_digests(spec.target)),
        "weights": {weight.name: _weight_digest(weight, given) for weight in spec.weights},
        "versions": dict(library),
        "precision": entry.precision,
    }
    missing = ""
    for weight in spec.weights:
        if find_weight(weight, given=given) is None:
            missing = missing_message(weight)
            break
    return Competitor(
        label=entry.name,
        spec=spec,
        config=config,
        precision=entry.precision,
        document=document,
        digest=digest_of(document),
        missing=missing,
    )


def key_document(
    competitor: Competitor, problem: ProblemPlan, seed: int, device: str
) -> dict[str, Any]:
    """Return everything that the key of a cell stands for."""
    return {
        "schema": KEY_SCHEMA,
        "method": competitor.document,
        "problem": problem.document,
        "training": training_digests(competitor.spec, problem),
        "seed": seed,
        "device": device.partition(":")[0],
    }


def training_digests(spec: MethodSpec, problem: ProblemPlan) -> dict[str, str]:
    """Return what a trainable method learns from: training section → digest of its data."""
    if not spec.trainable:
        return {}
    card = problem.card
    return {
        section: dataset_digest(card, section) for section in card.train if section not in card.test
    }


def _cell(competitor: Competitor, problem: ProblemPlan, seed: int, device: str) -> Cell:
    verdict, reason = _verdict(competitor, problem)
    return Cell(
        competitor=competitor,
        problem=problem,
        seed=seed,
        device=device,
        key=short_key(
            competitor.digest,
            problem.key,
            training_digests(competitor.spec, problem),
            seed,
            device.partition(":")[0],
        ),
        verdict=verdict,
        reason=reason,
    )


def _weight_digest(weight: WeightFile, given: tuple[Path, ...]) -> str:
    """Return the sha256 that a weight file is known by, or its name while it is not here."""
    if weight.sha256:
        return weight.sha256
    path = find_weight(weight, given=given)
    if path is None:
        return f"not here: {weight.name}"
    from msibench.datasets import file_digest

    return file_digest(path)


def _verdict(competitor: Competitor, problem: ProblemPlan) -> tuple[Status | None, str]:
    """Tell, without running anything, whether a method can do a problem."""
    spec = competitor.spec
    card, factor = problem.card, problem.protocol.factor
    if spec.task.value not in card.tasks:
        needs = {
            Task.GUIDED: "a guide (an optical image on the fine grid)",
            Task.CROSS_MODALITY: "a second, finer MSI modality",
            Task.SINGLE_IMAGE: "ion images alone",
        }[spec.task]
        return Status.NOT_APPLICABLE, f"needs {needs}; data set {card.name!r} has none"
    if spec.factors is not None and factor not in spec.factors:
        offered = ", ".join(str(value) for value in sorted(spec.factors))
        return Status.NOT_APPLICABLE, f"does factor {offered}; the protocol asks for {factor}"
    seen = {card.name, f"{card.name}/{problem.section}"} & set(spec.training_data)
    if seen:
        return Status.NOT_APPLICABLE, (
            f"its weights have seen {', '.join(sorted(seen))}: a score there would be of memory"
        )
    if competitor.missing:
        return Status.WEIGHTS_MISSING, competitor.missing
    return None, ""


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
