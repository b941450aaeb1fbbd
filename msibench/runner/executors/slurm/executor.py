"""Cells on a SLURM cluster: the same folders and the same child process, as job arrays of submitit.

The supervisor stays outside SLURM (a login node will do) and only waits: a task on a node runs its
cells with `msibench.runner.child.watch.run_child` and leaves ``outcome.json`` in each cell's folder under
``queue/`` of the results folder. What became of a cell is told by that file first and by the queue
second, so a supervisor may die at any moment: the jobs go on, and the next ``msibench run`` finds
their folders, takes over what has ended and what still runs, and submits only the rest.
"""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from msibench.results.files import write_atomically
from msibench.results.queue import (
    TICKET,
    batch_folder,
    queue_folder,
    read_ticket,
    sweep_queue,
    tickets,
)
from msibench.results.schema import Status
from msibench.results.store import Store
from msibench.runner.child.job import Job, Outcome
from msibench.runner.executors.slurm.machine import Machine, Request, load_machine
from msibench.runner.executors.slurm.queue import Seen, SlurmQueue
from msibench.runner.executors.slurm.submit import (
    SubmissionError,
    import_submitit,
    job_name,
    submit_with_submitit,
)
from msibench.runner.executors.slurm.task import (
    OUT_OF_TIME,
    OUTCOME,
    ArrayTask,
    as_json,
    begun,
    read_outcome,
    take_over,
)

DRAW_S = 20.0
"""Seconds after which drawing cells pauses, so that what was drawn is submitted."""
BACK_OFF_S = 30.0
"""Seconds until a refusal that may pass is tried again."""
PASSING = ("timed out", "unable to contact", "temporarily", "try again")
"""Words in sbatch's refusals that are temporary."""
CROWDED = ("maxsubmit", "maxjobs", "submit limit", "accounting/qos policy")
"""Words that are temporary while jobs of this run are in the queue."""


@dataclass(slots=True)
class Queued:
    """One cell that SLURM has."""

    job: Job
    batch: str
    task: str
    """``"12_3"``; empty while it is not known."""
    tries: int = 0
    shortened: bool = False
    gone_since: float | None = None
    seen: Seen | None = None


