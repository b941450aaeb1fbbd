"""What one step of training asks of a network: the loss of one batch."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from msibench.training.losses import Loss


class Objective(Protocol):
    """Loss of one batch.

    A diffusion method brings its own (`msibench_<name>.training:objective_for_training`); every random
    number comes from `generator`, which the loop seeds anew at each step.
    """

    def __call__(
        self, network: nn.Module, low: Tensor, high: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return a scalar to minimise.

        Parameters
        ----------
        network
            What is trained.
        low, high
            ``(image, 1, row, column)`` and the same on the fine grid, in [0, 1].
        generator
            On the CPU.
        """
        ...


class PixelObjective:
    """Distance of the network's image from the truth."""

    def __init__(self, loss: Loss) -> None:
        self.loss = loss

    def __call__(
        self, network: nn.Module, low: Tensor, high: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return ``loss(network(low), high)``."""
        return self.loss(network(low), high)
