"""Exponential moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """A second set of weights that trails the trained one.

    ``average = decay * average + (1 - decay) * weight`` after every step; integer buffers are copied.
    Early on the decay is ``min(decay, (1 + step) / (10 + step))``, so that short trainings do not
    keep their random start.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average = {key: value.detach().clone() for key, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after step `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for key, value in network.state_dict().items():
            mean = self.average[key]
            if mean.is_floating_point():
                mean.lerp_(value.to(mean.dtype), 1 - decay)
            else:
                mean.copy_(value)

    def load(self, average: Mapping[str, Tensor]) -> None:
        """Take the averages that a checkpoint holds."""
        for key, value in self.average.items():
            value.copy_(average[key])

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """Lend the averages to `network` for the time of a ``with`` block."""
        own = {key: value.detach().clone() for key, value in network.state_dict().items()}
        network.load_state_dict(self.average)
        try:
            yield
        finally:
            network.load_state_dict(own)
