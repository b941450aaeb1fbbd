"""Adam and AdamW for methods that fit themselves to a section.

The arithmetic of `torch.optim` on a CPU, to the bit. The first optimiser of `torch.optim` in a process
imports PyTorch's compiler: 1.5 s and 150 MB for fits that take seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Adam:
    """Kingma and Ba (2015), algorithm 1; with ``decoupled`` AdamW of Loshchilov and Hutter (2019).

    Parameters
    ----------
    parameters
        What is moved; those without a gradient stay as they are.
    learning_rate
        May be set anew between steps.
    betas, epsilon
        As published.
    weight_decay
        Added to the gradient times the parameter, or with `decoupled` taken off the parameter itself.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
    ) -> None:
        self.parameters = list(parameters)
        self.learning_rate, self.betas, self.epsilon = learning_rate, betas, epsilon
        self.weight_decay, self.decoupled = weight_decay, decoupled
        self._moments = [(torch.zeros_like(x), torch.zeros_like(x)) for x in self.parameters]
        self._steps = [0] * len(self.parameters)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient once."""
        beta1, beta2 = self.betas
        rate, decay = self.learning_rate, self.weight_decay
        for place, (parameter, (first, second)) in enumerate(
            zip(self.parameters, self._moments, strict=True)
        ):
            gradient = parameter.grad
            if gradient is None:
                continue
            self._steps[place] += 1
            step = self._steps[place]
            if decay and self.decoupled:
                parameter.mul_(1 - rate * decay)
            elif decay:
                gradient = gradient.add(parameter, alpha=decay)
            first.lerp_(gradient, 1 - beta1)
            second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            spread = (second.sqrt() / (1 - beta2**step) ** 0.5).add_(self.epsilon)
            parameter.addcdiv_(first, spread, value=-rate / (1 - beta1**step))
