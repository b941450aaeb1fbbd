"""How DeepFERE's two networks are fitted to one section."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from msibench.training.adam import Adam
from msibench_deepfere.losses import (
    correlation_loss,
    mapping_loss,
    reconstruction_loss,
    window_origins,
)
from msibench_deepfere.network import FusionNetwork, RegistrationMapping


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """One section, or one ion image of it, as the networks see it."""

    stain: Tensor
    """``(1, guide channel, row*factor, column*factor)`` in [0, 1]."""
    low: Tensor
    """``(1, channel, row, column)`` in [0, 1]."""
    magnified: Tensor
    """`low` on the fine grid, bicubic."""
    factor: int
    known: Tensor | None = None
    """1 where `low` was measured, the shape of `low`; None: everywhere."""


@dataclass(slots=True)
class Curves:
    """Losses of every iteration, in the order in which they were taken."""

    mapping: list[float] = field(default_factory=list)
    reconstruction: list[float] = field(default_factory=list)
    correlation: list[float] = field(default_factory=list)


class Fit:
    """Two networks and their optimisers, stepped one iteration at a time.

    Parameters
    ----------
    registration, fusion
        The networks.
    learning_rate, betas
        Of both Adam optimisers.
    windows, chunk
        Windows of the correlation loss an iteration, and how many are in memory at a time.
    rng
        Draws the windows.
    refer_to_mapped
        Take the mapped image as the correlation loss's reference instead of the registered stain.
    gradients_add_up
        Leave the gradient of the reconstruction in place when the correlation loss adds its own, so
        that the fusion network feels it twice: as published.
    precision
        Arithmetic of the networks on a GPU.
    """

    def __init__(
        self,
        registration: RegistrationMapping,
        fusion: FusionNetwork,
        *,
        learning_rate: float,
        betas: tuple[float, float] = (0.5, 0.999),
        windows: int = 800,
        chunk: int = 50,
        rng: np.random.RandomState,
        refer_to_mapped: bool = False,
        gradients_add_up: bool = False,
        precision: str = "float32",
    ) -> None:
        self.registration, self.fusion = registration, fusion
        self.windows, self.chunk, self.rng = windows, chunk, rng
        self.refer_to_mapped, self.gradients_add_up = refer_to_mapped, gradients_add_up
        self.precision, self.curves = precision, Curves()
        self._adam = [
            Adam(network.parameters(), learning_rate=learning_rate, betas=betas)
            for network in (registration, fusion)
        ]

    @contextmanager
    def _arithmetic(self, views: Views) -> Iterator[None]:
        half = self.precision != "float32" and views.stain.device.type == "cuda"
        context = (
            torch.autocast("cuda", dtype=getattr(torch, self.precision)) if half else nullcontext()
        )
        with context:
            yield

    def warm_up(self, views: Views) -> None:
        """Step the registration and mapping alone."""
        first, _ = self._adam
        first.zero_grad()
        with self._arithmetic(views):
            _, mapped = self.registration(views.stain)
        loss = mapping_loss(mapped.float(), views.low, views.factor, views.known)
        torch.autograd.backward(loss)
        first.step()
        self.curves.mapping.append(loss.item())

    def joint(self, views: Views) -> None:
        """Step both networks on mapping and reconstruction, then the fusion on the correlation."""
        first, second = self._adam
        first.zero_grad()
        second.zero_grad()
        with self._arithmetic(views):
            registered, mapped = self.registration(views.stain)
            output = self.fusion(views.magnified, mapped)
        mapping = mapping_loss(mapped.float(), views.low, views.factor, views.known)
        reconstruction = reconstruction_loss(output.float(), views.low, views.factor, views.known)
        torch.autograd.backward(mapping + reconstruction)
        first.step()
        second.step()
        if not self.gradients_add_up:
            second.zero_grad()
        # The images of before the step: the networks are not asked again.
        reference = (mapped if self.refer_to_mapped else registered).detach().float()
        with self._arithmetic(views):
            fused = self.fusion.fuse(views.magnified, mapped.detach())
        correlation = self._pull_towards(reference, fused)
        # It says nothing of the head that revises: a gradient of zero, on which Adam moves on.
        for weight in self.fusion.revise.parameters():
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        second.step()
        self.curves.mapping.append(mapping.item())
        self.curves.reconstruction.append(reconstruction.item())
        self.curves.correlation.append(correlation)

    def _pull_towards(self, reference: Tensor, fused: Tensor) -> float:
        """Back-propagate the correlation loss, some windows at a time; return its value."""
        origins = window_origins(self.rng, (fused.shape[-2], fused.shape[-1]), self.windows)
        leaf = fused.detach().float().requires_grad_()
        total = 0.0
        for first in range(0, len(origins), self.chunk):
            some = origins[first : first + self.chunk]
            share = len(some) / len(origins)
            loss = correlation_loss(leaf, reference, some) * share
            torch.autograd.backward(loss)
            total += loss.item()
        assert leaf.grad is not None
        torch.autograd.backward(fused, leaf.grad.to(fused.dtype))
        return total

    def revised(self, views: Views) -> Tensor:
        """Return the revised image, ``(channel, row*factor, column*factor)``."""
        with torch.inference_mode(), self._arithmetic(views):
            _, mapped = self.registration(views.stain)
            output: Tensor = self.fusion(views.magnified, mapped)
        return output[0, self.fusion.channels :].float()
