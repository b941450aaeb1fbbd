"""What runs on a SLURM node: the cells of one task, one after another, each watched as on one machine.

Every attempt at a cell has a folder of its own inside the cell's, so that an attempt that SLURM took
for dead and the one that replaced it never write into one another's files. The first to finish makes
``outcome.json`` with a hard link, which cannot happen twice on NFS either; the other's work is let go.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from msibench.results.files import write_atomically
from msibench.results.keys import plain
from msibench.results.provenance import environment
from msibench.results.queue import TICKET
from msibench.results.schema import Status
from msibench.runner.child.job import Job, Outcome
from msibench.runner.child.watch import run_child

OUTCOME = "outcome.json"
ATTEMPT = "try-"
LARGEST_OUTCOME = 32 << 20
"""Bytes of an ``outcome.json`` beyond which it is not read."""
OURS = frozenset({TICKET, OUTCOME})
"""Files in a cell's folder that its child does not read."""
SETTLE_S = 1.0
"""A signal from SLURM reaches the cell and its watcher in any order, this far apart at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayTask:
    """One element of a job array: submitit carries it to the node and calls it."""

    jobs: tuple[Job, ...]
    retries: int
    """How often SLURM may start it again."""
    seconds: float
    """Its time limit."""
    signal_s: int
    """How long before that SLURM warns it."""

    def __call__(self) -> int:
        """Run the cells that have no outcome yet; return how many have one now."""
        warned = Warned(self.seconds - self.signal_s)
        done = 0
        for job in self.jobs:
            if not (job.folder / "cell.json").exists():
                continue  # its supervisor has taken it over: SLURM began an ended task again
            if not (job.folder / OUTCOME).exists():
                if restarts() > self.retries:
                    publish(job, given_up(restarts()), "")
                else:
                    run_one(job, warned)
            done += (job.folder / OUTCOME).exists()
            if warned.stop.is_set():
                # No other cell may begin; SLURM starts the task again, or its supervisor does.
                raise SystemExit(f"ended by SLURM ({warned.by}) after {done} cells")
        return done


def restarts() -> int:
    """Return how often SLURM has started this task again."""
    text = os.environ.get("SLURM_RESTART_COUNT", "0")
    return int(text) if text.isdigit() else 0


class Warned:
    """Listens for the signals with which SLURM ends a job: preempted, cancelled or out of time."""

    def __init__(self, warning_at: float) -> None:
        self.stop = threading.Event()
        self.by = ""
        self._start = time.monotonic()
        self._warning_at = warning_at
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: object) -> None:
        self.by = signal.Signals(number).name
        self.stop.set()

    @property
    def out_of_time(self) -> bool:
        """Whether the signal was the one that comes before the time limit."""
        spent = time.monotonic() - self._start
        # SLURM looks at limits once a minute at worst, and counts from before Python started
        return self.stop.is_set() and spent > self._warning_at - 60 and self.by == "SIGUSR2"


def run_one(job: Job, warned: Warned) -> None:
    """Run one cell in a folder of its own and publish the outcome, unless SLURM ended it."""
    name = attempt_name()
    folder = job.folder / name
    folder.mkdir()
    for entry in job.folder.iterdir():
        if entry.is_file() and entry.name not in OURS and not entry.name.startswith("."):
            _link(entry, folder / entry.name)
    killed_before = oom_kills()
    outcome = run_child(here(job, folder, name), warned.stop)
    if outcome.status is Status.KILLED and (
        "SIGTERM" in outcome.reason or "SIGKILL" in outcome.reason
    ):
        warned.stop.wait(SETTLE_S)
    if warned.out_of_time:
        outcome = replace(outcome, status=Status.TIMEOUT, reason=OUT_OF_TIME)
    elif warned.stop.is_set() and outcome.status is not Status.OK:
        return
    if outcome.status is Status.KILLED and oom_kills() > killed_before:
        reason = f"the node's out-of-memory killer ended it; {outcome.reason}"
        outcome = replace(outcome, status=Status.OOM, reason=reason)
    publish(job, outcome, name)


OUT_OF_TIME = "SLURM's time limit came before the cell's own; raise minutes in machine.toml"


def attempt_name() -> str:
    """Return a name that no other attempt has: job, task, restart, host."""
    environment = os.environ
    job = environment.get("SLURM_JOB_ID", str(os.getpid()))
    host = "".join(letter if letter.isalnum() else "_" for letter in socket.gethostname())
    return f"{ATTEMPT}{job}-{environment.get('SLURM_RESTART_COUNT', '0')}-{host}-{time.time_ns()}"


def here(job: Job, folder: Path, attempt: str) -> Job:
    """Return a job as it runs on this node: its folder, its share of the cores and of the GPUs."""
    given = {} if job.vram_gb else {"CUDA_VISIBLE_DEVICES": ""}
    return replace(job, folder=folder, attempt=attempt, environment={**given, **job.environment})


def given_up(restarts: int) -> Outcome:
    """Return the outcome of a cell that SLURM has started too often."""
    return Outcome(
        status=Status.KILLED,
        reason=f"preempted, or its node failed, {restarts} times; msibench run --retry killed "
        "runs it again, retries in machine.toml raises the number",
    )


def publish(job: Job, outcome: Outcome, attempt: str) -> bool:
    """Make a cell's ``outcome.json``; False when another attempt was faster."""
    attempt_record = {
        "schema_version": 1,
        "key": job.key,
        "attempt": attempt,
        **asdict(outcome),
        "status": str(outcome.status),
        "provenance": {
            **outcome.provenance,
            **environment(),
            "threads": job.threads,
            "slurm_job": os.environ.get("SLURM_JOB_ID", ""),
            "slurm_restarts": restarts(),
            "node": os.environ.get("SLURMD_NODENAME", socket.gethostname()),
        },
    }
    beside = job.folder / f".{attempt or 'given-up'}-{time.time_ns()}.json"
    write_atomically(beside, json.dumps(plain(attempt_record), sort_keys=True))
    try:
        os.link(beside, job.folder / OUTCOME)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK}:
            raise
        beside.rename(job.folder / OUTCOME)  # a disk without hard links: the last one wins
    finally:
        beside.unlink(missing_ok=True)
    return True


