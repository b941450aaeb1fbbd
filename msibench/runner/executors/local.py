"""Cells on this machine: CPU slots, and the GPUs shared out by declared memory."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import psutil

from msibench.runner.child import Job, Outcome, run_child


@dataclass
class Cards:
    """GPUs of this machine and the memory of each that is still free to give, in GiB."""

    free: dict[int, float] = field(default_factory=dict)
    change: threading.Condition = field(default_factory=threading.Condition)

    def take(self, wanted: float, stop: threading.Event) -> int | None:
        """Wait for a card with room and return its number; None when stopped or there is no card."""
        with self.change:
            whole = max(self.free.values(), default=0.0)
            while not stop.is_set():
                if not self.free:
                    return None
                best = max(self.free, key=lambda card: self.free[card])
                if self.free[best] >= min(wanted, whole):
                    self.free[best] -= wanted
                    return best
                self.change.wait(0.2)
        return None

    def give_back(self, card: int, wanted: float) -> None:
        """Return a share."""
        with self.change:
            self.free[card] += wanted
            self.change.notify_all()


class LocalExecutor:
    """Runs as many cells side by side as there are slots."""

    def __init__(
        self,
        *,
        slots: int = 1,
        stop: threading.Event | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        self.slots = max(1, slots)
        self._stop = stop or threading.Event()
        self._cards = Cards(dict(visible_cards())) if (options or {}).get("cuda") else Cards()
        self._threads = max(1, (os.cpu_count() or 1) // self.slots)
        self._memory_bytes = fair_share(self.slots)

    def run(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Run jobs as they are drawn; an error while drawing one is raised here."""
        done: queue.Queue[tuple[Job, Outcome] | BaseException | None] = queue.Queue()
        lock = threading.Lock()

        def serve() -> None:
            try:
                while not self._stop.is_set():
                    with lock:
                        job = next(jobs, None)
                    if job is None:
                        break
                    done.put((job, self._run_one(job)))
            except BaseException as error:
                done.put(error)
            done.put(None)

        threads = [threading.Thread(target=serve, daemon=True) for _ in range(self.slots)]
        for thread in threads:
            thread.start()
        open_slots = self.slots
        failure: BaseException | None = None
        try:
            while open_slots:
                item = done.get()
                if item is None:
                    open_slots -= 1
                elif isinstance(item, BaseException):
                    failure = item
                    self._stop.set()
                else:
                    yield item
        finally:
            if open_slots:
                self._stop.set()
            for thread in threads:
                thread.join()
        if failure is not None:
            raise failure

    def _run_one(self, job: Job) -> Outcome:
        job = replace(
            job,
            threads=job.threads or self._threads,
            memory_bytes=self._memory_bytes if job.memory_bytes is None else job.memory_bytes,
        )
        outcome = self._run_on_card(job)
        return replace(outcome, provenance={**outcome.provenance, "threads": job.threads})

    def _run_on_card(self, job: Job) -> Outcome:
        if not job.vram_gb:
            hidden = {"CUDA_VISIBLE_DEVICES": "", **job.environment}
            return run_child(replace(job, environment=hidden), self._stop)
        card = self._cards.take(job.vram_gb, self._stop)
        if card is None:
            return run_child(job, self._stop)
        try:
            chosen = {**job.environment, "CUDA_VISIBLE_DEVICES": str(card)}
            return run_child(replace(job, environment=chosen), self._stop)
        finally:
            self._cards.give_back(card, job.vram_gb)


def fair_share(slots: int) -> int:
    """Return the bytes that one of `slots` cells may use: nine tenths of what is there, shared."""
    return int(psutil.virtual_memory().total * 0.9) // max(1, slots)


def visible_cards() -> list[tuple[int, float]]:
    """Return the GPUs that this process may use, with their memory in GiB; empty without any."""
    try:
        import torch

        count = torch.cuda.device_count()
        sizes = [torch.cuda.get_device_properties(i).total_memory / 2**30 for i in range(count)]
    except (ImportError, RuntimeError):
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    numbers = [int(part) for part in named.split(",") if part.strip().isdigit()]
    if len(numbers) != count:
        numbers = list(range(count))
    return list(zip(numbers, sizes, strict=True))
