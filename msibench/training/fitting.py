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

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from threading import Lock, local
from typing import Literal, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap

from msibench.training.threads import one_thread_each, ordered_map

Network = Callable[[Tensor], Tensor]
"""``(batch, channel, row, column)``, shared by all ions -> ``(ion, batch, channel, row, column)``."""


class Objective(Protocol):
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
    """Stop an ion once its watched term has risen this often in all, in a row or not; None: never."""
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
    compiled: bool = True
    """Compile the batched network where the device is a CUDA one."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {self.epochs}")
        if self.group is not None and self.group < 1:
            raise ValueError(f"group must be at least 1, or None, got {self.group}")
        if self.rises is not None and self.rises < 1:
            raise ValueError(f"rises must be at least 1, or None for no stop, got {self.rises}")


@dataclass(frozen=True, slots=True)
class FitProgress:
    """How far a run is."""

    ions_left: int
    """Ions that are still being fitted or wait for their turn."""
    ions: int
    epochs_left: int
    """Epochs that the current group still has, at most."""
    epoch: int


@dataclass(frozen=True, slots=True, eq=False)
class IonFits:
    """One fitted network per ion."""

    module: nn.Module
    """The architecture; its own parameters mean nothing."""
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
        forward = _forward_of(self.module)
        return lambda image: forward(chosen.to(image.device), image)


def ion_seed(seed: int, identity: int) -> int:
    """Return the seed of one ion: the same whether it is fitted alone or among others."""
    return int(np.random.SeedSequence((seed, identity)).generate_state(1)[0])


def fit_ions(
    build: Callable[[], nn.Module],
    objective: Objective,
    ions: Sequence[int],
    settings: FitSettings,
    *,
    seed: int,
    identities: Sequence[int] | None = None,
    device: str | torch.device = "cpu",
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
        Which ions to fit, as the objective numbers them: any order, none twice.
    settings
        Optimiser, early stop, memory.
    seed
        Seed of the run; each ion's own is `ion_seed` of it and of the ion's identity.
    identities
        What tells ions apart wherever they stand in a stack, one per entry of `ions` (see
        `msibench.training.ions.ion_identities`); None: their indices.
    device
        Where to fit.
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
    where = torch.device(device)
    with one_thread_each() as threads:
        module, start = _initial_parameters(build, identities or ions, seed)
        size = _group_size(module, example, settings, where)
        groups = [range(first, min(first + size, len(ions))) for first in range(0, len(ions), size)]
        ledger = _Ledger(len(ions), progress)
        on_cpu = where.type == "cpu"
        outer = min(threads, len(groups)) if on_cpu else 1
        inner = threads if on_cpu and outer == 1 else 1

        forward = _forward_of(module, compiled=settings.compiled and not on_cpu)

        def run(group: range) -> _GroupFit:
            indices = torch.tensor([ions[position] for position in group], device=where)
            return _fit_group(
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


def _initial_parameters(
    build: Callable[[], nn.Module], identities: Sequence[int], seed: int
) -> tuple[nn.Module, Tensor]:
    """Return one module as the architecture, and every ion's first parameters, flattened."""
    module: nn.Module | None = None
    rows: list[Tensor] = []
    with torch.random.fork_rng(devices=[]):
        for identity in identities or (0,):
            torch.manual_seed(ion_seed(seed, identity))
            built = build()
            module = module or built
            rows.append(nn.utils.parameters_to_vector(built.parameters()).detach().float())
    assert module is not None
    return module, torch.stack(rows)[: len(identities)]


def _views(module: nn.Module, flat: Tensor) -> dict[str, Tensor]:
    """Return the named parameters as views of ``(ion, parameter)``, each ``(ion, *its shape)``."""
    named = dict(module.named_parameters())
    pieces = torch.split(flat, [value.numel() for value in named.values()], dim=1)
    return {
        name: piece.reshape(flat.shape[0], *value.shape)
        for (name, value), piece in zip(named.items(), pieces, strict=True)
    }