def read_outcome(folder: Path, key: str) -> tuple[Outcome, str] | None:
    """Return a cell's outcome and the name of its attempt; None while there is none to read.

    The folder is listed first: on NFS that asks the server, where a mere look at the file may be
    answered from what this host remembers.
    """
    try:
        if OUTCOME not in os.listdir(folder):  # noqa: PTH208 - the names alone
            return None
        path = folder / OUTCOME
        if path.is_symlink() or path.stat().st_size > LARGEST_OUTCOME:
            return None
        saved = json.loads(path.read_text(encoding="utf-8"))
        attempt = saved["attempt"]
        if saved["key"] != key or not isinstance(attempt, str) or Path(attempt).name != attempt:
            return None
        tables = {name: dict(saved[name]) for name in ("timings", "peaks", "report", "provenance")}
        outcome = Outcome(status=Status(saved["status"]), reason=str(saved["reason"]), **tables)
        return outcome, attempt
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def take_over(folder: Path, attempt: str) -> None:
    """Bring what an attempt left up into its cell's folder, and drop the other attempts."""
    for name in ("prediction.h5", "log.txt"):
        source = folder / attempt / name
        if attempt and source.exists() and not source.is_symlink():
            source.replace(folder / name)
    for entry in folder.glob(f"{ATTEMPT}*"):
        shutil.rmtree(entry, ignore_errors=True)


def begun(folder: Path) -> bool:
    """Whether any attempt at a cell was begun."""
    return any(folder.glob(f"{ATTEMPT}*"))


def oom_kills() -> int:
    """Return how many processes of this job's memory group the kernel has ended for memory."""
    total = 0
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0":
                total += _counter(Path(f"/sys/fs/cgroup{path}/memory.events"))
            elif "memory" in controllers.split(","):
                total += _counter(Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control"))
    return total


def _counter(path: Path) -> int:
    with suppress(OSError, ValueError):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


def _link(source: Path, target: Path) -> None:
    with suppress(FileExistsError):
        try:
            os.link(source, target)
        except FileExistsError:
            raise
        except OSError:
            shutil.copyfile(source, target)


def as_json(value: Any) -> str:
    """Return a value as the text of a small file."""
    return json.dumps(plain(value), sort_keys=True, indent=1) + "\n"
