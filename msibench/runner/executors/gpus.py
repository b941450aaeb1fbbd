"""The GPUs of this machine, shared out by the memory that cells declare."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GPU:
    """One GPU."""

    name: str
    """Its name in ``CUDA_VISIBLE_DEVICES``: a number, or the name of a GPU or of its part."""
    memory_gb: float


class GPUs:
    """GPUs, and how much of each is given out."""

    def __init__(self, gpus: list[GPU]) -> None:
        self._sizes = {gpu.name: gpu.memory_gb for gpu in gpus}
        self._free = dict(self._sizes)
        self._change = threading.Condition()

    def take(self, wanted_gb: float, stop: threading.Event) -> str | None:
        """Wait for a GPU with room and return its name; None when stopped, or without any GPU.

        A cell that wants more than any GPU has gets the largest one to itself.
        """
        if not self._sizes:
            return None
        wanted = min(wanted_gb, max(self._sizes.values()))
        with self._change:
            while not stop.is_set():
                best = max(self._free, key=lambda name: self._free[name])
                if self._free[best] >= wanted:
                    self._free[best] -= wanted
                    return best
                self._change.wait(0.2)
        return None

    def give_back(self, name: str, wanted_gb: float) -> None:
        """Return the share that was taken with the same number."""
        with self._change:
            self._free[name] += min(wanted_gb, max(self._sizes.values()))
            self._change.notify_all()


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[GPU]:
    """Return the GPUs that this process may use; empty without any."""
    try:
        import torch

        count = torch.cuda.device_count()
        sizes = [torch.cuda.get_device_properties(i).total_memory / 2**30 for i in range(count)]
    except (ImportError, RuntimeError):
        return []
    return [GPU(name, size) for name, size in zip(names(count, environment), sizes, strict=True)]


def names(count: int, environment: Mapping[str, str]) -> list[str]:
    """Return what `count` visible GPUs are called where this process was given some of them.

    A child is shown one of ours: of ``CUDA_VISIBLE_DEVICES=2,GPU-8d1c``, the second is
    ``GPU-8d1c``, not ``1``.
    """
    given = [part.strip() for part in environment.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    given = [part for part in given if part]
    return given[:count] if len(given) >= count else [str(number) for number in range(count)]
