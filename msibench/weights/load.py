"""Read the tensors of a checkpoint without ever running code from it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msibench.contracts.plain_text import visible, without_advice
from msibench.errors import MissingWeightsError
from msibench.stand_ins import stand_in
from msibench.weights.container import (
    UnsafeWeightsError,
    refuse_absurd_tensors,
    refuse_torchscript,
)

if TYPE_CHECKING:
    from torch import Tensor


def read_state_dict(path: Path) -> Mapping[str, Any]:
    """Read a checkpoint's tensors onto the CPU.

    A safetensors file holds nothing but tensors; anything else is read by ``torch.load`` with
    ``weights_only=True``, which knows tensors, containers and numbers and refuses all other objects.
    The content tells which it is, and the suffix where the content does not.

    Returns
    -------
    The mapping in the file, wrapped in top-level keys (``"params"``) where its author did so; see
    `bare_state_dict`.

    Raises
    ------
    MissingWeightsError
        If there is no such file.
    UnsafeWeightsError
        If it is TorchScript or packed, holds objects other than tensors or tensors larger than
        itself, or is not a checkpoint at all: a Git LFS pointer, a web page.
    """
    if not path.is_file():
        raise MissingWeightsError(f"File not found: {path}.")
    if instead := stand_in(path):
        raise UnsafeWeightsError(f"{path.name} {instead}.")
    if _is_safetensors(path):
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(path)
        except (SafetensorError, OSError, ValueError, OverflowError, MemoryError) as error:
            raise UnsafeWeightsError(
                f"{path.name} is not a safetensors file: {visible(str(error))[:300]}"
            ) from error
        refuse_absurd_tensors(tensors, path)
        return tensors
    import torch

    refuse_torchscript(path)
    try:
        with warnings.catch_warnings(), path.open("rb") as file:  # of a path, the name would decide
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle makes the unpickler raise anything
        raise UnsafeWeightsError(
            f"{path.name} holds more than tensors, or is damaged, and is not loaded: "
            f"{_reason(error)}. Ask its author for a safetensors file, or for the bare state dict."
        ) from error
    if not isinstance(loaded, Mapping):
        raise UnsafeWeightsError(
            f"{path.name} must hold a mapping of names to tensors, got {type(loaded).__name__}"
        )
    refuse_absurd_tensors(loaded, path)
    return loaded


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins like safetensors: the length of a JSON header, and its brace."""
    with path.open("rb") as file:
        head = file.read(9)
    length = int.from_bytes(head[:8], "little")
    if len(head) == 9 and head[8:] == b"{" and length < path.stat().st_size:
        return True
    saved_by_torch = head[:2] == b"PK" or head[:1] == b"\x80"  # now and formerly
    return path.suffix.lower() == ".safetensors" and not saved_by_torch


def _reason(error: Exception) -> str:
    """Return what the unpickler met, without its advice to load the file unsafely."""
    text = str(error)
    if found := re.search(r"GLOBAL (\S+)", text):
        return f"it holds {visible(found[1])[:200]}"
    told = text.partition("WeightsUnpickler error:")[2] or text
    lines = [without_advice(line) for line in told.splitlines() if line.strip()]
    return visible(lines[0]).rstrip(".")[:300] if lines else type(error).__name__


_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "model.")
_COMPILED = "_orig_mod."
"""What ``torch.compile`` puts into names, in front or behind the name of a part."""


def blocks_per_group(tensors: Iterable[str]) -> tuple[int, ...]:
    """Return how many blocks each residual group of a network has, by the names of its parameters.

    Names as of BasicSR's transformers: ``layers.<group>.residual_group.blocks.<block>.…``.
    """
    blocks: dict[int, set[int]] = {}
    for name in tensors:
        parts = name.split(".")
        if parts[0] == "layers" and len(parts) > 4 and parts[2:4] == ["residual_group", "blocks"]:
            blocks.setdefault(int(parts[1]), set()).add(int(parts[4]))
    return tuple(len(blocks[group]) for group in sorted(blocks))


def bare_state_dict(loaded: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return name → tensor without the wrapping that training frameworks put around it.

    Wrapping keys are opened (``params_ema`` before ``params``: the averaged weights are the ones
    that papers report), and the prefixes of data-parallel, compiled and wrapped training removed.
    """
    inner = loaded
    for _ in range(2):
        wrapper = next((key for key in _WRAPPERS if isinstance(inner.get(key), Mapping)), None)
        if wrapper is None:
            break
        inner = inner[wrapper]
    bare = {str(name).replace(_COMPILED, ""): tensor for name, tensor in inner.items()}
    while bare:
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in bare)), None)
        if prefix is None:
            break
        bare = {name.removeprefix(prefix): tensor for name, tensor in bare.items()}
    return bare
