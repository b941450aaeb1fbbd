"""Fit the networks of one group together, each with its own optimiser state and early stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from threading import Lock

import torch
from torch import Tensor

from msibench.contracts.progress import tell_progress
from msibench.training.fit_settings import FitObjective, FitProgress, FitSettings
from msibench.training.stacked import Forward
from msibench.training.threads import ordered_map


class Ledger:
    """Counts the ions that are done, across groups and threads."""

    def __init__(self, ions: int, progress: Callable[[FitProgress], None] | None) -> None:
        self._ions, self._left, self._progress, self._lock = ions, ions, progress, Lock()

    def tell(self, finished: int, epoch: int, epochs_left: int) -> None:
        """Take `finished` ions off the list and report."""
        with self._lock:
            self._left -= finished
            every = epoch + 1 + epochs_left  # of each ion; those that stopped early are through
            through = (self._ions - self._left) * every + self._left * (epoch + 1)
            tell_progress(through, self._ions * every, "epochs of all ions")
            if self._progress is not None:
                self._progress(FitProgress(self._left, self._ions, epochs_left, epoch))


@dataclass(slots=True, eq=False)
class GroupFit:
    """Result of one group: the first axis of every tensor is the ion."""

    parameters: Tensor
    curves: Tensor
    epochs: Tensor
    best_epoch: Tensor
    rises: Tensor


def fit_group(
    forward: Forward,
    flat: Tensor,
    objective: FitObjective,
    ions: Tensor,
    settings: FitSettings,
    threads: int,
    ledger: Ledger,
) -> GroupFit:
    """Fit the ions of one group; a stopped ion leaves the batch, its parameters stay as they are."""
    count, device = flat.shape[0], flat.device
    watch = objective.terms.index(settings.watch) if settings.watch else 0
    best_by = objective.terms.index(settings.best_by) if settings.best_by else watch
    kept = flat.clone()
    lowest = torch.full((count,), torch.inf, device=device)
    previous = lowest.clone()
    rises = torch.zeros(count, dtype=torch.int64, device=device)
    best_epoch, epochs, waited = rises.clone(), rises.clone(), rises.clone()
    least = lowest.clone()  # of the watched term
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
            waited[batch] = torch.where(watched < least[batch], 0, waited[batch] + 1)
            least[batch] = torch.fmin(least[batch], watched)
            newest = better if settings.restore == "best" else alive
            kept[batch] = torch.where(newest[:, None], adam.parameters, kept[batch])
            best_epoch[batch] = torch.where(newest, epoch, best_epoch[batch])
            going = alive & losses[:, 0].isfinite()
            if settings.rises is not None:
                going &= rises[batch] < settings.rises
            if settings.patience is not None:
                going &= waited[batch] < settings.patience
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
    return GroupFit(
        kept.cpu(), torch.stack(curves, 1).cpu(), epochs.cpu(), best_epoch.cpu(), rises.cpu()
    )


def _loss_and_gradient(
    forward: Forward,
    flat: Tensor,
    objective: FitObjective,
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
