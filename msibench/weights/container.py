"""What a checkpoint's container may be, checked before anything in it is read.

The members of a checkpoint that PyTorch writes are stored as they are. One that is packed can grow a
thousandfold when it is read, so that only stored members are taken: no checkpoint needs more memory
than its file has bytes.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msibench.errors import MSIBenchError

MOST_MEMBERS = 20_000
"""Tensors that one file may hold."""
FREE_BYTES = 64 << 20
VIEWS = 4
"""How many times the bytes of its file the tensors of a checkpoint may take once they are copied."""
DEEPEST = 64


class UnsafeWeightsError(MSIBenchError, ValueError):
    """A checkpoint could run code or fill the memory when it is loaded, so it is not loaded."""


def refuse_torchscript(path: Path) -> None:
    """Raise if `path` is a program, or an archive that PyTorch does not write.

    Looks only at the archive's list of names.

    Raises
    ------
    UnsafeWeightsError
        If it is a TorchScript archive, a tar archive, or a zip archive with packed, doubled or too
        many members.
    """
    if not zipfile.is_zipfile(path):
        if tarfile.is_tarfile(path):
            raise UnsafeWeightsError(
                f"{path.name} is a tar archive, as PyTorch 0.1 wrote; it is not unpacked. Save its state "
                "dict anew with a current PyTorch."
            )
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise UnsafeWeightsError(f"{path.name} is a damaged archive: {error}") from error
    names = [member.filename for member in members]
    inner = {name.partition("/")[2] for name in names} | set(names)
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        raise UnsafeWeightsError(
            f"{path.name} is a TorchScript program; loading it would run its code. Export its state "
            "dict with safetensors.torch.save_file(module.state_dict(), 'weights.safetensors')."
        )
    if len(members) > MOST_MEMBERS:
        raise UnsafeWeightsError(
            f"{path.name} has {len(members)} members, a checkpoint at most {MOST_MEMBERS}"
        )
    if len(set(names)) < len(names):
        raise UnsafeWeightsError(f"{path.name} holds a member twice, which PyTorch never writes")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise UnsafeWeightsError(
                f"{path.name}: {member.filename!r} is packed, {member.compress_size} bytes that become "
                f"{member.file_size}; PyTorch stores tensors as they are. Load it in PyTorch where you "
                "trust it, and save it again."
            )


def refuse_absurd_tensors(loaded: Mapping[str, Any], path: Path) -> None:
    """Raise if tensors claim more than their file holds: a copy of them would fill the memory.

    Raises
    ------
    UnsafeWeightsError
        If a tensor is sparse or has no values, if the tensors together would take more than four times
        the bytes of the file (and 64 MiB), or containers are nested too deep.
    """
    import torch

    most = max(FREE_BYTES, VIEWS * os.stat(path).st_size)  # noqa: PTH116
    total, seen = 0, set()
    waiting: list[tuple[str, Any, int]] = [("", loaded, 0)]
    while waiting:
        name, value, depth = waiting.pop()
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.device.type != "cpu":
                raise UnsafeWeightsError(
                    f"{path.name}: {name} is a {value.layout} tensor on {value.device.type}; expected "
                    "plain tensors. Save it with .to_dense().cpu()."
                )
            total += value.numel() * value.element_size()
            if total > most:
                raise UnsafeWeightsError(
                    f"{path.name}: with {name} of shape {tuple(value.shape)} its tensors would take "
                    f"{total} bytes, the file has {most // VIEWS}; it is malicious, or "
                    "holds expanded views: save it with .contiguous()."
                )
        elif isinstance(value, Mapping | list | tuple | set) and id(value) not in seen:
            seen.add(id(value))
            if depth > DEEPEST:
                raise UnsafeWeightsError(
                    f"{path.name}: containers are nested more than {DEEPEST} deep"
                )
            inner = value.items() if isinstance(value, Mapping) else enumerate(value)
            waiting += [(f"{name}.{key}".lstrip("."), item, depth + 1) for key, item in inner]
