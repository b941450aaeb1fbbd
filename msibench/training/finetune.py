"""One training of one method, from the request to the finished weights and their record.

Sections come in as arrays with names and digests; reading them is up to the caller.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch

from msibench.contracts.method import MethodSpec
from msibench.degradation import protocol
from msibench.errors import ConfigurationError
from msibench.image import MSImage
from msibench.training.augmentation import IonImageLook
from msibench.training.checkpoints import (
    RECORD,
    STATE,
    load_record,
    save_result,
    versions,
)
from msibench.training.config import TrainingConfig
from msibench.training.ddp import World
from msibench.training.degradation import degrade_by
from msibench.training.fingerprint import fingerprint
from msibench.training.loop import Progress, TrainingResult, TrainingStates, train
from msibench.training.networks import (
    SkipConnection,
    around,
    network_for,
    objective_for,
    require_factor,
)
from msibench.training.objective import Objective
from msibench.training.patches import Patches
from msibench.training.validation import HeldOut, held_out
from msibench.weights import sha256_of

RECORD_SCHEMA = 1


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrainingSection:
    """One section to learn from or to validate on."""

    name: str
    """``"lbae-mouse-brain/slice_1"``: data set and section."""
    image: MSImage
    """Fine grid, on [0, 1] (`msibench.training.patches.to_unit_scale`)."""
    digest: str = ""
    """Digest of the files that it was read from, where there are any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneRequest:
    """Everything that decides one training; JSON-able, and the unit of a grid."""

    method: str
    sections: tuple[str, ...]
    """``"data-set/section"`` to learn from."""
    validation: tuple[str, ...] = ()
    """Sections that are judged on the way and never learned from."""
    factor: int = 4
    start: Literal["weights", "scratch"] = "weights"
    config: Mapping[str, object] = field(default_factory=dict)
    """The method's own options where they differ from its defaults."""
    protocols: Mapping[str, float] = field(default_factory=dict)
    """Protocol → share of the patches; empty: ``area-x<factor>@1``."""
    augment: bool = True
    """Change contrast, threshold and counts of training images (`IonImageLook`)."""
    patch: int = 24
    """Edge of a patch in coarse pixels."""
    margin: int = 2
    """Coarse pixels degraded around each patch and cut off."""
    batch: int = 8
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if not self.sections:
            raise ConfigurationError(
                "a training needs at least one section; name it with --sections"
            )
        both = set(self.sections) & set(self.validation)
        if both:
            raise ConfigurationError(
                f"{', '.join(sorted(both))} is in both the training and the validation sections; leave it out of one"
            )
        if self.start not in ("weights", "scratch"):
            raise ConfigurationError(f"start must be weights or scratch, got {self.start!r}")

    @property
    def shares(self) -> dict[str, float]:
        """Protocols with the default filled in."""
        return dict(self.protocols) or {f"area-x{self.factor}@1": 1.0}

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "protocols": self.shares}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> FinetuneRequest:
        """Read what `as_json` wrote, or a table of a grid; unknown keys are errors."""
        outer = dict(values)
        inner = dict(outer.pop("training", {}))
        for table, kind in ((outer, cls), (inner, TrainingConfig)):
            known = {f.name for f in dataclasses.fields(kind)}
            unknown = sorted(set(table) - known)
            if unknown:
                raise ConfigurationError(
                    f"no option named {unknown[0]!r}; known: {', '.join(sorted(known))}"
                )
        made: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in inner.items()}
        rest: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in outer.items()}
        return cls(**rest, training=TrainingConfig(**made))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FinetuneOptions:
    """How a training is carried out."""

    weights: Mapping[str, Path] = field(default_factory=dict)
    """The method's pretrained files; not needed when starting from scratch."""
    resume: bool = False
    """Go on from the state in the folder; a finished training is returned as it is."""
    world: World = field(default_factory=World)
    """Processes that share every batch; only the leading one writes."""
    progress: Callable[[Progress], None] | None = None
    """As of `msibench.training.loop.train`."""
    command: str = ""
    """What the user typed, for the record."""


