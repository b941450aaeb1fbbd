"""Several processes that share every batch, started by ``torchrun``.

Each process draws its share of the joint batch (`msibench.training.patches`), gradients are averaged
by ``torch.nn.parallel.DistributedDataParallel``, and the curve is that of one process with the joint
batch up to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from msibench.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class World:
    """One process among those that train together."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        """The one process that writes files and reports."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return `network` with its gradients averaged over the processes."""
        if self.size == 1:
            return network
        devices = [torch.device(self.device)] if self.device.startswith("cuda") else None
        return nn.parallel.DistributedDataParallel(network, device_ids=devices)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of `values` over the processes."""
        if self.size == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.size

    def wait(self) -> None:
        """Return when every process has reached this point."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def world_from_environment(device: str = "cpu") -> Iterator[World]:
    """Join the processes that ``torchrun`` started; one process alone needs no environment.

    Parameters
    ----------
    device
        ``"cpu"`` (gloo) or ``"cuda"`` (nccl, one GPU per process by ``LOCAL_RANK``).

    Raises
    ------
    ConfigurationError
        If ``cuda`` is asked for where there is none.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigurationError("--device cuda was asked for, but torch sees no CUDA device here")
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(device=device)
        return
    if device.startswith("cuda"):
        local = int(os.environ.get("LOCAL_RANK", "0"))
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()
