"""Hand tasks to SLURM as one job array, through submitit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msibench.errors import ConfigurationError
from msibench.runner.executors.slurm.machine import Machine, Request
from msibench.runner.executors.slurm.task import ArrayTask


class SubmissionError(ConfigurationError):
    """Sbatch refused a job."""


def submit_with_submitit(
    folder: Path, tasks: list[ArrayTask], request: Request, machine: Machine, minutes: int
) -> list[str]:
    """Submit tasks as one array and return their numbers, ``"12_0"``, in order.

    Raises
    ------
    SubmissionError
        If sbatch refuses, with its message.
    """
    submitit = import_submitit()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        executor = submitit.SlurmExecutor(
            folder=folder, max_num_timeout=0, python=machine.python or None
        )
        executor.update_parameters(**parameters(request, machine, minutes, folder.name, len(tasks)))
        return [str(job.job_id) for job in executor.map_array(_call, tasks)]
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        words = " ".join(str(error).split())
        raise SubmissionError(f"sbatch refused the jobs: {words}; see machine.toml") from error
    except RuntimeError as error:
        raise SubmissionError(f"{error} Give --executor local where there is no SLURM.") from error


def parameters(
    request: Request, machine: Machine, minutes: int, batch: str, tasks: int
) -> dict[str, Any]:
    """Return submitit's parameters of one array."""
    extra: dict[str, Any] = {"requeue": True, "mem": f"{request.memory_mb}M", **dict(request.where)}
    if request.gres:
        extra["gres"] = request.gres
    extra.update({name: value for name, value in machine.extra.items() if value is not False})
    return {
        "job_name": job_name(batch),
        "time": minutes,
        "cpus_per_task": request.cpus,
        "ntasks_per_node": 1,
        "nodes": 1,
        "array_parallelism": min(machine.array_parallelism, tasks),
        "signal_delay_s": machine.signal_s,
        "setup": list(machine.setup),
        # srun does not take the number over from sbatch since SLURM 22.05
        "srun_args": [f"--cpus-per-task={request.cpus}"],
        "additional_parameters": extra,
    }


def job_name(batch: str) -> str:
    """Return the name of a batch's jobs, by which they are found when their number was lost."""
    return f"msibench-{batch}"


def _call(task: ArrayTask) -> int:
    return task()


def import_submitit() -> Any:
    """Return submitit, or raise with how to install it."""
    try:
        import submitit
    except ImportError as error:
        raise ConfigurationError(
            "--executor slurm needs submitit: pip install 'msibench[slurm]'; or, without it, "
            "msibench plan TRACK --sbatch prints scripts for sbatch"
        ) from error
    return submitit
