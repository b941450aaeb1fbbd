"""Plain scripts for ``sbatch``, for sites where submitit may not be installed.

Every array task is a supervisor of its own: ``msibench run … --cells KEYS`` on the shared results
folder, with leases, so that the store comes out as from one run. A script holds all that it needs.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msibench.runner.executors.slurm.machine import Machine, Request
from msibench.runner.jobs import Asked, job_of
from msibench.runner.plan import Cell
from msibench.tracks import Limits

KEY_LETTERS = 20
"""Letters of a key that name it: no two of 100,000 cells share them."""


@dataclass(frozen=True, slots=True)
class Script:
    """One file."""

    name: str
    text: str


def scripts(
    cells: Sequence[Cell],
    *,
    command: Sequence[str],
    finish: Sequence[Sequence[str]],
    track: str,
    limits: Limits,
    asked: Asked,
    machine: Machine,
    python: str,
) -> list[Script]:
    """Return the scripts that run `cells`: one array for each kind of request, and one to finish.

    Parameters
    ----------
    cells
        What is to be run.
    command, finish
        Arguments of ``msibench`` that run the plan, and those that write what comes of it.
    track
        For the jobs' names.
    limits, asked
        The track's limits, and the command line's.
    machine
        The site.
    python
        A shell command that starts Python on a node.
    """
    groups: dict[Request, list[Cell]] = {}
    for cell in cells:
        job = job_of(cell, Path(), limits, asked)
        groups.setdefault(machine.request(job, whole_time=True), []).append(cell)
    made: list[Script] = []
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", track)[:40]
    for request, some in groups.items():
        size = machine.bundle(request)
        step = size * machine.array_size
        for start in range(0, len(some), step):
            part = some[start : start + step]
            bundles = [part[i : i + size] for i in range(0, len(part), size)]
            number = len(made) + 1
            text = _array(
                f"msibench-{name}-{number}", bundles, request, machine, python, command, asked
            )
            made.append(Script(f"cells-{number:03d}.sbatch", text))
    made.append(
        Script("finish.sbatch", _finish(f"msibench-{name}-finish", machine, python, finish))
    )
    made.append(Script("submit.sh", SUBMIT))
    return made


def _array(
    name: str,
    bundles: Sequence[Sequence[Cell]],
    request: Request,
    machine: Machine,
    python: str,
    command: Sequence[str],
    asked: Asked,
) -> str:
    minutes = request.time_minutes(max(map(len, bundles)), machine.signal_s)
    parallel = min(machine.array_parallelism, len(bundles))
    options: dict[str, str | int | bool] = {
        "job-name": name,
        "array": f"0-{len(bundles) - 1}%{parallel}",
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": request.cpus,
        "mem": f"{request.memory_mb}M",
        "time": minutes,
        "requeue": True,
        "open-mode": "append",
        "output": "logs/%x-%A_%a.log",
        **({"gres": request.gres} if request.gres else {}),
        **dict(request.where),
        **machine.extra,
    }
    memory = f"{request.cell_memory_bytes / 2**30:.6g}"
    given = ["--jobs", "1", "--json", "--threads", str(request.cpus), "--memory", memory]
    if asked.timeout_s is not None:
        given += ["--timeout", f"{asked.timeout_s:g}"]
    tasks = [
        f"  {','.join(cell.key[:KEY_LETTERS] for cell in bundle)}  # {_comment(bundle)}"
        for bundle in bundles
    ]
    return "\n".join(
        [
            "#!/bin/bash",
            *(directive(option, value) for option, value in options.items()),
            "",
            "# The cells of every task, by the start of their keys.",
            "tasks=(",
            *tasks,
            ")",
            *machine.setup,
            f"exec {python} -m msibench.cli.main {shlex.join([*command, *given])} \\",
            '  --cells "${tasks[$SLURM_ARRAY_TASK_ID]}"',
            "",
        ]
    )


def _finish(name: str, machine: Machine, python: str, commands: Sequence[Sequence[str]]) -> str:
    options: dict[str, str | int | bool] = {
        "job-name": name,
        "nodes": 1,
        "ntasks": 1,
        "mem": "4G",
        "time": 60,
        "output": "logs/%x-%j.log",
        **machine.where,
        **machine.extra,
    }
    return "\n".join(
        [
            "#!/bin/bash",
            *(directive(option, value) for option, value in options.items()),
            *machine.setup,
            *(f"{python} -m msibench.cli.main {shlex.join(command)}" for command in commands),
            "",
        ]
    )


def directive(option: str, value: str | int | bool) -> str:
    """Return one ``#SBATCH`` line; false leaves an option out."""
    if value is False:
        return f"# {option}: left out"
    return (
        f"#SBATCH --{option}" if value is True else f"#SBATCH --{option}={shlex.quote(str(value))}"
    )


def _comment(bundle: Sequence[Cell]) -> str:
    """Return what a task runs, in characters without a meaning to a shell."""
    first = bundle[0]
    said = f"{first.label} {first.problem.card.name}/{first.problem.section} seed {first.seed}"
    more = f" and {len(bundle) - 1} more" if len(bundle) > 1 else ""
    return re.sub(r"[^\w./ +-]", "_", said, flags=re.ASCII)[:100] + more


SUBMIT = """\
#!/bin/bash
# Submits every array, and what writes the leaderboard once they have ended, however they ended.
# It may be run again: cells that are stored are not run twice.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p logs
after=""
for script in cells-*.sbatch; do
  [ -e "$script" ] || continue
  job=$(sbatch --parsable "$script")
  after="$after:${job%%;*}"
  echo "$script: job ${job%%;*}"
done
if [ -n "$after" ]; then
  sbatch --dependency="afterany$after" finish.sbatch
else
  sbatch finish.sbatch
fi
"""
