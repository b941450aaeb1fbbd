"""What a fit needs: its objective, its settings, and how it reports progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

Network = Callable[[Tensor], Tensor]
"""``(batch, channel, row, column)``, shared by all ions -> ``(ion, batch, channel, row, column)``."""


class FitObjective(Protocol):
    """What the networks are fitted to."""

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the loss terms; the first is minimised, the others are recorded."""
        ...

    @property
    def parts(self) -> int:
        """How many parts the image is cut into, at least 1."""
        ...

    def __call__(self, network: Network, ions: Tensor, part: int) -> Tensor:
        """Return what this part adds to each term, ``(ion, term)``; `ions` are indices, int64."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How every ion's network is fitted."""

    epochs: int
    """Upper limit; one epoch is one step of Adam on the whole image."""
    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    watch: str | None = None
    """Term whose rises are counted for the early stop; None: the one that is minimised."""
    rises: int | None = None
    """Stop an ion once its watched term has risen this often in total, in a row or not; None: never."""
    patience: int | None = None
    """Stop an ion once its watched term has found no new lowest value for this many consecutive epochs, counting
    from the first epoch; None: never."""
    restore: Literal["best", "last"] = "best"
    """Keep the parameters of the lowest `best_by`, or those of the last epoch."""
    best_by: str | None = None
    """Term that says which epoch was best; None: the watched one."""
    group: int | None = None
    """Ions in one batch. None: as many as keep to `group_bytes` on a GPU; one on a CPU, where batches
    gain nothing and an ion's bytes then do not depend on which others are fitted."""
    group_bytes: int = 1 << 30
    """Memory that one group's activations and gradients may take; one ion always fits alone."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the convolutions; parameters and losses stay float32."""
    device: str = "cpu"
    """Where to fit."""
    compiled: bool = True
    """Compile the batched network where the device is a CUDA one."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {self.epochs}")
        if self.group is not None and self.group < 1:
            raise ValueError(f"group must be at least 1, or None, got {self.group}")
        if self.rises is not None and self.rises < 1:
            raise ValueError(f"rises must be at least 1, or None for no stop, got {self.rises}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience must be at least 1, or None, got {self.patience}")


@dataclass(frozen=True, slots=True)
class FitProgress:
    """Progress of a run."""

    ions_left: int
    """Ions that are being fitted or still waiting."""
    ions: int
    epochs_left: int
    """Epochs that the current group still has, at most."""
    epoch: int