class SlurmExecutor:
    """Runs cells as array tasks of SLURM, through submitit."""

    def __init__(
        self,
        *,
        slots: int = 1,
        stop: threading.Event | None = None,
        options: Mapping[str, object] | None = None,
        queue: SlurmQueue | None = None,
        submit: Callable[..., list[str]] | None = None,
    ) -> None:
        given = options or {}
        machine = given.get("machine")
        self.machine = machine if isinstance(machine, Machine) else load_machine(_path(machine))
        self._store = cast(Store, given["store"])
        self._note = cast(Callable[[str], None], given.get("note") or (lambda text: None))
        self._stop = stop or threading.Event()
        self._queue = queue or SlurmQueue()
        self._submit = submit or submit_with_submitit
        if submit is None:
            import_submitit()
        self._held: dict[str, Queued] = {}
        self._waiting: dict[Request, list[Queued]] = {}
        self._earlier: dict[str, Seen] | None = {}
        """The queue's answer at the start about the jobs of earlier supervisors; None: none."""
        self._named: dict[str, Mapping[str, Seen]] = {}
        self._not_before = 0.0
        self._over: set[str] = set()
        self._telling: set[str] = set()
        """Batches whose logs may explain something."""

    # -- the loop ------------------------------------------------------------------------------

    def run(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Submit jobs as they are drawn; yield each with its outcome.

        When stopped, all its jobs are cancelled. When abandoned in any other way (an error, an end
        of the process), they go on, and the next run takes them over.
        """
        sweep_queue(self._store)
        left = [ticket["task"] for ticket in tickets(self._store) if ticket["task"]]
        seen = self._queue.look(left) if left else {}
        self._earlier = None if seen is None else dict(seen)
        more = True
        while not self._stop.is_set():
            if more:
                more = self._draw(jobs)
            self._hand_over()
            yield from self._collect()
            if not more and not self._held and not self._waiting:
                for batch in self._over - self._telling:
                    shutil.rmtree(self._batch_folder(batch), ignore_errors=True)
                return
            if not more or self._full():
                self._stop.wait(self.machine.poll_s)
        yield from self._cancel()

    def _full(self) -> bool:
        return len(self._held) + self._kept_back() >= self.machine.max_queued

    def _kept_back(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _draw(self, jobs: Iterator[Job]) -> bool:
        """Draw cells while there is room; return whether there may be more."""
        end = time.monotonic() + DRAW_S
        while not self._full() and not self._stop.is_set() and time.monotonic() < end:
            job = next(jobs, None)
            if job is None:
                return False
            self._take(job)
        return True

    def _take(self, job: Job) -> None:
        """Adopt what an earlier supervisor left of a cell, or put the cell in line."""
        folder = queue_folder(self._store, job.key)
        found = self._left_behind(folder, job)
        if found is not None:
            shutil.rmtree(job.folder, ignore_errors=True)
            self._held[job.key] = found
            return
        shutil.rmtree(folder, ignore_errors=True)
        self._store.make_folder(folder.parent)
        job.folder.rename(folder)
        self._line_up(Queued(replace(job, folder=folder.resolve()), "", ""))

    def _left_behind(self, folder: Path, job: Job) -> Queued | None:
        """Return a cell that is in the queue, or has ended there, since an earlier supervisor."""
        ticket = read_ticket(folder)
        if ticket is None:
            return None
        cell = Queued(
            replace(job, folder=folder.resolve()),
            ticket["batch"],
            ticket["task"],
            ticket["tries"],
            bool(ticket.get("shortened")),
        )
        if read_outcome(folder, job.key) is not None:
            return cell
        if not cell.task:  # the supervisor died between sbatch and writing down the number
            cell.task = self._number_of(cell.batch, ticket["place"])
        if not cell.task:
            return None
        if self._earlier is None:
            return cell  # SLURM does not answer: judged once it does
        known = self._earlier.get(cell.task)
        return cell if known is not None and known.alive else None

    def _number_of(self, batch: str, place: int) -> str:
        if batch not in self._named:
            self._named[batch] = self._queue.named(job_name(batch)) or {}
        named = self._named[batch]
        for task, seen in named.items():
            if task.endswith(f"_{place}") or "_" not in task:
                if self._earlier is not None:
                    self._earlier[task] = seen
                return task
        return ""

    def _line_up(self, cell: Queued, *, whole_time: bool = False) -> None:
        request = self.machine.request(cell.job, whole_time=whole_time or cell.tries > 0)
        cell.shortened = request.shortened
        cell.job = replace(cell.job, threads=request.cpus, memory_bytes=request.cell_memory_bytes)
        cell.gone_since = cell.seen = None
        self._waiting.setdefault(request, []).append(cell)

    # -- submitting ----------------------------------------------------------------------------

    def _hand_over(self) -> None:
        """Submit what waits: an array for each kind of request."""
        if time.monotonic() < self._not_before:
            return
        for request in list(self._waiting):
            cells = self._waiting.pop(request)
            size = self.machine.bundle(request)
            step = size * self.machine.array_size
            for start in range(0, len(cells), step):
                some = cells[start : start + step]
                bundles = [some[i : i + size] for i in range(0, len(some), size)]
                try:
                    self._send(request, bundles)
                except SubmissionError as error:
                    self._waiting.setdefault(request, []).extend(cells[start:])
                    if not self._may_pass(error):
                        raise
                    self._not_before = time.monotonic() + BACK_OFF_S
                    self._note(
                        f"SLURM accepts no more jobs at the moment; they are submitted later: {error}"
                    )
                    return

    def _may_pass(self, error: SubmissionError) -> bool:
        text = str(error).lower()
        words = (*PASSING, *CROWDED) if self._held else PASSING
        return any(word in text for word in words)

    def _send(self, request: Request, bundles: list[list[Queued]]) -> None:
        batch = uuid.uuid4().hex[:12]
        minutes = request.time_minutes(max(map(len, bundles)), self.machine.signal_s)
        tasks = []
        for place, bundle in enumerate(bundles):
            for cell in bundle:
                cell.batch, cell.task = batch, ""
                self._write_ticket(cell, place)
            tasks.append(
                ArrayTask(
                    jobs=tuple(cell.job for cell in bundle),
                    retries=self.machine.retries,
                    seconds=60.0 * minutes,
                    signal_s=self.machine.signal_s,
                )
            )
        numbers = self._submit(self._batch_folder(batch), tasks, request, self.machine, minutes)
        for place, (bundle, number) in enumerate(zip(bundles, numbers, strict=True)):
            for cell in bundle:
                cell.task = number
                self._write_ticket(cell, place)
                self._held[cell.job.key] = cell

    def _write_ticket(self, cell: Queued, place: int) -> None:
        ticket = {
            "schema_version": 1,
            "key": cell.job.key,
            "name": cell.job.name,
            "batch": cell.batch,
            "task": cell.task,
            "place": place,
            "tries": cell.tries,
            "shortened": cell.shortened,
            "time": time.time(),
        }
        write_atomically(cell.job.folder / TICKET, as_json(ticket))

    def _batch_folder(self, batch: str) -> Path:
        return batch_folder(self._store, batch).resolve()

    # -- collecting ----------------------------------------------------------------------------

    def _collect(self) -> Iterator[tuple[Job, Outcome]]:
        if not self._held:
            return
        seen = self._queue.look(cell.task for cell in self._held.values() if cell.task)
        for cell in list(self._held.values()):
            if seen is not None:
                cell.seen = seen.get(cell.task)
            alive = cell.seen is not None and cell.seen.alive
            if alive and cell.seen and cell.seen.pending and not begun(cell.job.folder):
                cell.gone_since = None
                continue
            found = read_outcome(cell.job.folder, cell.job.key)
            if found is not None:
                ended = self._ended(cell, *found)
            elif seen is None or alive:
                cell.gone_since = None
                continue
            else:
                ended = self._vanished(cell)
            if ended is not None:
                yield ended

    def _ended(self, cell: Queued, outcome: Outcome, attempt: str) -> tuple[Job, Outcome] | None:
        """Take over the result of a cell."""
        if outcome.reason == OUT_OF_TIME and cell.shortened:
            (cell.job.folder / OUTCOME).unlink(missing_ok=True)
            self._again(cell, "more time than declared", whole_time=True)
            return None
        if outcome.status is Status.KILLED and _state(cell) == "OUT_OF_MEMORY":
            reason = f"SLURM ended it for using too much memory ({cell.task}); {outcome.reason}"
            outcome = replace(outcome, status=Status.OOM, reason=reason)
        take_over(cell.job.folder, attempt)
        return self._done(cell, outcome)

    def _done(self, cell: Queued, outcome: Outcome) -> tuple[Job, Outcome]:
        del self._held[cell.job.key]
        (self._telling if outcome.status is Status.KILLED else self._over).add(cell.batch)
        return cell.job, outcome

    def _vanished(self, cell: Queued) -> tuple[Job, Outcome] | None:
        """Decide on a cell whose job has ended without a visible result."""
        now = time.monotonic()
        if cell.gone_since is None:
            cell.gone_since = now
        if now - cell.gone_since < self.machine.outcome_wait_s:
            return None
        if cell.seen is None and cell.task:
            cell.seen = self._queue.remembered([cell.task]).get(cell.task)
        state = _state(cell)
        culprit = begun(cell.job.folder)
        if state == "OUT_OF_MEMORY" and culprit:
            reason = f"SLURM ended it for using too much memory ({cell.task}); raise memory_gb in machine.toml"
            return self._done(cell, Outcome(status=Status.OOM, reason=reason))
        if state in {"TIMEOUT", "DEADLINE"} and culprit and not cell.shortened:
            return self._done(cell, Outcome(status=Status.TIMEOUT, reason=OUT_OF_TIME))
        if state.startswith("CANCELLED"):
            reason = f"its job {cell.task} was cancelled, not by this run"
            taken = Outcome(
                status=Status.CANCELLED, reason=reason, provenance={"cancelled_by": "SLURM"}
            )
            return self._done(cell, taken)
        if cell.seen is not None and cell.seen.pending:  # it waits for an administrator
            self._queue.cancel([cell.task])
        what = f"{state or 'vanished from the queue'} on {_node(cell) or 'no node'}"
        if culprit or state not in {"OUT_OF_MEMORY", "TIMEOUT", "DEADLINE"}:
            cell.tries += 1  # else another cell of its task is to blame
        if cell.tries > self.machine.retries:
            said = self._last_words(cell)
            reason = f"its job ended {cell.tries} times without a result, last: {what}{said}"
            return self._done(cell, Outcome(status=Status.KILLED, reason=reason))
        self._again(cell, what, whole_time=state in {"TIMEOUT", "DEADLINE"})
        return None

    def _again(self, cell: Queued, why: str, *, whole_time: bool) -> None:
        self._note(f"{cell.job.name}: submitted again ({cell.task}: {why})")
        del self._held[cell.job.key]
        self._line_up(cell, whole_time=whole_time)

    def _last_words(self, cell: Queued) -> str:
        """Return the end of what SLURM kept of a task's output."""
        logs = sorted(self._batch_folder(cell.batch).glob(f"{cell.task}_*.err"))
        for path in logs:
            with suppress(OSError):
                lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
                told = " | ".join(line.strip() for line in lines if line.strip())
                return f"; it said: {told[-500:]}" if told else ""
        return ""

    # -- the end -------------------------------------------------------------------------------

    def _cancel(self) -> Iterator[tuple[Job, Outcome]]:
        """Cancel every job that this run has in the queue; what has ended already is kept."""
        self._queue.cancel({cell.task for cell in self._held.values() if cell.task})
        for cell in list(self._held.values()):
            found = read_outcome(cell.job.folder, cell.job.key)
            if found is not None and found[0].status is not Status.CANCELLED:
                ended = self._ended(cell, *found)
                if ended is not None:
                    yield ended
                    continue
            else:
                del self._held[cell.job.key]
                yield cell.job, STOPPED
        for cells in self._waiting.values():
            for cell in cells:
                yield cell.job, STOPPED
        self._waiting.clear()


STOPPED = Outcome(status=Status.CANCELLED, reason="the run was stopped")


def _path(value: object) -> Path | None:
    return None if value is None else Path(str(value))


def _state(cell: Queued) -> str:
    return cell.seen.state if cell.seen is not None else ""


def _node(cell: Queued) -> str:
    return cell.seen.node if cell.seen is not None else ""
