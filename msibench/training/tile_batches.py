"""Tiles through a network, as many at once as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from msibench.contracts.progress import tell_progress
from msibench.errors import ConfigurationError
from msibench.training.tile_plan import InputNeeds, Tile

Arithmetic = Literal["float32", "bfloat16", "float16"]


_CPU_PIXELS = 4096


class TileBatches:
    """Runs grey images through a network in batches, smaller ones when memory runs out."""

    def __init__(
        self,
        network: nn.Module | Callable[[Tensor], Tensor],
        needs: InputNeeds,
        batch: int,
        device: str,
        precision: Arithmetic,
    ) -> None:
        self.network, self.needs = network, needs
        self.batch, self.halvings = batch, 0
        self.device, self.precision = torch.device(device), precision

    def run(
        self, images: NDArray[np.float32] | TileCuts
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (index of the first image, ``(image, row*factor, column*factor)``)."""
        if self.device.type == "cpu":
            self.batch = min(self.batch, max(1, _CPU_PIXELS // images[:1].size))
        first = 0
        while first < len(images):
            chunk = images[first : first + self.batch]
            try:
                fine = self._forward(chunk)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error) or len(chunk) == 1:
                    raise
                self.batch, self.halvings = max(1, len(chunk) // 2), self.halvings + 1
            else:
                yield first, fine
                first += len(chunk)
                tell_progress(first, len(images), "tiles")
                continue
            if self.device.type == "cuda":  # outside the handler, whose traceback holds the tensors
                torch.cuda.empty_cache()

    def _forward(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode(), arithmetic(self.device.type, self.precision):
            grey = torch.from_numpy(np.ascontiguousarray(chunk)).to(self.device)[:, None]
            fine = self.network(grey.expand(-1, self.needs.channels, -1, -1))
            result: NDArray[np.float32] = fine.float().mean(dim=1).cpu().numpy()
        expected = tuple(side * self.needs.factor for side in chunk.shape[1:])
        if result.shape[1:] != expected:
            raise ConfigurationError(
                f"the network should make {expected} of {chunk.shape[1:]} "
                f"(factor {self.needs.factor}), it made {result.shape[1:]}"
            )
        return result


@contextmanager
def arithmetic(device_type: str, precision: Arithmetic) -> Iterator[None]:
    """Compute in the declared precision; float32 means float32, without TF32 short cuts."""
    with ExitStack() as stack:
        if precision != "float32":
            stack.enter_context(torch.autocast(device_type, dtype=getattr(torch, precision)))
        elif device_type == "cuda":
            flags = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
            stack.enter_context(flags)
        yield


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "out of memory" in text
        or "can't allocate memory" in text
        or "not enough memory" in text
    )


class TileCuts:
    """All tiles of all ions, ion after ion, cut out when they are asked for."""

    def __init__(self, ions: NDArray[np.float32], plan: tuple[Tile, ...]) -> None:
        self.ions, self.plan = ions, plan

    def __len__(self) -> int:
        return len(self.ions) * len(self.plan)

    def __getitem__(self, place: slice) -> NDArray[np.float32]:
        chosen = (divmod(index, len(self.plan)) for index in range(*place.indices(len(self))))
        return np.stack(
            [self.ions[ion, self.plan[tile].rows, self.plan[tile].columns] for ion, tile in chosen]
        )
