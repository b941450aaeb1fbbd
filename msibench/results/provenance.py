"""Where and with what a cell was run."""

from __future__ import annotations

import os
import platform
import re
import socket
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import Distribution

LIBRARIES = ("msibench", "numpy", "scipy", "torch", "h5py", "pandas", "pyarrow")


def environment() -> dict[str, object]:
    """Return the versions, the machine and the processor; nothing of it enters a key."""
    from importlib.metadata import PackageNotFoundError

    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = installed_version(name)
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


def installed_version(name: str) -> str:
    """Return the version of a distribution, as `importlib.metadata.version`, which parses all that is said of it.

    Raises
    ------
    PackageNotFoundError
        If it is not installed, or only half: an installer is at work.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    found = distribution(name)
    said = found.read_text("METADATA") or ""
    stated = re.search(r"^Version: *(.*\S)", said.partition("\n\n")[0], re.MULTILINE)
    number: str | None = stated[1] if stated else found.version
    if not number:
        raise PackageNotFoundError(name)
    return number


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
    from importlib.metadata import distributions

    package = target.partition(":")[0].partition(".")[0]
    found = {(each.name, each.version) for each in distributions() if _provides(each, package)}
    return ", ".join(f"{name} {number}" for name, number in sorted(found))


def _provides(each: Distribution, package: str) -> bool:
    """Whether a distribution installs a package, by what its files say, which are not taken apart.

    As `importlib.metadata.packages_distributions` tells, which takes seconds in a full environment.
    """
    if listed := each.read_text("top_level.txt"):
        return package in listed.split()
    record = each.read_text("RECORD") or ""
    return any(
        record.startswith(start) or f"\n{start}" in record
        for start in (f"{package}/", f"{package}.py,", f'"{package}/', f'"{package}.py"')
    )
