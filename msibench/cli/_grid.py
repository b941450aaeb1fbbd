"""The evaluation after the trainings of a grid: every model on the test sections, and their leaderboard."""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msibench.errors import ConfigurationError

if TYPE_CHECKING:
    from msibench.contracts.method import MethodSpec
    from msibench.datasets import Card
    from msibench.plugin_manager import Catalogue
    from msibench.results.store import Store
    from msibench.runner.events import Event, RunSummary
    from msibench.runner.options import RunOptions
    from msibench.runner.plan import Plan
    from msibench.tracks import Track

CONTROL = "bicubic"
LEADERBOARD, RESULTS = "leaderboard", "results"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GridResult:
    """The evaluation of a grid."""

    summary: RunSummary
    track: Track
    variants: tuple[str, ...]
    """The trained models, by their names in the leaderboard."""
    folder: Path
    """Holds the leaderboard, its figures and the per-m/z table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridEvaluation:
    """What the trainings of a grid are evaluated on, and how."""

    datasets: tuple[str, ...] = ()
    """Data sets whose test sections are used, besides those that the trainings learned from or were
    validated on."""
    beside: tuple[str, ...] = ()
    """Further methods to rank with the trainings: other pre-trained networks, say."""
    mz_set: str = ""
    """m/z set of the cards; empty: each card's own."""
    results: Path | None = None
    """Results folder; None: ``results`` inside the grid's folder."""
    given_weights: tuple[Path, ...] = ()
    """Files or folders in which to look for the method's own weights first."""
    device: str = "cpu"
    jobs: int = 1


