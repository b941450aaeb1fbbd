"""Ask SLURM about jobs, rarely: one ``squeue`` for all of them; ``sacct`` only for those it forgot."""

from __future__ import annotations

import getpass
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

ALIVE = frozenset(
    {
        "PENDING",
        "RUNNING",
        "SUSPENDED",
        "COMPLETING",
        "CONFIGURING",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "RESIZING",
        "RESV_DEL_HOLD",
        "SIGNALING",
        "SPECIAL_EXIT",
        "STAGE_OUT",
        "STOPPED",
    }
)
"""States out of which a job may still leave a result."""
STUCK = frozenset({"launch failed requeued held", "launch_failed_requeued_held"})
"""Reasons for which a pending job waits for an administrator."""
ANSWER_S = 60.0
IDS_A_CALL = 400


@dataclass(frozen=True, slots=True)
class Seen:
    """One job or array task, as the queue shows it."""

    state: str
    reason: str = ""
    node: str = ""
    elapsed: str = ""

    @property
    def alive(self) -> bool:
        """Whether it may still leave a result."""
        return self.state in ALIVE and self.reason not in STUCK

    @property
    def pending(self) -> bool:
        """Whether it waits, perhaps for another start."""
        return self.state in {"PENDING", "REQUEUED", "REQUEUE_HOLD"}


Run = Callable[[list[str]], "subprocess.CompletedProcess[str]"]


def call(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run one of SLURM's commands; one that is missing or does not answer has failed."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_S, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 255, "", str(error))


class SlurmQueue:
    """The few questions that are asked of SLURM."""

    def __init__(self, run: Run = call) -> None:
        self._run = run

    def look(self, jobs: Iterable[str]) -> Mapping[str, Seen] | None:
        """Return what the queue knows of jobs (``"12"`` or ``"12_3"``); None when it does not answer.

        Finished jobs are among them for as long as SLURM remembers (``MinJobAge``).
        """
        masters = sorted({job.partition("_")[0] for job in jobs})
        found: dict[str, Seen] = {}
        for start in range(0, len(masters), IDS_A_CALL):
            some = masters[start : start + IDS_A_CALL]
            answer = self._run([*SQUEUE, f"--jobs={','.join(some)}"])
            if answer.returncode == 0:
                found.update(parse_squeue(answer.stdout))
            elif "Invalid job id" not in answer.stderr:
                return None
        return found

    def named(self, name: str) -> Mapping[str, Seen] | None:
        """Return this user's jobs of one name; None when the queue does not answer."""
        answer = self._run([*SQUEUE, f"--user={getpass.getuser()}", f"--name={name}"])
        return parse_squeue(answer.stdout) if answer.returncode == 0 else None

    def remembered(self, jobs: Iterable[str]) -> Mapping[str, Seen]:
        """Return what the accounting knows of jobs; nothing where a site keeps none."""
        wanted = sorted(jobs)
        found: dict[str, Seen] = {}
        for start in range(0, len(wanted), IDS_A_CALL):
            some = ",".join(wanted[start : start + IDS_A_CALL])
            answer = self._run(
                ["sacct", "-X", "-n", "-P", "-o", "JobID,State,NodeList", "-j", some]
            )
            if answer.returncode != 0:
                return found
            for line in answer.stdout.splitlines():
                job, _, rest = line.partition("|")
                state, _, node = rest.partition("|")
                if state:
                    found[job] = Seen(state.split()[0].rstrip("+"), "", node)
        return found

    def cancel(self, jobs: Iterable[str]) -> None:
        """End jobs; those that have ended already are passed over."""
        wanted = sorted(jobs)
        for start in range(0, len(wanted), IDS_A_CALL):
            self._run(["scancel", "--quiet", *wanted[start : start + IDS_A_CALL]])


SQUEUE = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r|%N|%M"]


def parse_squeue(text: str) -> dict[str, Seen]:
    """Return job → what a line of ``squeue --format=%i|%T|%r|%N|%M`` says of it."""
    found = {}
    for line in text.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) >= 2 and re.fullmatch(r"\d+(_\d+)?", parts[0]):
            reason, node, elapsed = (*parts[2:5], "", "", "")[:3]
            found[parts[0]] = Seen(parts[1], "" if reason == "None" else reason, node, elapsed)
    return found
