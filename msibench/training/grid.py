"""Many trainings of one method: every combination of a table, each in a folder of its own.

.. code-block:: toml

    [base]                        # as the options of ``msibench finetune``
    batch = 8
    [base.training]
    iterations = 2000
    [grid]                        # every combination of these is one training
    "training.lr" = [1e-4, 5e-4]
    "training.loss" = [{ l1 = 1.0 }, { charbonnier = 1.0, ssim = 0.1 }]
    sections = [["lbae-mouse-brain/slice_1"], ["lbae-mouse-brain/slice_1", "lbae-mouse-brain/slice_2"]]
    [[run]]                       # further single trainings, beside the grid
    "training.seed" = 7

A training is a cell: it is named by the digest of its request, a finished one is never run again, an
unfinished one goes on from its last state, and one that fails leaves its reason in ``failed.json``.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msibench.contracts.method import MethodSpec
from msibench.contracts.plain_text import written
from msibench.errors import ConfigurationError, MSIBenchError
from msibench.io.whole_files import write_whole
from msibench.training.checkpoints import canonical
from msibench.training.ddp import World
from msibench.training.finetune import FinetuneOptions, FinetuneRequest, TrainingSection, finetune
from msibench.training.variants import is_training

FAILED = "failed.json"
Read = Callable[[tuple[str, ...]], Sequence[TrainingSection]]


def expand(table: Mapping[str, Any], base: FinetuneRequest) -> dict[str, FinetuneRequest]:
    """Return folder name → request for a parsed ``grid.toml``, in the table's order.

    Raises
    ------
    ConfigurationError
        If there is nothing to run, a key is unknown, or two combinations are the same.
    """
    unknown = set(table) - {"base", "grid", "run"}
    if unknown:
        raise ConfigurationError(
            f"a grid has the tables base, grid and run; there is no {sorted(unknown)[0]!r}"
        )
    common = _merged(base.as_json(), table.get("base", {}))
    axes: Mapping[str, Any] = table.get("grid", {})
    for name, values in axes.items():
        if not isinstance(values, list) or not values:
            raise ConfigurationError(f"[grid] {name!r} must be a list of choices, got {values!r}")
    combinations = [
        dict(zip(axes, choice, strict=True)) for choice in itertools.product(*axes.values())
    ]
    changes = [*(combinations if axes else []), *table.get("run", [])]
    if not changes:
        raise ConfigurationError("the grid is empty: give [grid] with lists, or [[run]] tables")
    requests: dict[str, FinetuneRequest] = {}
    for number, change in enumerate(changes):
        request = FinetuneRequest.from_mapping(_merged(common, change))
        digest = hashlib.sha256(canonical(request.as_json()).encode()).hexdigest()[:8]
        if any(name.endswith(digest) for name in requests):
            raise ConfigurationError(f"the grid lists the same training twice: {change}")
        requests[f"{number:03d}-{digest}"] = request
    return requests


def run_grid(
    grid: Path,
    base: FinetuneRequest,
    spec: MethodSpec,
    read: Read,
    out: Path,
    *,
    weights: Mapping[str, Path] | None = None,
    world: World | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, str]:
    """Run what is not finished and return folder name → ``"ok"`` or the reason of its failure.

    Parameters
    ----------
    grid
        ``grid.toml``.
    base
        What the table's ``[base]`` and combinations change.
    spec
        The method.
    read
        Sections by name.
    out
        One folder for each training, and the curves of all (`msibench.training.figures`).
    weights
        The method's pretrained files.
    world
        Processes that share every batch.
    say
        Told of each training.

    Raises
    ------
    ConfigurationError
        If the table is not valid.
    """
    try:
        table = tomllib.loads(written(grid.read_bytes()))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{grid} cannot be read as TOML: {error}") from error
    requests = expand(table, base)
    world = world or World()
    outcome: dict[str, str] = {}
    for number, (name, request) in enumerate(requests.items(), start=1):
        folder = out / name
        before = "finished before" if is_training(folder) else ""
        say(f"[{number}/{len(requests)}] {name} {before}".rstrip())
        try:
            finetune(
                request,
                spec,
                read(request.sections),
                read(request.validation),
                folder,
                FinetuneOptions(
                    weights={} if request.start == "scratch" else weights or {},
                    resume=True,
                    world=world,
                    command=f"grid {grid.name}, training {name}",
                ),
            )
        except (MSIBenchError, RuntimeError) as error:
            outcome[name] = f"{type(error).__name__}: {error}"
            say(f"  failed: {outcome[name]}")
            if world.leads:
                text = json.dumps({"status": "failed", "reason": outcome[name]}, indent=1)
                folder.mkdir(parents=True, exist_ok=True)
                write_whole({folder / FAILED: text.encode() + b"\n"})
            continue
        outcome[name] = "ok"
        if world.leads:
            (folder / FAILED).unlink(missing_ok=True)
    if world.leads:
        from msibench.training.figures import write_overview

        write_overview([out / name for name, status in outcome.items() if status == "ok"], out)
    return outcome


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `changes` over `base`; ``"training.lr"`` reaches into a table, a mix replaces a mix."""
    merged: dict[str, Any] = copy.deepcopy(dict(base))
    for key, value in changes.items():
        outer, _, rest = key.partition(".")
        if rest:
            merged[outer] = _merged(merged.get(outer, {}), {rest: value})
        elif key in ("training", "config") and isinstance(value, Mapping):
            merged[key] = _merged(merged.get(key, {}), value)
        else:
            merged[key] = value
    return merged