Forward = Callable[[Tensor, Tensor], Tensor]
"""``(ion, parameter)`` and a shared input -> ``(ion, batch, channel, row, column)``."""


def _forward_of(module: nn.Module, *, compiled: bool = False) -> Forward:
    """Return the architecture as one function of all ions' flat parameters and a shared input."""
    threads = local()

    def architecture() -> nn.Module:
        """Return this thread's copy: a module holds the parameters while it is called with them."""
        if not hasattr(threads, "module"):
            threads.module = copy.deepcopy(module)
        return cast("nn.Module", threads.module)

    def one(parameters: Mapping[str, Tensor], image: Tensor) -> Tensor:
        # The compiled function is called from one thread, and a compiler follows no thread-local.
        result: Tensor = functional_call(
            module if compiled else architecture(), dict(parameters), (image,)
        )
        return result

    batched = vmap(one, in_dims=(0, None))

    def forward(flat: Tensor, image: Tensor) -> Tensor:
        views = _views(module, flat)
        if flat.shape[0] == 1:  # one network needs no batching rule
            return one({name: value[0] for name, value in views.items()}, image)[None]
        return batched(views, image)

    return torch.compile(forward, dynamic=False) if compiled else forward


def activation_bytes(module: nn.Module, example: Tensor) -> int:
    """Return roughly what fitting one network on `example` keeps in memory, in bytes.

    Every operation's output is held for the backward pass, and its gradient once beside it.
    """
    held = 0

    def count(_: nn.Module, __: object, output: object) -> None:
        nonlocal held
        if isinstance(output, Tensor):
            held += output.numel() * output.element_size()

    shape_only = copy.deepcopy(module).to("meta")
    for child in shape_only.modules():
        if not any(child.children()):
            child.register_forward_hook(count)
    with torch.no_grad():
        shape_only(example.to("meta"))
    return 3 * held


