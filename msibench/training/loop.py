"""The training loop: any network from coarse to fine, resumable to the byte."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from msibench.contracts.progress import tell_progress
from msibench.errors import ConfigurationError, MSIBenchError
from msibench.training.adam import Adam
from msibench.training.checkpoints import TrainingState, canonical, load_state, save_state
from msibench.training.config import TrainingConfig
from msibench.training.ddp import World
from msibench.training.ema import EMA
from msibench.training.freed_memory import keep_freed_memory
from msibench.training.losses import loss_mix
from msibench.training.networks import inner
from msibench.training.objective import Objective, PixelObjective
from msibench.training.patches import Patches, prefetched
from msibench.training.validation import HeldOut, validate


class DivergedError(MSIBenchError, ArithmeticError):
    """The loss is not a number any more."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Progress:
    """What a progress bar may show."""

    iteration: int
    iterations: int
    loss: float
    """Mean over the steps since the last report."""
    lr: float
    validation: Mapping[str, float]
    """The last values; empty before the first validation."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingResult:
    """The finished network's weights and how it went."""

    weights: dict[str, Tensor]
    """State dict of the plugin's network: the averages where `ema` is on."""
    loss: list[float]
    """One value per step."""
    validation: list[dict[str, float]]
    """``iteration``, ``psnr``, ``ssim``, ``skill`` of every validation."""
    waited: float
    """Share of this run's wall time in which the network waited for data."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrainingStates:
    """Where the states of a training are kept, and whether it goes on from one."""

    folder: Path | None = None
    """None: nothing is written."""
    resume: bool = False
    """Go on from the state in `folder`; a state made under another configuration is refused."""
    request: Mapping[str, Any] = field(default_factory=dict)
    """Further JSON-able values (data digests …) that must be the same when resuming."""


def train(
    network: nn.Module,
    patches: Patches,
    config: TrainingConfig,
    *,
    objective: Objective | None = None,
    validation: Sequence[HeldOut] = (),
    states: TrainingStates | None = None,
    world: World | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> TrainingResult:
    """Train `network` in place and return the result.

    Parameters
    ----------
    network
        Maps ``(image, 1, row, column)`` in [0, 1] to the fine grid, or whatever `objective` asks for.
    patches
        Where batches come from.
    config
        Every choice.
    objective
        Loss of a batch; None: the mix in ``config.loss`` of the image's distance.
    validation
        Ion images that are judged every ``config.validate_every`` steps and at the end.
    states
        Where states are kept, and whether the training goes on from one; None: nothing is written.
    world
        Processes that share every batch.
    progress
        Called about every 20 steps and after each validation, in the leading process only.

    Returns
    -------
    TrainingResult

    Raises
    ------
    ConfigurationError
        If the state there belongs to another request.
    DivergedError
        If the loss becomes NaN or infinite.
    """
    keep_freed_memory()
    world, states = world or World(), states or TrainingStates()
    objective = objective or PixelObjective(loss_mix(config.loss, factor=patches.factor))
    devices = [torch.device(world.device)] if world.device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        run = _Run(network, patches, config, objective, validation, world, states.request)
        if states.resume and states.folder is not None:
            run.restore(states.folder)
        run.go(states.folder, progress)
    return run.result()


class _Run:
    """Everything that changes while training."""

    def __init__(
        self,
        network: nn.Module,
        patches: Patches,
        config: TrainingConfig,
        objective: Objective,
        validation: Sequence[HeldOut],
        world: World,
        request: Mapping[str, Any],
    ) -> None:
        self.patches, self.config, self.objective = patches, config, objective
        self.pairs, self.world = validation, world
        self.network = network.to(world.device).train()
        self.core = inner(network)
        self.names = [name for name, p in self.core.named_parameters() if p.requires_grad]
        parameters = [p for p in self.core.parameters() if p.requires_grad]
        self.optimiser = Adam(
            parameters,
            learning_rate=config.lr,
            betas=config.betas,
            weight_decay=config.weight_decay,
            decoupled=config.optimiser == "adamw",
        )
        self.ema = EMA(self.core, config.ema) if config.ema else None
        self.scaler = torch.amp.GradScaler(
            world.device.partition(":")[0],
            enabled=config.precision == "float16" and world.device.startswith("cuda"),
        )
        self.digest = _digest(config, patches, request)
        self.iteration = 0
        self.losses = torch.zeros(config.iterations, dtype=torch.float64)
        self.validated: list[dict[str, float]] = []
        self.waited = self.seconds = 0.0

    def go(self, folder: Path | None, progress: Callable[[Progress], None] | None) -> None:
        config, world = self.config, self.world
        rate = config.rate()
        shared = world.wrap(self.network)
        draw = partial(self.patches.batch, rank=world.rank, world=world.size)
        pending: list[Tensor] = []
        began = asked = time.perf_counter()
        for batch in prefetched(draw, self.iteration, config.steps):
            self.waited += time.perf_counter() - asked
            lr = rate(batch.iteration)
            pending.append(self._step(shared, batch.low, batch.high, lr))
            self.iteration = done = batch.iteration + 1
            last = done == config.steps
            tell_progress(done, config.steps, "steps")
            judge = last or done % config.validate_every == 0
            keep = folder is not None and (last or done % config.checkpoint_every == 0)
            if judge or keep or done % 20 == 0:
                mean = self._settle(pending)
                pending = []
                if judge and self.pairs:
                    self._validate()
                if keep and folder is not None and world.leads:
                    self.save(folder)
                if progress is not None and world.leads:
                    values = self.validated[-1] if self.validated else {}
                    progress(Progress(done, config.steps, mean, lr, values))
            asked = time.perf_counter()
        world.wait()
        self.seconds = time.perf_counter() - began

    def _step(self, shared: nn.Module, low: Any, high: Any, lr: float) -> Tensor:
        config, device = self.config, self.world.device
        self.optimiser.learning_rate = lr
        # Seeded anew at each step: drop-out and noise are the same after a resume.
        seed = _step_seed(config.seed, self.iteration, self.world.rank)
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        with _autocast(device, config.precision):
            loss = self.objective(
                shared,
                torch.from_numpy(low).to(device),
                torch.from_numpy(high).to(device),
                generator,
            )
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if config.clip:
            self.scaler.unscale_(self.optimiser)  # type: ignore[arg-type]
            nn.utils.clip_grad_norm_(self.core.parameters(), config.clip)
        self.scaler.step(self.optimiser)  # type: ignore[arg-type]
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(self.core, self.iteration)
        return loss.detach()

    def _settle(self, pending: list[Tensor]) -> float:
        """Move the losses of the last steps into the curve, averaged over the processes."""
        values = self.world.mean(torch.stack([loss.double() for loss in pending])).cpu()
        start = self.iteration - len(pending)
        self.losses[start : self.iteration] = values
        if not torch.isfinite(values).all():
            at = start + int((~torch.isfinite(values)).nonzero()[0]) + 1
            raise DivergedError(
                f"the loss is not finite at step {at}: lower the learning rate "
                f"(now {self.config.lr:g}), clip gradients, or choose float32"
            )
        return float(values.mean())

    def _validate(self) -> None:
        lend = self.ema.applied(self.core) if self.ema is not None else nullcontext()
        with lend:
            values = validate(self.network, self.pairs, device=self.world.device)
        self.validated.append({"iteration": self.iteration, **values})

    def save(self, folder: Path) -> None:
        tensors = {f"network.{k}": v for k, v in self.core.state_dict().items()}
        if self.ema is not None:
            tensors |= {f"ema.{k}": v for k, v in self.ema.average.items()}
        for index, moments in self.optimiser.state().items():
            for moment, value in moments.items():
                tensors[f"optimiser.{self.names[index]}/{moment}"] = value
        tensors["curve.loss"] = self.losses[: self.iteration]
        tensors["rng.torch"] = torch.random.get_rng_state()
        progress_so_far = {
            "request": self.digest,
            "validation": self.validated,
            "scaler": self.scaler.state_dict(),
        }
        save_state(folder, TrainingState(self.iteration, tensors, progress_so_far))

    def restore(self, folder: Path) -> None:
        state = load_state(folder)
        if state is None:
            return
        if state.progress["request"] != self.digest:
            theirs, ours = state.progress["request"], self.digest
            differing = sorted(k for k in {*theirs, *ours} if theirs.get(k) != ours.get(k))
            raise ConfigurationError(
                f"{folder} holds a training with other settings ({', '.join(differing)}); resume "
                "with the settings it was started with, or choose another --out"
            )
        self.core.load_state_dict(state.group("network"))
        if self.ema is not None:
            self.ema.load(state.group("ema"))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in state.group("optimiser").items():
            name, _, moment = key.rpartition("/")
            moments.setdefault(self.names.index(name), {})[moment] = value
        self.optimiser.load_state(moments)
        self.scaler.load_state_dict(state.progress["scaler"])
        torch.random.set_rng_state(state.tensors["rng.torch"])
        self.iteration = state.iteration
        self.losses[: state.iteration] = state.tensors["curve.loss"]
        self.validated = list(state.progress["validation"])

    def result(self) -> TrainingResult:
        average = self.ema.average if self.ema is not None else self.core.state_dict()
        if self.ema is not None:
            self.core.load_state_dict(average)
        self.network.eval()
        weights = {key: value.detach().cpu().clone() for key, value in average.items()}
        waited = self.waited / self.seconds if self.seconds > 0 else 0.0
        loss = self.losses[: self.iteration].tolist()
        return TrainingResult(weights, loss, self.validated, waited)


def _autocast(device: str, precision: str) -> Any:
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.partition(":")[0], dtype=getattr(torch, precision))


def _step_seed(*parts: int) -> int:
    text = ":".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "big")


def _digest(config: TrainingConfig, patches: Patches, request: Mapping[str, Any]) -> dict[str, str]:
    """Return name → canonical value of every setting, so that a mismatch can be named."""
    settings: dict[str, Any] = {
        **asdict(config),
        "factor": patches.factor,
        "patch": patches.patch,
        "batch": patches.batch_size,
        "patches seed": patches.seed,
        "margin": patches.margin,
        **request,
    }
    settings.pop("stop_at")
    return {name: canonical(value) for name, value in settings.items()}
