"""Start the processes that share a training's batches, as ``torchrun`` does."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from msibench.errors import ConfigurationError


def is_started_by_torchrun(environment: Mapping[str, str]) -> bool:
    """Whether this process is one of several already."""
    return "WORLD_SIZE" in environment and "RANK" in environment


def torchrun(
    processes: int, arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Return the command, and its environment, that runs ``msibench ARGUMENTS`` in several processes.

    Parameters
    ----------
    processes
        Processes on this machine.
    arguments
        What follows ``msibench``.
    environment
        The present one; each process gets its share of the cores unless it says otherwise.
    """
    share = max(1, (os.cpu_count() or 1) // processes)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        "--nproc-per-node", str(processes), "-m", "msibench.cli.main", *arguments,
    ]  # fmt: skip
    return command, {"OMP_NUM_THREADS": str(share), **environment}


def check_shares(processes: int, batch: int, device: str) -> None:
    """Raise unless `processes` can share a batch, each with a GPU where the device is ``cuda``.

    Raises
    ------
    ConfigurationError
        If they cannot.
    """
    if batch % processes:
        raise ConfigurationError(
            f"a batch of {batch} cannot be shared by {processes} processes; choose --batch as a "
            f"multiple of {processes}"
        )
    if device.startswith("cuda"):
        import torch

        gpus = torch.cuda.device_count()
        if gpus < processes:
            raise ConfigurationError(
                f"--processes {processes} needs one GPU per process; torch sees {gpus} here"
            )


def start(processes: int, arguments: Sequence[str]) -> None:
    """Become the processes' parent; does not return."""
    command, environment = torchrun(processes, arguments, os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, environment)