def _group_size(
    module: nn.Module, example: Tensor | None, settings: FitSettings, device: torch.device
) -> int:
    if settings.group is not None:
        return settings.group
    if example is None or device.type == "cpu":
        return 1
    return max(1, int(settings.group_bytes // max(activation_bytes(module, example), 1)))


class _Ledger:
    """Counts the ions that are done, across groups and threads."""

    def __init__(self, ions: int, progress: Callable[[FitProgress], None] | None) -> None:
        self._ions, self._left, self._progress, self._lock = ions, ions, progress, Lock()

    def tell(self, finished: int, epoch: int, epochs_left: int) -> None:
        """Take `finished` ions off the list and report."""
        with self._lock:
            self._left -= finished
            if self._progress is not None:
                self._progress(FitProgress(self._left, self._ions, epochs_left, epoch))


@dataclass(slots=True, eq=False)
class _GroupFit:
    parameters: Tensor
    curves: Tensor
    epochs: Tensor
    best_epoch: Tensor
    rises: Tensor


def _fit_group(
    forward: Forward,
    flat: Tensor,
    objective: Objective,
    ions: Tensor,
    settings: FitSettings,
    threads: int,
    ledger: _Ledger,
) -> _GroupFit:
    """Fit the ions of one group; a stopped ion leaves the batch, its parameters stay as they are."""
    count, device = flat.shape[0], flat.device
    watch = objective.terms.index(settings.watch) if settings.watch else 0
    best_by = objective.terms.index(settings.best_by) if settings.best_by else watch
    kept = flat.clone()
    lowest = torch.full((count,), torch.inf, device=device)
    previous = lowest.clone()
    rises = torch.zeros(count, dtype=torch.int64, device=device)
    best_epoch, epochs = rises.clone(), rises.clone()
    curves: list[Tensor] = []
    batch = torch.arange(count, device=device)  # places in the group that the batch holds
    alive = torch.ones(count, dtype=torch.bool, device=device)  # those in it that still move
    adam = _Adam(flat, settings)
    with ordered_map(min(threads, objective.parts)) as spread:
        for epoch in range(settings.epochs):
            losses, gradient = _loss_and_gradient(
                forward, adam.parameters, objective, ions[batch], settings, spread
            )
            row = torch.full((count, len(objective.terms)), torch.nan, device=device)
            row[batch] = torch.where(alive[:, None], losses, torch.nan)
            curves.append(row)
            epochs[batch] += alive
            watched, judged = losses[:, watch], losses[:, best_by].nan_to_num(torch.inf)
            better = alive & (judged < lowest[batch])
            lowest[batch] = torch.where(better, judged, lowest[batch])
            rises[batch] += alive & (watched > previous[batch])
            previous[batch] = watched
            newest = better if settings.restore == "best" else alive
            kept[batch] = torch.where(newest[:, None], adam.parameters, kept[batch])
            best_epoch[batch] = torch.where(newest, epoch, best_epoch[batch])
            going = alive & losses[:, 0].isfinite()
            if settings.rises is not None:
                going &= rises[batch] < settings.rises
            adam.step(gradient)
            before, left = int(alive.sum()), int(going.sum())
            alive = going
            # A compiled batch is worth keeping as it is until half of it has stopped.
            if left < len(batch) and (device.type == "cpu" or 2 * left <= len(batch)):
                adam.keep(alive)
                batch, alive = batch[alive], alive[alive]
            finished = before if epoch + 1 == settings.epochs else before - left
            ledger.tell(finished, epoch, settings.epochs - epoch - 1)
            if not left:
                break
    return _GroupFit(
        kept.cpu(), torch.stack(curves, 1).cpu(), epochs.cpu(), best_epoch.cpu(), rises.cpu()
    )


def _loss_and_gradient(
    forward: Forward,
    flat: Tensor,
    objective: Objective,
    ions: Tensor,
    settings: FitSettings,
    spread: Callable[
        [Callable[[int], tuple[Tensor, Tensor]], Sequence[int]], list[tuple[Tensor, Tensor]]
    ],
) -> tuple[Tensor, Tensor]:
    """Return ``(ion, term)`` losses and the gradient of the first term, summed over the parts."""
    half = settings.precision != "float32"

    def part_of(part: int) -> tuple[Tensor, Tensor]:
        leaf = flat.detach().requires_grad_()
        autocast = (
            torch.autocast(flat.device.type, dtype=getattr(torch, settings.precision))
            if half
            else nullcontext()
        )
        with autocast:
            losses = objective(lambda image: forward(leaf, image), ions, part)
        # Ions share no parameter, so the gradient of the sum is every ion's own.
        (gradient,) = torch.autograd.grad(losses[:, 0].sum(), leaf)
        return losses.detach(), gradient

    pieces = spread(part_of, range(objective.parts))
    losses, gradient = pieces[0]
    for more_losses, more_gradient in pieces[1:]:
        losses, gradient = losses + more_losses, gradient + more_gradient
    return losses, gradient


class _Adam:
    """Adam on ``(ion, parameter)``, from which ions can be taken out between steps."""

    def __init__(self, flat: Tensor, settings: FitSettings) -> None:
        self.parameters = flat.clone()
        self._first, self._second = torch.zeros_like(flat), torch.zeros_like(flat)
        self._settings, self._steps = settings, 0

    def step(self, gradient: Tensor) -> None:
        """Move every ion's parameters once; Kingma & Ba (2015), algorithm 1."""
        beta1, beta2 = self._settings.betas
        self._steps += 1
        self._first.lerp_(gradient, 1 - beta1)
        self._second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        rate = self._settings.learning_rate / (1 - beta1**self._steps)
        spread = (self._second.sqrt() / (1 - beta2**self._steps) ** 0.5).add_(
            self._settings.epsilon
        )
        self.parameters = self.parameters.addcdiv(self._first, spread, value=-rate)

    def keep(self, going: Tensor) -> None:
        """Drop the ions that have stopped."""
        self.parameters = self.parameters[going]
        self._first, self._second = self._first[going], self._second[going]


def _joined(
    module: nn.Module, terms: tuple[str, ...], settings: FitSettings, groups: Sequence[_GroupFit]
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
