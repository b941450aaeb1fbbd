"""Fit one small network to every ion image of a section, all of them in one run.

Fusion networks such as LCRN are fitted to one ion at a time; a section has hundreds. Here the
parameters of many networks of one architecture are stacked and fitted together, each with its own
initialisation, its own optimiser state and its own early stop, so that the result is that of
fitting them one by one.

What bounds the memory: ions are fitted in groups, and an objective may cut the image into parts
whose gradients are summed before each step. What bounds the time: on a GPU a group is one batched
network; on a CPU ions and parts are spread over the threads (see `msibench.training.threads`), and
the result does not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from msibench.training.fit_settings import FitObjective, FitProgress, FitSettings, Network
from msibench.training.group_fit import GroupFit, Ledger, fit_group
from msibench.training.stacked import activation_bytes, forward_of, initial_parameters, ion_seed
from msibench.training.threads import one_thread_each, ordered_map

__all__ = [
    "FitObjective",
    "FitProgress",
    "FitSettings",
    "IonFits",
    "Network",
    "activation_bytes",
    "fit_ions",
    "ion_seed",
]


@dataclass(frozen=True, slots=True, eq=False)
class IonFits:
    """One fitted network per ion."""

    module: nn.Module
    """The architecture; its own parameters have no meaning."""
    parameters: Tensor
    """``(ion, parameter)`` float32, flattened in the order of ``module.named_parameters()``."""
    terms: tuple[str, ...]
    curves: NDArray[np.float32]
    """``(ion, epoch, term)``; NaN after an ion's early stop."""
    epochs: NDArray[np.int64]
    """How many epochs each ion was fitted for."""
    best_epoch: NDArray[np.int64]
    """The epoch whose parameters were kept, from 0."""
    rises: NDArray[np.int64]
    """How often the watched term rose."""
    stopped_early: NDArray[np.bool_] = field(repr=False)

    def network(self, ions: Sequence[int]) -> Network:
        """Return the fitted networks of these ions as one function."""
        chosen = self.parameters[list(ions)]
        forward = forward_of(self.module)
        return lambda image: forward(chosen.to(image.device), image)


def fit_ions(
    build: Callable[[], nn.Module],
    objective: FitObjective,
    ions: Sequence[int],
    settings: FitSettings,
    *,
    seed: int,
    identities: Sequence[int] | None = None,
    example: Tensor | None = None,
    progress: Callable[[FitProgress], None] | None = None,
) -> IonFits:
    """Fit one network per ion.

    Parameters
    ----------
    build
        Makes the network of one ion; called once per ion with the generator at that ion's seed.
        Networks may hold constant buffers but no running statistics (batch normalisation).
    objective
        What to minimise; it knows the images.
    ions
        Which ions to fit, as the objective numbers them: in any order, each once.
    settings
        Optimiser, early stop, memory, device.
    seed
        Seed of the run; each ion's own is `ion_seed` of it and of the ion's identity.
    identities
        What identifies each ion wherever it is in a stack, one per entry of `ions` (see
        `msibench.training.ions.ion_identities`); None: their indices.
    example
        An input as large as the largest part: with it, groups on a GPU are made so that the
        activations keep to ``settings.group_bytes``. Without it, every ion is a group of its own.
    progress
        Called after each epoch of a group, possibly from several threads, never at the same time.

    Returns
    -------
    The fits in the order of `ions`, on the CPU.

    Raises
    ------
    ValueError
        If an ion is listed twice or the settings name a term that the objective does not have.
    """
    if len(set(ions)) != len(ions):
        raise ValueError(f"every ion may be fitted once: expected no index twice, got {list(ions)}")
    if identities is not None and len(identities) != len(ions):
        raise ValueError(f"expected one identity per ion, got {len(identities)} for {len(ions)}")
    for name in (settings.watch, settings.best_by):
        if name is not None and name not in objective.terms:
            raise ValueError(f"no loss term named {name!r}: the objective has {objective.terms}")
    where = torch.device(settings.device)
    with one_thread_each() as threads:
        module, start = initial_parameters(build, identities or ions, seed)
        size = _group_size(module, example, settings, where)
        groups = [range(first, min(first + size, len(ions))) for first in range(0, len(ions), size)]
        ledger = Ledger(len(ions), progress)
        on_cpu = where.type == "cpu"
        outer = min(threads, len(groups)) if on_cpu else 1
        inner = threads if on_cpu and outer == 1 else 1

        forward = forward_of(module, compiled=settings.compiled and not on_cpu)

        def run(group: range) -> GroupFit:
            indices = torch.tensor([ions[position] for position in group], device=where)
            return fit_group(
                forward,
                start[group.start : group.stop].to(where),
                objective,
                indices,
                settings,
                inner,
                ledger,
            )

        with ordered_map(outer) as spread:
            fitted = spread(run, groups)
    return _joined(module, objective.terms, settings, fitted)


def _group_size(
    module: nn.Module, example: Tensor | None, settings: FitSettings, device: torch.device
) -> int:
    if settings.group is not None:
        return settings.group
    if example is None or device.type == "cpu":
        return 1
    return max(1, int(settings.group_bytes // max(activation_bytes(module, example), 1)))


def _joined(
    module: nn.Module, terms: tuple[str, ...], settings: FitSettings, groups: Sequence[GroupFit]
) -> IonFits:
    length = max((group.curves.shape[1] for group in groups), default=0)
    curves = [
        np.pad(
            group.curves.numpy(),
            ((0, 0), (0, length - group.curves.shape[1]), (0, 0)),
            constant_values=np.nan,
        )
        for group in groups
    ]

    def column(name: str) -> NDArray[np.int64]:
        values = [getattr(group, name).numpy() for group in groups]
        return np.concatenate(values) if values else np.zeros(0, np.int64)

    epochs = column("epochs")
    width = sum(value.numel() for value in module.parameters())
    return IonFits(
        module,
        torch.cat([group.parameters for group in groups]) if groups else torch.zeros(0, width),
        terms,
        np.concatenate(curves) if curves else np.zeros((0, 0, len(terms)), np.float32),
        epochs,
        column("best_epoch"),
        column("rises"),
        epochs < settings.epochs,
    )
