"""Where and with what a cell was run."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

LIBRARIES = ("msibench", "numpy", "scipy", "torch", "h5py", "pandas", "pyarrow")


def environment() -> dict[str, object]:
    """Return the versions, the machine and the processor; nothing of it enters a key."""
    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "libraries": found,
        "system": f"{platform.system()} {platform.machine()}",
        "host": socket.gethostname(),
        "processor": processor_name(),
        "cores": os.cpu_count() or 1,
    }


def processor_name() -> str:
    """Return the processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


@lru_cache(maxsize=256)
def plugin_version(target: str) -> str:
    """Return ``"distribution version"`` of the package that provides a target."""
    package = target.partition(":")[0].partition(".")[0]
    names = _distributions().get(package, [])
    return ", ".join(f"{name} {distribution(name).version}" for name in sorted(set(names)))


@lru_cache(maxsize=1)
def _distributions() -> Mapping[str, list[str]]:
    """Return which distributions provide which package; half a second to find out, once a process."""
    from importlib.metadata import packages_distributions

    return packages_distributions()
