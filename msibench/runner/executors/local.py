"""Cells on this machine: CPU slots, and the GPUs shared out by declared memory."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from msibench.runner.child.job import Job, Outcome
from msibench.runner.child.watch import run_child
from msibench.runner.executors.gpus import GPUs, visible_gpus


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
        self._gpus = GPUs(visible_gpus() if (options or {}).get("cuda") else [])
        self._threads = threads_of(self.slots)
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
        outcome = self._run_on_gpu(job)
        return replace(outcome, provenance={**outcome.provenance, "threads": job.threads})

    def _run_on_gpu(self, job: Job) -> Outcome:
        if not job.vram_gb:
            hidden = {"CUDA_VISIBLE_DEVICES": "", **job.environment}
            return run_child(replace(job, environment=hidden), self._stop)
        gpu = self._gpus.take(job.vram_gb, self._stop)
        if gpu is None:
            return run_child(job, self._stop)
        try:
            chosen = {**job.environment, "CUDA_VISIBLE_DEVICES": gpu}
            return run_child(replace(job, environment=chosen), self._stop)
        finally:
            self._gpus.give_back(gpu, job.vram_gb)


def usable_cores() -> int:
    """Return how many cores this process may use: fewer than there are under taskset or a batch job."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_of(slots: int) -> int:
    """Return how many threads one of `slots` cells has where nobody says it: the cores, shared."""
    return max(1, usable_cores() // max(1, slots))


def fair_share(slots: int) -> int:
    """Return the bytes that one of `slots` cells may use: nine tenths of what is there, shared."""
    there = min(psutil.virtual_memory().total, *group_limits())
    return int(there * 0.9) // max(1, slots)


def group_limits(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> list[int]:
    """Return the memory limits, in bytes, that a container or a batch job sets this process."""
    found = [1 << 62]
    with suppress(OSError, ValueError):
        for line in own.read_text(encoding="utf-8").splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0":
                places = [root / path.strip("/") / "memory.max", root / "memory.max"]
            elif "memory" in controllers.split(","):
                name = "memory.limit_in_bytes"
                places = [root / "memory" / path.strip("/") / name, root / "memory" / name]
            else:
                continue
            for place in places:
                with suppress(OSError, ValueError):
                    found.append(int(place.read_text(encoding="utf-8")))
    return found
