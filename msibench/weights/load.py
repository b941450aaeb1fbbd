"""Read the tensors of a checkpoint without ever running code from it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msibench.errors import MissingWeightsError
from msibench.weights.container import (
    UnsafeWeightsError,
    refuse_absurd_tensors,
    refuse_torchscript,
)

if TYPE_CHECKING:
    from torch import Tensor


def read_state_dict(path: Path) -> Mapping[str, Any]:
    """Read a checkpoint's tensors onto the CPU.

    ``.safetensors`` holds nothing but tensors; anything else is read by ``torch.load`` with
    ``weights_only=True``, which knows tensors, containers and numbers and refuses all other objects.

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
        itself, or is no checkpoint at all.
    """
    if not path.is_file():
        raise MissingWeightsError(f"There is no file {path}.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(path)
        except (SafetensorError, OSError, ValueError, OverflowError, MemoryError) as error:
            raise UnsafeWeightsError(f"{path.name} is no safetensors file: {error}") from error
        refuse_absurd_tensors(tensors, path)
        return tensors
    import torch

    refuse_torchscript(path)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle makes the unpickler raise anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnsafeWeightsError(
            f"{path.name} holds more than tensors, or is damaged, and is not loaded: {reason} "
            "Ask its author for a safetensors file, or for the bare state dict."
        ) from error
    if not isinstance(loaded, Mapping):
        raise UnsafeWeightsError(
            f"{path.name} must hold a mapping of names to tensors, got {type(loaded).__name__}"
        )
    refuse_absurd_tensors(loaded, path)
    return loaded


_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")


def bare_state_dict(loaded: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return name → tensor without the wrapping that training frameworks put around it.

    Wrapping keys are opened (``params_ema`` before ``params``: the averaged weights are the ones
    that papers report), and the prefixes of data-parallel and compiled training removed.
    """
    inner = loaded
    for _ in range(2):
        wrapper = next((key for key in _WRAPPERS if isinstance(inner.get(key), Mapping)), None)
        if wrapper is None:
            break
        inner = inner[wrapper]
    bare = {str(name): tensor for name, tensor in inner.items()}
    while bare:
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in bare)), None)
        if prefix is None:
            break
        bare = {name.removeprefix(prefix): tensor for name, tensor in bare.items()}
    return bare
