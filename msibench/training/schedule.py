"""Learning rate as a pure function of the step: nothing to store, nothing to restore."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from msibench.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Warm-up, then cosine, multi-step or constant decay.

    References
    ----------
    .. [1] Loshchilov, Hutter, ICLR 2017, equation 5 (one cosine period, no restart).
    """

    kind: Literal["cosine", "multi-step", "constant"] = "cosine"
    lr: float = 2e-4
    """Highest learning rate."""
    lr_min: float = 0.0
    """Where the cosine ends."""
    iterations: int = 1000
    warmup: int = 0
    """Steps over which the rate grows linearly from ``lr / warmup``."""
    milestones: tuple[int, ...] = ()
    """Steps from which the rate is multiplied by `gamma` (multi-step)."""
    gamma: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in ("cosine", "multi-step", "constant"):
            raise ConfigurationError(
                f"schedule must be cosine, multi-step or constant, got {self.kind!r}"
            )
        if not 0 <= self.lr_min <= self.lr:
            raise ConfigurationError(
                f"expected 0 <= lr_min <= lr, got lr_min={self.lr_min}, lr={self.lr}"
            )
        if self.iterations < 1 or not 0 <= self.warmup <= self.iterations:
            raise ConfigurationError(
                "expected iterations >= 1 and 0 <= warmup <= iterations, got "
                f"iterations={self.iterations}, warmup={self.warmup}"
            )
        if list(self.milestones) != sorted(self.milestones):
            raise ConfigurationError(f"milestones must increase, got {self.milestones}")

    def __call__(self, step: int) -> float:
        """Return the learning rate of step `step`, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.kind == "multi-step":
            return self.lr * self.gamma ** sum(step >= milestone for milestone in self.milestones)
        if self.kind == "constant":
            return self.lr
        span = max(1, self.iterations - self.warmup)
        share = min(1.0, (step - self.warmup) / span)
        return self.lr_min + (self.lr - self.lr_min) * 0.5 * (1 + math.cos(math.pi * share))
