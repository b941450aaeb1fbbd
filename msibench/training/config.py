"""Every choice that decides a training, beside data and network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from msibench.errors import ConfigurationError
from msibench.training.schedule import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """Every choice that decides the result, beside data and network."""

    iterations: int = 1000
    """Length of the schedule."""
    stop_at: int = 0
    """Finish after this many steps of the schedule; 0: after all. Another value may be given when
    resuming, as the steps before it are the same."""
    loss: Mapping[str, float] = field(default_factory=lambda: {"l1": 1.0})
    optimiser: Literal["adam", "adamw"] = "adamw"
    lr: float = 2e-4
    lr_min: float = 1e-6
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    schedule: Literal["cosine", "multi-step", "constant"] = "cosine"
    warmup: int = 0
    milestones: tuple[int, ...] = ()
    gamma: float = 0.5
    ema: float = 0.999
    """Decay of the averaged weights, which are the result; 0: the last weights are the result."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Autocast of the network; losses and weights stay float32."""
    clip: float = 1.0
    """Largest norm of the gradient over all weights; 0: no clipping."""
    seed: int = 0
    validate_every: int = 500
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        self._require_numbers()
        if self.iterations < 1 or self.validate_every < 1 or self.checkpoint_every < 1:
            raise ConfigurationError(
                "iterations, validate_every and checkpoint_every must be at least 1"
            )
        if not 0 <= self.stop_at <= self.iterations:
            raise ConfigurationError(
                f"stop_at must be 0 to iterations ({self.iterations}), got {self.stop_at}"
            )
        if self.optimiser not in ("adam", "adamw"):
            raise ConfigurationError(f"optimiser must be adam or adamw, got {self.optimiser!r}")
        if self.precision not in ("float32", "bfloat16", "float16"):
            raise ConfigurationError(
                f"precision must be float32, bfloat16 or float16, got {self.precision!r}"
            )
        if not 0 <= self.ema < 1:
            raise ConfigurationError(f"ema must be in [0, 1), got {self.ema}")
        for name in ("lr", "lr_min", "weight_decay", "clip", "seed"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name} must be at least 0, got {getattr(self, name)}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigurationError(f"betas must be two numbers in [0, 1), got {list(self.betas)}")
        self.rate()  # raises where the schedule's options do not go together

    def _require_numbers(self) -> None:
        """Raise where an option is of another kind than its default: a file or a command line may hold any."""
        for each in fields(self):
            value, default = getattr(self, each.name), each.default
            if isinstance(default, str):
                continue
            if not isinstance(default, int | float):
                wanted = Mapping if each.name == "loss" else list | tuple
                if not isinstance(value, wanted):
                    words = "a table ({l1 = 1.0})" if wanted is Mapping else "a list of numbers"
                    raise ConfigurationError(f"{each.name} must be {words}, got {value!r}")
                inside = value.values() if isinstance(value, Mapping) else value
            else:
                inside = [value]
            whole = isinstance(default, int) or each.name == "milestones"
            for one in inside:
                fits = isinstance(one, int if whole else int | float) and not isinstance(one, bool)
                if not fits or not math.isfinite(one):
                    kind = "a whole number" if whole else "a finite number"
                    raise ConfigurationError(f"{each.name} must be {kind}, got {one!r}")

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.stop_at or self.iterations

    def rate(self) -> Schedule:
        """Return the learning rate as a function of the step."""
        return Schedule(
            kind=self.schedule,
            lr=self.lr,
            lr_min=min(self.lr_min, self.lr),
            iterations=self.iterations,
            warmup=self.warmup,
            milestones=tuple(self.milestones),
            gamma=self.gamma,
        )