def finished_trainings(out: Path, method: str) -> dict[Path, Mapping[str, Any]]:
    """Return folder → record of the finished trainings of `method` in a grid's folder, by name.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    from msibench.training.checkpoints import load_record
    from msibench.training.variants import is_training

    folders = sorted(path for path in out.glob("*") if is_training(path)) if out.is_dir() else []
    records = {folder: load_record(folder) for folder in folders}
    chosen: dict[Path, Mapping[str, Any]] = {
        folder: record for folder, record in records.items() if record["method"] == method
    }
    if not chosen:
        raise ConfigurationError(
            f"{out} holds no finished training of {method}, so there is nothing to evaluate; "
            f"train first: msibench finetune {method} --grid grid.toml --out {out.name}"
        )
    return chosen


def evaluate_grid(
    spec: MethodSpec,
    out: Path,
    catalogue: Catalogue,
    card_of: Callable[[str], Card],
    *,
    asked: GridEvaluation | None = None,
    stop: threading.Event | None = None,
    listen: Callable[[Event], None] | None = None,
) -> GridResult:
    """Run all finished trainings in `out` on held-out sections and write their leaderboard.

    They are compared with the method that was trained, if its weights are here, with `CONTROL` and with what is asked
    for beside, under the protocol on which each training was validated. Cells that are stored are not run again.

    Parameters
    ----------
    spec
        The method that was trained.
    out
        The folder of the grid.
    catalogue
        Installed plugins, with the core's metrics.
    card_of
        Data set's name → card.
    asked
        On what, and how.
    stop
        When set, the evaluation ends; what is stored stays.
    listen
        Told of every cell.

    Raises
    ------
    ConfigurationError
        If there is no finished training, no data set has a test section, or there is no method of a name.
    """
    from msibench.leaderboard.overview import scheme_for, write_overview
    from msibench.plugin_manager import resolve_method
    from msibench.results.store import Store
    from msibench.runner.options import RunOptions

    asked = asked or GridEvaluation()
    records = finished_trainings(out, spec.name)
    variants = tuple(resolve_method(str(folder), catalogue) for folder in records)
    names = dict.fromkeys([*_learned_from(records.values()), *asked.datasets])
    cards = {name: card_of(name) for name in names}
    store = Store.open(asked.results or out / RESULTS)
    with _starting_weights(spec, asked.given_weights) as (ready, search_paths):
        named, brought = _untrained(spec if ready else None, asked.beside, catalogue)
        track = _track(spec, out, records.values(), cards, asked.mz_set, named)
        options = RunOptions(
            jobs=asked.jobs,
            executor_options={"cuda": asked.device.startswith("cuda")},
            given_weights=search_paths,
            stop=stop,
        )
        added = (*variants, *brought)
        plan = _plan(track, catalogue, cards, added, asked.device, search_paths)
        summary = _run(plan, catalogue, store, options, out, spec.name, listen)
    if summary.stopped:
        raise KeyboardInterrupt
    assert summary.rows is not None
    labels = tuple(variant.name for variant in variants)
    scheme, missing = scheme_for(summary.rows)
    track = replace(track, scheme=scheme)
    write_overview(
        summary.rows,
        track,
        store,
        out / LEADERBOARD,
        variants=labels,
        start=spec.name if ready else "",
        missing=missing,
    )
    return GridResult(summary=summary, track=track, variants=labels, folder=out / LEADERBOARD)


def _untrained(
    start: MethodSpec | None, beside: tuple[str, ...], catalogue: Catalogue
) -> tuple[tuple[str, ...], tuple[MethodSpec, ...]]:
    """Return what the trainings are compared with: names of installed methods, and methods of files or folders."""
    from msibench.contracts.method import CONSISTENT
    from msibench.plugin_manager import resolve_method

    others = [
        *([start] if start else []),
        *(resolve_method(n, catalogue) for n in (CONTROL, *beside)),
    ]
    unique = {each.name: each for each in others}
    named = tuple(n for n in unique if n.removesuffix(CONSISTENT) in catalogue.methods)
    return named, tuple(each for name, each in unique.items() if name not in named)


def _plan(
    track: Track,
    catalogue: Catalogue,
    cards: Mapping[str, Card],
    added: tuple[MethodSpec, ...],
    device: str,
    given_weights: tuple[Path, ...],
) -> Plan:
    """Plan the trainings beside the methods of the track."""
    from msibench.runner.plan import Additions, make_plan

    plan = make_plan(
        track,
        catalogue,
        cards=cards,
        device=device,
        additions=Additions(methods=added),
        given_weights=given_weights,
    )
    if not plan.cells:
        raise ConfigurationError(
            f"none of {', '.join(cards)} has a test section; name another --dataset"
        )
    return plan


def _run(
    plan: Plan,
    catalogue: Catalogue,
    store: Store,
    options: RunOptions,
    out: Path,
    method: str,
    listen: Callable[[Event], None] | None,
) -> RunSummary:
    """Run the plan and write its board, ranked by the scheme that its rows allow."""
    from msibench.leaderboard.overview import scheme_for
    from msibench.results.index import index_path
    from msibench.run_track import BoardOptions, run_track

    # Trainings that were deleted since the last evaluation must not come back out of the index.
    index_path(store, plan.track.name).unlink(missing_ok=True)
    board = BoardOptions(
        folder=out / LEADERBOARD,
        choose_scheme=lambda rows: scheme_for(rows)[0],
        rebuild=f"msibench finetune {method} --out {out.resolve().name} --evaluate-only",
        page=False,
    )
    return run_track(plan.track, catalogue, store, options, plan=plan, board=board, listen=listen)


def _track(
    spec: MethodSpec,
    out: Path,
    records: Iterable[Mapping[str, Any]],
    cards: Mapping[str, Card],
    mz_set: str,
    untrained: tuple[str, ...],
) -> Track:
    """Return the track of the evaluation: test sections only, under the validations' protocols."""
    from msibench.leaderboard.figure_boxes import METRICS
    from msibench.scoring.schemes import DEFAULT_SCHEME
    from msibench.tracks import Entry, ProblemSet, Track

    protocols = dict.fromkeys(next(iter(record["request"]["protocols"])) for record in records)
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", out.resolve().name)
    return Track(
        name=f"grid-{label}",
        title=f"Trainings of {spec.name} ({label})",
        description="Every finished training of a grid, the method that was trained where its "
        "weights are here, the control and what was asked for beside them, on held-out test sections.",
        problems=tuple(
            ProblemSet(dataset=name, protocols=tuple(protocols), mz_set=mz_set)
            for name, card in cards.items()
            if card.test
        ),
        entries=tuple(Entry(method=name) for name in untrained),
        metrics=(DEFAULT_SCHEME, *METRICS),
        control_method=CONTROL,
    )


def _learned_from(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the data sets of all sections that trainings learned from or were validated on."""
    return [
        section.partition("/")[0]
        for record in records
        for section in (*record["request"]["sections"], *record["request"]["validation"])
    ]


@contextmanager
def _starting_weights(
    spec: MethodSpec, given: tuple[Path, ...]
) -> Iterator[tuple[bool, tuple[Path, ...]]]:
    """Yield whether the method can run untrained, and a folder with its files under their names.

    A file that the user gives may have any name; a cell looks for it under its declared name.
    """
    from msibench.weights import resolve

    found, missing = resolve(spec.weights, given)
    with tempfile.TemporaryDirectory(prefix="msibench-weights-") as place:
        for name, path in found.items():
            link = Path(place) / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
        yield bool(found) and not missing, (Path(place),)
