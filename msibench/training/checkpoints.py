"""Safetensors in, safetensors out: resumable training states, finished weights and their record.

A state holds everything that decides the next step: weights, averages, optimiser moments, the loss of
every step so far and the random-number states. Files are written beside and renamed into place, so a
kill at any moment leaves the old state or the new one.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from msibench.errors import DataError, IntegrityError
from msibench.io.whole_files import sweep_parts, write_whole

STATE = "state.safetensors"
WEIGHTS = "weights.safetensors"
RECORD = "record.json"


@dataclass
class TrainingState:
    """One moment between two optimiser steps."""

    iteration: int
    """Steps done."""
    tensors: dict[str, Tensor]
    """``network.*``, ``ema.*``, ``optimiser.<parameter>.<moment>``, ``curve.loss``, ``rng.torch``."""
    progress: dict[str, Any] = field(default_factory=dict)
    """JSON-able: validation so far, gradient scaler, digest of the request."""

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors below `prefix`, without it."""
        start = prefix + "."
        return {k[len(start) :]: v for k, v in self.tensors.items() if k.startswith(start)}


def save_state(folder: Path, state: TrainingState) -> None:
    """Replace the state in `folder`."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.tensors.items()}
    # One entry: safetensors writes several in no order of its own.
    header = {"state": canonical({"iteration": state.iteration, "facts": state.progress})}
    folder.mkdir(parents=True, exist_ok=True)
    write_whole({folder / STATE: save(_unshared(tensors), metadata=header)})


def load_state(folder: Path) -> TrainingState | None:
    """Return the state in `folder`, or None when there is none yet; unfinished files of a killed training are removed.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    sweep_parts(folder)
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as opened:
            header = json.loads((opened.metadata() or {})["state"])
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        return TrainingState(header["iteration"], tensors, header["facts"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} is not a training state ({error}); delete it to start from the beginning"
        ) from error


def save_result(
    folder: Path, weights: Mapping[str, Tensor], record: Mapping[str, Any]
) -> dict[str, Any]:
    """Write ``weights.safetensors`` and ``record.json``; return the record with the file's digest.

    Nothing in either file depends on the host's speed, so the same training gives the same bytes.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    content: bytes = save(_unshared(tensors), metadata={"format": "pt"})
    folder.mkdir(parents=True, exist_ok=True)
    write_whole({folder / WEIGHTS: content})
    complete = {
        **record,
        "weights": {
            "file": WEIGHTS,
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
        },
    }
    text = json.dumps(complete, indent=1, sort_keys=True, allow_nan=False)
    write_whole({folder / RECORD: text.encode() + b"\n"})
    return complete


def load_record(folder: Path) -> dict[str, Any]:
    """Read ``record.json`` and check the weights beside it against their digest.

    Raises
    ------
    DataError
        If there is no finished training in `folder`.
    IntegrityError
        If the weights are not the ones that the record describes.
    """
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text())
        stated, name = record["weights"]["sha256"], record["weights"]["file"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder} holds no finished training: expected {RECORD} beside {WEIGHTS} ({error}); "
            "run `msibench finetune … --resume` to finish it"
        ) from error
    path = folder / Path(name).name
    if not path.is_file():
        raise DataError(f"{folder / RECORD} names {name}, which is not beside it")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != stated:
        raise IntegrityError(
            f"{path} is not the file of its record: expected sha256 {stated}, got {found}; "
            "restore it or train again"
        )
    return record


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def versions() -> dict[str, str]:
    """Return what the bytes of a training depend on."""
    from msibench import __version__

    return {
        "msibench": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "safetensors": str(safetensors.__version__),
    }


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory: safetensors stores each on its own."""
    seen: set[int] = set()
    unshared: dict[str, Tensor] = {}
    for key, value in tensors.items():
        pointer = value.untyped_storage().data_ptr()
        unshared[key] = value.clone() if pointer in seen and value.numel() else value
        seen.add(pointer)
    return unshared
