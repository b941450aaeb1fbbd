"""From a track to cells: what is to be run, with the key that says whether it was run already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from msibench.contracts.method import MethodSpec, Task
from msibench.contracts.metric import TRAINING
from msibench.datasets import Card, MZSet, dataset_digest, load_card
from msibench.degradation import protocol
from msibench.errors import ConfigurationError, MSIBenchError
from msibench.plugin_manager import Catalogue, resolve_method
from msibench.results.experiment import Experiment, kind_of, place
from msibench.results.identity import PROBLEM_FIELDS, CellIdentity
from msibench.results.keys import KEY_SCHEMA, short_key, versions
from msibench.results.schema import Status
from msibench.runner.competitors import Competitor, competitor_of, with_settings
from msibench.runner.own_section import own_card
from msibench.runner.problem_plan import ProblemPlan, plan_problem
from msibench.tracks import READY, Entry, ProblemSet, Track
from msibench.weights import find as find_weight


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Cell:
    """One unit of work."""

    competitor: Competitor
    problem: ProblemPlan
    seed: int
    device: str
    key: str
    verdict: Status | None = None
    """Set when the outcome is known without running the cell."""
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
        return CellIdentity(
            method=self.label,
            **dict(zip(PROBLEM_FIELDS, self.problem.names, strict=True)),
            seed=self.seed,
            device=kind_of(self.device),
        )

    @property
    def name(self) -> str:
        """Its name in messages: method, section, protocol, control."""
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
    """Every problem of the track, independent of the filters."""
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
    chosen += with_settings(chosen, added.settings)
    library = versions()
    competitors = [
        competitor_of(entry, spec, library, given_weights, track.intervals)
        for entry, spec in chosen
    ]
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
    places = {place(problem.names): problem.key for problem in problems}
    return Experiment(places, kind_of(device))


def with_control(methods: tuple[str, ...], track: Track) -> tuple[str, ...]:
    """Add the control method, without which there would be no scores.

    Empty stays empty: every method of the track.
    """
    if not methods or track.scheme not in {"anchored", "skill"} or track.control_method in methods:
        return methods
    return (*methods, track.control_method)


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


def _competitors(
    track: Track,
    catalogue: Catalogue,
    problems: Iterable[ProblemPlan],
    filters: Filters,
    extra: Iterable[MethodSpec],
    given: tuple[Path, ...],
) -> tuple[list[tuple[Entry, MethodSpec]], list[str]]:
    problems = list(problems)
    tasks = {task for problem in problems for task in problem.card.tasks}
    asked = {problem.protocol.factor for problem in problems}
    chosen: dict[str, tuple[Entry, MethodSpec]] = {}
    notes: list[str] = []
    for entry in track.entries:
        if entry.method == READY:
            for name, spec in sorted(catalogue.methods.items()):
                if spec.task.value not in tasks or not _matches(name, filters.methods):
                    continue
                missing = [w.name for w in spec.weights if find_weight(w, given=given) is None]
                no_factor = spec.factors is not None and asked and asked.isdisjoint(spec.factors)
                if no_factor and not filters.methods:
                    notes.append(
                        f"{name}: left out, does factor {_numbers(spec.factors or ())}; the track asks for {_numbers(asked)}"
                    )
                elif missing:
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


def key_document(
    competitor: Competitor, problem: ProblemPlan, seed: int, device: str
) -> dict[str, Any]:
    """Return everything that the key of a cell stands for."""
    return {
        "schema": KEY_SCHEMA,
        "method": competitor.document,
        "problem": problem.document,
        "training": training_digests(competitor, problem),
        "seed": seed,
        "device": device.partition(":")[0],
    }


def training_digests(competitor: Competitor, problem: ProblemPlan) -> dict[str, str]:
    """Return what a trainable method learns from: training section → digest of its data.

    And beside it what the intervals of any other method are calibrated on, where the track asks for that.
    """
    spec, card = competitor.spec, problem.card
    if spec.trainable:
        sections = [section for section in card.train if section not in card.test]
        return {section: dataset_digest(card, section) for section in sections}
    if competitor.intervals != TRAINING:
        return {}
    return {
        f"calibration: {section}": dataset_digest(card, section)
        for section in unseen_training_sections(spec, card)
    }


def unseen_training_sections(spec: MethodSpec, card: Card) -> tuple[str, ...]:
    """Return the training sections of a card that a method has learned nothing from: to calibrate on.

    A method that is trained on them in a run has seen them all.
    """
    seen = set(spec.training_data)
    if spec.trainable or card.name in seen:
        return ()
    return tuple(
        section
        for section in card.train
        if section not in card.test and f"{card.name}/{section}" not in seen
    )


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
            training_digests(competitor, problem),
            seed,
            device.partition(":")[0],
        ),
        verdict=verdict,
        reason=reason,
    )


def _numbers(factors: Iterable[int]) -> str:
    return ", ".join(str(factor) for factor in sorted(factors))


def _verdict(competitor: Competitor, problem: ProblemPlan) -> tuple[Status | None, str]:
    """Return, without running anything, whether a method can do a problem."""
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
        offered = _numbers(spec.factors)
        return Status.NOT_APPLICABLE, f"does factor {offered}; the protocol asks for {factor}"
    seen = {card.name, f"{card.name}/{problem.section}"} & set(spec.training_data)
    if seen:
        return Status.NOT_APPLICABLE, (
            f"its weights have seen {', '.join(sorted(seen))}: a score there would measure memory, not skill"
        )
    if competitor.missing:
        return Status.WEIGHTS_MISSING, competitor.missing
    return None, ""


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
