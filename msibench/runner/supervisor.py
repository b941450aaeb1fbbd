"""The supervisor: lease, stage, run, check, score and store every cell of a plan."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from msibench.contracts.metric import TRAINING, MetricSpec
from msibench.errors import (
    DataError,
    IntegrityError,
    MissingWeightsError,
    MSIBenchError,
    SchemaError,
    UnknownNameError,
)
from msibench.plugin_manager import Catalogue, resolve_target
from msibench.results.files import explained, write_atomically
from msibench.results.keys import canonical_json, changed_code, digest_of, package_folders
from msibench.results.leases import BEAT_S, Lease, holder
from msibench.results.problems import PROBLEM, write_pairs
from msibench.results.provenance import environment
from msibench.results.removal import remove
from msibench.results.schema import CellRecord, Status
from msibench.results.seen_cells import SeenCells
from msibench.results.store import METRICS, Store
from msibench.runner.child.child_folder import CALIBRATION, FIT
from msibench.runner.child.job import Job, Outcome
from msibench.runner.child.libraries import libraries_of
from msibench.runner.child.progress_file import read_progress
from msibench.runner.child.sandbox.command import NONE, settled
from msibench.runner.events import Event, RunSummary, event_of
from msibench.runner.executors import BUILT_IN, Executor
from msibench.runner.expected_times import in_order
from msibench.runner.jobs import job_of
from msibench.runner.options import RunOptions
from msibench.runner.plan import Cell, Plan, unseen_training_sections
from msibench.runner.problems.stage import stage, training_pairs
from msibench.runner.recovery import mend_problems, sound_record
from msibench.runner.scores.in_threads import Claim, Scorers
from msibench.runner.scores.prediction_scores import load_staged_once
from msibench.runner.scores.record import check_and_score, record_of
from msibench.runner.scores.scoring_processes import ScoringProcesses
from msibench.training.seen import refusal
from msibench.weights import require
from msibench.weights.digests import sha256_of as sha256_of_weights

ALWAYS_AGAIN = frozenset({Status.CANCELLED, Status.WEIGHTS_MISSING, Status.NOT_APPLICABLE})
"""Statuses that are worked out anew in every run: they do not depend on the method's code."""
PROGRESS_S = 1.0
"""Between two readings of the progress of running cells."""
FIT_WAIT_S = 0.2
"""Between two checks of a fit that another cell makes."""
FIT_BYTES = 256 << 20
"""Largest size of a kept fit."""
_CHANGED = (
    "{} changed since the run was planned: what the method gave belongs to another key; run again"
)


