"""Where pretrained files may be on this machine."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from msibench.contracts.method import WeightFile
from msibench.downloads import cache_root
from msibench.errors import ConfigurationError
from msibench.mirror import find_in_mirror, mirror_roots


def cached_path(file: WeightFile) -> Path:
    """Return the path of `file` in the cache, whether it exists or not.

    Raises
    ------
    ConfigurationError
        If the file's name would leave the cache.
    """
    relative = Path(file.name)
    if relative.is_absolute() or ".." in relative.parts or not file.name:
        raise ConfigurationError(
            f"a pretrained file must be named by a relative path inside the cache, got {file.name!r}"
        )
    return cache_root() / "weights" / relative


def torch_hub_checkpoints() -> Path:
    """Return the folder where ``torch.hub`` keeps downloads, found without importing torch."""
    home = os.environ.get("TORCH_HOME")
    if home is None:
        home = os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")  # noqa: PTH118
    return Path(home).expanduser() / "hub" / "checkpoints"


def packaged_path(file: WeightFile) -> Path | None:
    """Return where ``file.path`` leads; None when nothing is there.

    ``"package:relative/path"`` for a file that ships with a plugin, an absolute path for a file that
    the user named when the spec was made.
    """
    named = Path(file.path)
    if named.is_absolute():
        return named if named.is_file() else None
    package, _, relative = file.path.partition(":")
    if not package or not relative or ".." in Path(relative).parts:
        return None
    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return None
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / relative
        if path.is_file():
            return path
    return None


def shared_paths(file: WeightFile) -> Iterator[Path]:
    """Yield the copies of `file` on this machine, best place first: cache, torch's cache, mirror."""
    base = Path(file.name).name
    for path in (cached_path(file), torch_hub_checkpoints() / base):
        if path.is_file():
            yield path
    mirrored = find_in_mirror(file.name)
    if mirrored is not None and mirrored.is_file():
        yield mirrored
    for root in mirror_roots():
        for path in (root / base, *sorted(root.glob(f"*/{_escaped(base)}"))):
            if path.is_file() and path != mirrored:
                yield path


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
