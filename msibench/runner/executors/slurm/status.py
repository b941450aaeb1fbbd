"""The state of the cells that SLURM has, for ``msibench status``."""

from __future__ import annotations

from msibench.results.queue import queue_folder, tickets
from msibench.results.store import Store
from msibench.runner.executors.slurm.queue import Seen, SlurmQueue
from msibench.runner.executors.slurm.task import read_outcome


def in_the_queue(store: Store, queue: SlurmQueue | None = None) -> dict[str, tuple[str, str]]:
    """Return key → state and remarks, for every cell that was handed to SLURM.

    One ``squeue`` is asked for all of them; where it does not answer, that is said.
    """
    waiting = {ticket["key"]: ticket for ticket in tickets(store)}
    jobs = [ticket["task"] for ticket in waiting.values() if ticket["task"]]
    seen = (queue or SlurmQueue()).look(jobs) if jobs else {}
    return {
        key: (
            ("finished", f"SLURM job {ticket['task']}: to be taken over by the next msibench run")
            if read_outcome(queue_folder(store, key), key) is not None
            else _said(ticket["task"], seen)
        )
        for key, ticket in waiting.items()
    }


def _said(job: str, seen: object) -> tuple[str, str]:
    if not job:
        return "submitted", "its job number was not recorded; the next msibench run looks for it"
    if not isinstance(seen, dict):
        return "submitted", f"SLURM job {job}; squeue does not answer here"
    found = seen.get(job)
    if not isinstance(found, Seen):
        return (
            "lost",
            f"SLURM job {job} is not in the queue; the next msibench run submits it again",
        )
    where = f" on {found.node}" if found.node else ""
    why = f" ({found.reason})" if found.reason and found.pending else ""
    long = f" for {found.elapsed}" if found.state == "RUNNING" and found.elapsed else ""
    return "queued" if found.pending else "running" if found.alive else "lost", (
        f"SLURM job {job} {found.state}{where}{long}{why}"
    )