class Supervisor:
    """Carries out a plan into a store."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        options: RunOptions | None = None,
        on_event: Callable[[Event], None] | None = None,
        stop: threading.Event | None = None,
        seen: SeenCells | None = None,
    ) -> None:
        self.store = store
        self.catalogue = catalogue
        self.options = options or RunOptions()
        self._emit = on_event or (lambda event: None)
        self._stop = stop or threading.Event()
        self._seen = seen
        self._over = threading.Event()
        self._held: dict[str, Lease] = {}
        self._running: dict[str, tuple[Cell, Path]] = {}
        self._environment = environment()
        self._fit_ended = threading.Condition()
        self._fitting: set[str] = set()
        """Keys of the fits that running cells make."""
        self._never_kept: set[str] = set()
        self._lock = threading.Lock()

    def stop(self) -> None:
        """End all children and finish; what is stored stays."""
        self._stop.set()

    def run(self, plan: Plan) -> RunSummary:
        """Run every cell that the store lacks.

        Raises
        ------
        StoreError
            If the results folder cannot be written; finished cells are kept.
        """
        summary = RunSummary(keys=[cell.key for cell in plan.cells])
        with explained(self.store.root):
            self.store.sweep()
            mend_problems(
                self.store, plan, lambda text: self._emit(Event(kind="note", reason=text))
            )
            metrics = [self.catalogue.metric(name) for name in plan.track.metrics]
            waiting = [cell for cell in plan.cells if not self._settled(cell, summary)]
            total = len(plan.cells)
            self._emit(Event(kind="planned", total=total, done=total - len(waiting)))
            if waiting and self.options.executor == "local":
                self._say_what_is_not_isolated()
            for watching in (self._beat, self._tell_progress):
                threading.Thread(target=watching, daemon=True).start()
            try:
                self._carry_out(waiting, plan, metrics, summary, total)
            except BaseException:
                self._stop.set()
                raise
            finally:
                self._over.set()
                for lease in list(self._held.values()):
                    lease.release()
        return summary

    def _say_what_is_not_isolated(self) -> None:
        kind, reason = settled(self.options.sandbox)
        if kind == NONE:
            said = (
                f"not isolated: methods can read truths and write anywhere{reason and '; '}{reason}"
            )
            self._emit(Event(kind="note", reason=said))

    # -- what is already known -----------------------------------------------------------------

    def _settled(self, cell: Cell, summary: RunSummary) -> bool:
        """Whether the store, or the plan itself, already knows how a cell ends."""

        def aside(fault: str, place: Path) -> None:
            summary.put_aside(cell.key)
            self._emit(Event(kind="note", key=cell.key, reason=f"{fault}; set aside in {place}"))

        seen = self._seen.sound(cell.key) if self._seen is not None else None
        record = seen or sound_record(self.store, cell.key, aside)
        if cell.verdict is None:
            if record is None or record.status in self.options.retry | ALWAYS_AGAIN:
                return False
            summary.count(record.status, cached=True)
            self._emit(event_of("cached", cell, record.status, record.reason))
            return True
        if record is None or (record.status, record.reason) != (cell.verdict, cell.reason):
            self._store_verdict(cell)
        summary.count(cell.verdict)
        self._emit(event_of("finished", cell, cell.verdict, cell.reason))
        return True

    def _store_verdict(self, cell: Cell) -> None:
        work = self.store.new_work(cell.key)
        outcome = Outcome(status=cell.verdict or Status.FAILED, reason=cell.reason)
        self.store.commit(work, self._record(cell, outcome))

    # -- the work ------------------------------------------------------------------------------

    def _carry_out(
        self,
        waiting: list[Cell],
        plan: Plan,
        metrics: list[MetricSpec],
        summary: RunSummary,
        total: int,
    ) -> None:
        by_key = {cell.key: cell for cell in waiting}
        waiting = in_order(waiting, self.options.jobs)
        executor = self._executor()
        started = time.monotonic()
        scorers = Scorers(self._scorers(), self._stop)
        processes = ScoringProcesses(self._scorers(), len(waiting))
        processes.begin(len(metrics))

        def finish(cell: Cell, job: Job, outcome: Outcome, claim: Claim) -> None:
            if changed := changed_code(cell.spec.target, cell.competitor.document["code"]):
                if claim():
                    self._drop(cell, job.folder, _CHANGED.format(changed[0]), summary, changed=True)
                return
            record = self._finish(cell, job.folder, outcome, metrics, claim, processes)
            if record is None:
                return
            done = summary.count(record.status, ran=True)
            self._release(cell)
            event = event_of("finished", cell, record.status, record.reason)
            elapsed = time.monotonic() - started
            self._emit(replace(event, done=done, total=total, seconds=elapsed))

        try:
            for job, outcome in executor.run(self._jobs(waiting, plan, summary)):
                if by_key[job.key].spec.trainable:
                    self._keep_fit(by_key[job.key], job.folder, outcome)
                if outcome.status is Status.CANCELLED:
                    stopped = self._stop.is_set() or "cancelled_by" in outcome.provenance
                    cell = by_key[job.key]
                    self._drop(cell, job.folder, outcome.reason, summary, changed=not stopped)
                    continue
                scorers.submit(partial(finish, by_key[job.key], job, outcome))
                scorers.raise_failures()
        finally:
            scorers.wait()
            failures = scorers.failures
            processes.close()
        if failures:
            raise failures[0]

    def _executor(self) -> Executor:
        name = self.options.executor
        if name not in BUILT_IN and name not in self.catalogue.executors:
            offered = ", ".join(sorted({*BUILT_IN, *self.catalogue.executors}))
            raise UnknownNameError(f"unknown executor {name!r}; available: {offered}")
        target = BUILT_IN.get(name) or self.catalogue.executors[name].target
        made: Executor = resolve_target(target)(
            slots=self.options.jobs,
            stop=self._stop,
            options={
                **self.options.executor_options,
                "store": self.store,
                "note": lambda text: self._emit(Event(kind="note", reason=text)),
            },
        )
        return made

    def _scorers(self) -> int:
        """Return how many cells are scored at a time: as many as run here, or else half the cores."""
        if self.options.executor == "local":
            return max(1, self.options.jobs)
        return max(1, self.options.jobs, (os.cpu_count() or 1) // 2)

    def _jobs(self, cells: Iterable[Cell], plan: Plan, summary: RunSummary) -> Iterator[Job]:
        """Prepare cells one by one, as the executor has room for them."""
        for cell in cells:
            lease = self.store.lease(cell.key)
            if lease is None:
                summary.leave()
                reason = f"another run has it ({holder(self.store.lease_path(cell.key))})"
                self._emit(event_of("busy", cell, "", reason))
                continue
            with self._lock:
                self._held[cell.key] = lease
            if self.store.has(cell.key) and self._done_elsewhere(cell, summary):
                self._release(cell)
                continue
            try:
                if reason := self._has_learned_from(cell):
                    self._end(cell, Status.NOT_APPLICABLE, reason, summary)
                    continue
                job = self._prepare(cell, plan)
            except MissingWeightsError as error:
                self._end(cell, Status.WEIGHTS_MISSING, str(error), summary)
                continue
            except IntegrityError as error:  # data, weights or code are not what the key stands for
                self._drop(cell, None, str(error), summary, changed=True)
                continue
            except DataError as error:
                self._end(cell, Status.FAILED, f"the problem cannot be made: {error}", summary)
                continue
            except (MSIBenchError, OSError):
                raise
            except Exception as error:  # a reader is a plugin: its faults cost its own cells
                reason = f"the problem cannot be made: {type(error).__name__}: {error}"
                self._end(cell, Status.FAILED, reason[:1000], summary)
                continue
            self._running[cell.key] = cell, job.folder
            self._emit(event_of("started", cell, "", ""))
            yield job

    def _drop(
        self, cell: Cell, folder: Path | None, reason: str, summary: RunSummary, *, changed: bool
    ) -> None:
        """Leave a cell unrecorded: the run was stopped, or what its key stands for has changed."""
        if folder is not None:
            remove(folder)
        summary.count(Status.CANCELLED, changed=cell.key if changed else "")
        self._release(cell)
        self._emit(event_of("dropped", cell, Status.CANCELLED, reason))

    def _release(self, cell: Cell) -> None:
        with self._lock:
            self._held.pop(cell.key).release()
            self._running.pop(cell.key, None)

    def _done_elsewhere(self, cell: Cell, summary: RunSummary) -> bool:
        """Whether another run finished a cell between planning and leasing it."""
        try:
            record = self.store.record(cell.key)
        except (IntegrityError, SchemaError):
            return False
        if record.status in self.options.retry or record.status in ALWAYS_AGAIN:
            return False
        summary.count(record.status, cached=True)
        self._emit(event_of("cached", cell, record.status, record.reason))
        return True

    def _has_learned_from(self, cell: Cell) -> str:
        """Return why a method must not be scored on a section whose copy it was trained on."""
        if not cell.spec.weights:
            return ""
        staged = load_staged_once(stage(cell.problem, self.store))
        name = f"{cell.problem.card.name}/{cell.problem.section}"
        return refusal(cell.spec, name, staged.truth, 1.0)

    def _end(self, cell: Cell, status: Status, reason: str, summary: RunSummary) -> None:
        """Store a leased cell that ends without a process."""
        work = self.store.new_work(cell.key)
        self.store.commit(work, self._record(cell, Outcome(status=status, reason=reason)))
        summary.count(status)
        self._release(cell)
        self._emit(event_of("finished", cell, status, reason))

    def _prepare(self, cell: Cell, plan: Plan) -> Job:
        """Fill a work folder with what the child reads."""
        staged = stage(cell.problem, self.store)
        folder = self.store.new_work(cell.key)
        shutil.copyfile(staged / PROBLEM, folder / PROBLEM)
        spec = cell.spec
        if spec.trainable:
            kept = self._kept_fit(fit_key(cell))
            if kept.is_file():
                shutil.copyfile(kept, folder / FIT)
            write_pairs(folder / "training.h5", training_pairs(cell.problem))
        weights = {
            weight.name: require(weight, given=self.options.given_weights)
            for weight in spec.weights
        }
        check_weights(weights, cell.competitor.document["weights"])
        task: dict[str, Any] = {
            "target": spec.target,
            "config": dict(cell.competitor.config),
            "weights": {name: str(path) for name, path in weights.items()},
            "device": cell.device,
            "precision": cell.competitor.precision,
            "seed": cell.seed,
            "code": cell.competitor.document["code"],
            "each_ion_alone": spec.each_ion_alone,
            "budget": spec.budget,
        }
        if plan.track.intervals:
            task |= self._intervals(cell, folder, plan.track.intervals)
        write_atomically(folder / "cell.json", canonical_json(task), flushed=False)
        code = spec.target.rpartition(":")[0]
        own = [code] if code.endswith(".py") else map(str, package_folders(spec.target))
        return replace(
            job_of(cell, folder, plan.track.limits, self.options.asked),
            cold=self.options.cold,
            libraries=libraries_of(spec.target),
            sandbox=self.options.sandbox,
            readable=(*task["weights"].values(), *own),
            hidden=tuple(self._hidden_from(cell)),
        )

    def _intervals(self, cell: Cell, folder: Path, kind: str) -> dict[str, Any]:
        """Write what a cell's intervals are calibrated on, and return what its process is told of it."""
        told: dict[str, Any] = {"intervals": kind, "never_negative": cell.spec.never_negative}
        if kind == TRAINING:
            sections = unseen_training_sections(cell.spec, cell.problem.card)
            if not sections:
                return {**told, "no_intervals": "there is no training section that it has not seen"}
            write_pairs(folder / CALIBRATION, training_pairs(cell.problem, sections))
        return told

    def _hidden_from(self, cell: Cell) -> Iterator[str]:
        """Yield what a method must not see: all results, its data, and the code that made them."""
        yield str(self.store.root)
        yield from map(str, cell.problem.card.local_files.values())
        code = package_folders(cell.spec.target)
        folders = {spec.card.parent for spec in self.catalogue.datasets.values()}
        for folder in sorted({*folders, cell.problem.card.folder}):
            if (folder / "card.toml").is_file():
                # a plugin may keep its card beside its method's code, which the cell needs
                shared = any(place.is_relative_to(folder) for place in code)
                yield str(folder / "card.toml" if shared else folder)

    def _finish(
        self,
        cell: Cell,
        folder: Path,
        outcome: Outcome,
        metrics: list[MetricSpec],
        claim: Claim,
        processes: ScoringProcesses,
    ) -> CellRecord | None:
        """Check and score what a child left, and store the cell; None where another call did so.

        A run that was stopped stores it without scores, which the next run computes.
        """
        self.store.check_here()
        staged_folder = self.store.problem_folder(cell.problem.key)
        wanted = None if self._stop.is_set() else metrics
        begun = self._record(cell, outcome)
        record, scored = check_and_score(begun, cell, folder, staged_folder, wanted, processes)
        if not claim():
            return None
        if scored:
            with explained(folder):
                (folder / METRICS).write_bytes(scored)
        return self.store.commit(folder, record)

    def _kept_fit(self, key: str) -> Path:
        """Return where a fit is kept, once the cell that makes it now has ended.

        Only where cells run here is waited for: their slots draw cells beside the thread that keeps fits.
        """
        path = self.store.fit_path(key)
        with self._fit_ended:
            while key in self._fitting and self.options.executor == "local":
                if self._stop.is_set():
                    break
                self._fit_ended.wait(FIT_WAIT_S)
            if not path.is_file() and key not in self._never_kept:
                self._fitting.add(key)
        return path

    def _keep_fit(self, cell: Cell, folder: Path, outcome: Outcome) -> None:
        """Keep what the method has learned, unless that is kept already or is too much."""
        learned, key = folder / FIT, fit_key(cell)
        try:
            if outcome.status is not Status.OK or self.store.fit_path(key).is_file():
                return
            size = learned.stat().st_size if learned.is_file() else 0
            if 0 < size <= FIT_BYTES:
                self.store.keep_fit(key, learned)
                return
            self._never_kept.add(key)
            if size:
                reason = f"it has learned {size >> 20} MiB; up to {FIT_BYTES >> 20} are kept for other sections"
                self._emit(Event(kind="note", key=cell.key, reason=f"{cell.name}: {reason}"))
        finally:
            with self._fit_ended:
                self._fitting.discard(key)
                self._fit_ended.notify_all()

    def _record(self, cell: Cell, outcome: Outcome) -> CellRecord:
        """Return the record of a cell; a node's own facts take precedence over those known here."""
        here = {**self._environment, "executor": self.options.executor}
        return record_of(cell, outcome, here)

    def _beat(self) -> None:
        """Renew the leases of the cells in progress."""
        while not self._over.wait(BEAT_S):
            for lease in list(self._held.values()):
                lease.beat()

    def _tell_progress(self) -> None:
        """Report the progress of the running cells."""
        told: dict[str, tuple[int, int]] = {}
        while not self._over.wait(PROGRESS_S):
            for cell, folder in list(self._running.values()):
                stage = read_progress(folder)
                if stage is None or told.get(cell.key) == (stage.done, stage.total):
                    continue
                told[cell.key] = stage.done, stage.total
                event = event_of("progress", cell, "", stage.words)
                self._emit(
                    replace(event, done=stage.done, total=stage.total, seconds=stage.seconds)
                )


def fit_key(cell: Cell) -> str:
    """Return what names a method's fit to a training set: its cell's key without the test section."""
    document, problem = cell.document, cell.problem.document
    parts = [document["method"], document["training"], document["seed"], document["device"]]
    return digest_of([*parts, problem["protocol"], problem["mz"], problem["ppm"]])


def check_weights(paths: Mapping[str, Path], planned: Mapping[str, str]) -> None:
    """Raise if a pretrained file is not the one in its cell's key."""
    for name, path in paths.items():
        if not sha256_of_weights(path).startswith(planned[name].lower()):
            raise IntegrityError(
                f"{path} changed since the run was planned: nothing is recorded; run again"
            )
