"""Adam and AdamW, for trainings and for methods that fit themselves to a section.

The arithmetic of `torch.optim` on a CPU, to the bit. The first optimiser of `torch.optim` in a process
imports PyTorch's compiler: 1.5 s and 150 MB for fits that take seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
        self._first, self._second = (
            [torch.zeros_like(parameter) for parameter in self.parameters] for _ in range(2)
        )
        self._steps = [0] * len(self.parameters)

    @property
    def param_groups(self) -> list[dict[str, list[Tensor]]]:
        """All parameters as one group, for `torch.amp.GradScaler`."""
        return [{"params": self.parameters}]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient once."""
        moving = [place for place, x in enumerate(self.parameters) if x.grad is not None]
        if not moving:
            return
        parameters = [self.parameters[place] for place in moving]
        gradients: list[Tensor] = [x.grad for x in parameters if x.grad is not None]
        first, second = ([kept[place] for place in moving] for kept in (self._first, self._second))
        for place in moving:
            self._steps[place] += 1
        steps = [self._steps[place] for place in moving]
        beta1, beta2 = self.betas
        rate, decay = self.learning_rate, self.weight_decay
        # Of all parameters at once: one kernel each on a GPU, one call from Python each on a CPU.
        if decay and self.decoupled:
            torch._foreach_mul_(parameters, 1 - rate * decay)
        elif decay:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=decay))
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        spread = torch._foreach_sqrt(second)
        torch._foreach_div_(spread, [(1 - beta2**step) ** 0.5 for step in steps])
        torch._foreach_add_(spread, self.epsilon)
        torch._foreach_addcdiv_(parameters, first, spread, [-rate / (1 - beta1**s) for s in steps])

    def state(self) -> dict[int, dict[str, Tensor]]:
        """Return what every parameter that has moved remembers, by its place, in the names of `torch.optim`."""
        return {
            place: {
                "step": torch.tensor(float(step)),
                "exp_avg": self._first[place],
                "exp_avg_sq": self._second[place],
            }
            for place, step in enumerate(self._steps)
            if step
        }

    def load_state(self, state: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Go on from what `state` returned; parameters that are not in it start anew."""
        for place in range(len(self.parameters)):
            known = state.get(place)
            self._steps[place] = int(known["step"]) if known else 0
            for kept, name in ((self._first, "exp_avg"), (self._second, "exp_avg_sq")):
                kept[place].copy_(known[name] if known else torch.zeros(()))