def finetune(
    request: FinetuneRequest,
    spec: MethodSpec,
    sections: Sequence[TrainingSection],
    validation: Sequence[TrainingSection],
    folder: Path,
    options: FinetuneOptions | None = None,
) -> dict[str, Any]:
    """Train and write ``weights.safetensors`` and ``record.json`` into `folder`.

    Parameters
    ----------
    request
        What to do.
    spec
        The method that is trained.
    sections, validation
        The sections that the request names, in its order.
    folder
        Also holds the resumable state while training.
    options
        How it is carried out.

    Returns
    -------
    The record.

    Raises
    ------
    ConfigurationError
        If `folder` holds a finished training already, or one of another request.
    """
    options = options or FinetuneOptions()
    finished = _finished(folder, request, resume=options.resume)
    if finished is not None:
        return finished
    start = (options.weights or None) if request.start == "weights" else None
    core, network, objective = _networks(request, spec, start, options.weights)
    data = [_describe(section) for section in sections]
    base = {name: sha256_of(path) for name, path in sorted(options.weights.items())}
    states = TrainingStates(
        folder=folder,
        resume=options.resume,
        request={
            "request": _without_end(request),
            "data": [d["sha256"] for d in data],
            "base": base,
        },
    )
    result = train(
        network,
        _patches(request, sections),
        request.training,
        objective=objective,
        validation=() if objective else _pairs(request, validation),
        states=states,
        world=options.world,
        progress=options.progress,
    )
    record = {
        "schema_version": RECORD_SCHEMA,
        "method": spec.name,
        "factor": request.factor,
        "config": _plain({**spec.config, **request.config}),
        "request": _plain(request.as_json()),
        "data": data,
        "validated_on": [_describe(section) for section in validation],
        "base": {
            "weights": base if start else {},
            "training_data": list(spec.training_data),
        },
        "curve": curve_of(result, request.training),
        "validation": result.validation,
        "versions": versions(),
        "command": options.command,
        "parameters": sum(p.numel() for p in core.parameters()),
    }
    if options.world.leads:
        record = save_result(folder, result.weights, record)
        with suppress(FileNotFoundError):
            (folder / STATE).unlink()
    options.world.wait()
    return record


def _networks(
    request: FinetuneRequest,
    spec: MethodSpec,
    start: Mapping[str, Path] | None,
    weights: Mapping[str, Path],
) -> tuple[torch.nn.Module, torch.nn.Module, Objective | None]:
    """Return a method's own network, what is trained of it, and its own loss where it has one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.training.seed)
        core = network_for(spec, factor=request.factor, weights=start, config=request.config)
    objective = objective_for(
        spec, factor=request.factor, weights=weights or None, config=request.config
    )
    config = {**spec.config, **request.config}
    skip = cast(SkipConnection, config.get("skip", "none"))
    back_project = bool(config.get("back_project", False))
    network = (
        core
        if objective
        else around(core, factor=request.factor, skip=skip, back_project=back_project)
    )
    if objective is None:
        require_factor(request.method, core, request.factor, request.patch)
    return core, network, objective


def _finished(folder: Path, request: FinetuneRequest, *, resume: bool) -> dict[str, Any] | None:
    """Return the record of a training that is done; None where it is not done.

    Raises
    ------
    ConfigurationError
        If the folder holds another training, or this one and `resume` is off.
    """
    if (folder / RECORD).is_file():
        if not resume:
            raise ConfigurationError(
                f"{folder} already holds a finished training; choose another --out, or delete it"
            )
        record = load_record(folder)
        if record["request"] != _plain(request.as_json()):
            raise ConfigurationError(
                f"{folder} holds the finished training of another request; choose another --out"
            )
        return record
    if (folder / STATE).is_file() and not resume:
        raise ConfigurationError(
            f"{folder} holds an unfinished training; add --resume to finish it, or delete it"
        )
    return None


def _patches(request: FinetuneRequest, sections: Sequence[TrainingSection]) -> Patches:
    """Return the stream of pairs that the network learns from."""
    return Patches(
        [section.image for section in sections],
        factor=request.factor,
        patch=request.patch,
        batch=request.batch,
        seed=request.training.seed,
        degrade=degrade_by(request.shares, factor=request.factor),
        augment=IonImageLook() if request.augment else None,
        margin=request.margin,
    )


def _pairs(request: FinetuneRequest, validation: Sequence[TrainingSection]) -> list[HeldOut]:
    """Return the pairs that it is judged on, degraded by the first protocol of the request."""
    first = next(iter(request.shares))
    return held_out(
        [(section.name, section.image) for section in validation],
        factor=request.factor,
        degrade=degrade_by({first: 1.0}, factor=request.factor),
        unseen=lambda fine: protocol(first).split(fine)[1],
        seed=request.training.seed,
    )


def curve_of(result: TrainingResult, config: TrainingConfig, points: int = 200) -> dict[str, Any]:
    """Return the loss curve as means over at most `points` equal spans of steps."""
    loss = np.array(result.loss)
    ends = np.unique(np.linspace(0, len(loss), min(points, len(loss)) + 1).round().astype(int))
    rate = config.rate()
    return {
        "iteration": [int(end) for end in ends[1:]],
        "loss": [float(loss[a:b].mean()) for a, b in pairwise(ends)],
        "lr": [rate(int(end) - 1) for end in ends[1:]],
    }


def _without_end(request: FinetuneRequest) -> dict[str, Any]:
    """Return the request without the step at which it stops: what may change when resuming."""
    plain = request.as_json()
    return {**plain, "training": {**plain["training"], "stop_at": 0}}


def _describe(section: TrainingSection) -> dict[str, Any]:
    return {"section": section.name, "files": section.digest, **fingerprint(section.image)}


def _plain(value: Any) -> Any:
    """Return what JSON would give back: tuples as lists, keys as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | frozenset | set):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
