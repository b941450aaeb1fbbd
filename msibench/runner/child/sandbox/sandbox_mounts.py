"""What a method may see of this machine: a short list of places, everything else is not there.

The list is made of what a Python process needs to run (the system's libraries, the Python
environment, the code of plugins), the pretrained files of the cell, and the cell's own folder, which
alone can be written. Data, results, other cells, the user's home and sockets of services are on no
list and therefore not there; where a listed place holds one of them (a results folder inside a
checkout), it is covered: the listed places are searched for them, see `found_below`.
"""

from __future__ import annotations

import json
import os
import site
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

SYSTEM = (
    "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/sys", "/nix/store", "/gnu/store",
    "/opt/rocm", "/opt/nvidia",
)  # fmt: skip
"""Programs, libraries and the description of the hardware."""
ETC = (
    "OpenCL", "alternatives", "fonts", "group", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "localtime", "magic", "mime.types", "nsswitch.conf", "nvidia", "passwd", "pki", "ssl/certs",
    "ssl/openssl.cnf", "timezone", "vulkan",
)  # fmt: skip
"""What libraries look up in ``/etc``; keys and passwords are not among it."""
PLAIN_DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
GPU_DEVICES = ("nvidia*", "dri", "kfd", "dxg")
TMP_BYTES = 1 << 30
"""Size of the sandbox's own ``/tmp``, and of its ``/dev/shm``, which are memory; large files belong into
``$TMPDIR``."""
TRUTHS = frozenset({"section.h5", "prediction.h5", "training.h5", "calibration.h5"})
"""Names of files that only a results folder holds."""
DATA_SUFFIXES = (".imzml", ".ibd")
HISTORIES = frozenset({".git", ".hg", ".svn"})
"""Folders that hold every file of a checkout once more, generators of synthetic sections among them."""
SOURCES = ("/usr/src", "/usr/local/src")
"""Where containers keep what they were built for, results and data included; no program needs them."""

MountKind = Literal["read", "write", "cover", "hide", "link", "device"]


@dataclass(frozen=True, slots=True)
class Mount:
    """One place inside the sandbox."""

    kind: MountKind
    """``read``, ``write``: a place of this machine; ``cover``: an empty folder; ``hide``: an empty
    file; ``link``: a symbolic link; ``device``: a device or a folder of devices."""
    target: str
    source: str = ""
    """Of ``read``, ``write`` and ``device`` the real path; of ``link`` where it points."""


def mounts(folder: Path, readable: Iterable[str], hidden: Iterable[str]) -> list[Mount]:
    """Return what one cell sees, parents before children.

    Parameters
    ----------
    folder
        The cell's folder: the one place that can be written.
    readable
        Files and folders of this cell: pretrained files, the file of a method.
    hidden
        Files and folders that must not be seen even where a listed place holds them; something
        readable inside of them stays readable.
    """
    listed = tuple(path for path in _listed(readable) if _is_there(path))
    secret = tuple((path, os.path.isdir(path)) for path in (*hidden, *SOURCES))  # noqa: PTH112
    own = os.path.realpath(folder)
    shared = (mount for mount in _shared(listed, secret) if not _is_gone(mount))
    every = [*shared, Mount("write", own, own)]
    return sorted(every, key=lambda mount: (mount.target.count("/"), mount.target))


def _is_gone(mount: Mount) -> bool:
    """Whether there is nothing to cover or hide any more, as where a results folder was removed meanwhile."""
    return mount.kind in {"cover", "hide"} and not os.path.lexists(mount.target)


@lru_cache(maxsize=16)
def _shared(listed: tuple[str, ...], hidden: tuple[tuple[str, bool], ...]) -> tuple[Mount, ...]:
    """Return what all cells see of which the same is listed and hidden, worked out once for them.

    Parameters
    ----------
    listed
        Places that are there.
    hidden
        Places, and whether each is a folder.
    """
    found: dict[str, Mount] = {}
    for path in listed:
        for mount in _trace(path):
            found.setdefault(mount.target, mount)
    kept = _without_repeats(found)
    inner = [mount for mount in kept if mount.kind == "read"]
    secret = [os.path.realpath(path) for path, _ in hidden]
    own_places = {mount.target for path in _system() for mount in _trace(path)}
    for mount in found.values():  # also one inside of a system's folder, such as /usr/local/lab
        if mount.kind == "read" and mount.target not in own_places:
            secret += found_below(mount.target)
    secret = _outermost(secret)
    for path in secret:
        if any(_within(path, mount.target) for mount in inner):
            kind: MountKind = "cover" if os.path.isdir(path) else "hide"  # noqa: PTH112
            kept = [mount for mount in kept if mount.target != path] + [Mount(kind, path)]
    for place in _listed_inside(found, secret):
        if not any(mount.target == place.target for mount in kept):
            kept.append(place)
    return tuple(kept)


@lru_cache(maxsize=64)
def found_below(place: str) -> tuple[str, ...]:
    """Return what a method must not see in a place that it may read.

    That is every results folder (``store.json``), every file that is only found in one, every
    mass-spectrometry file, and the history of a checkout. What a package manager fills (the standard library, ``site-packages``) is not
    searched. Looked up once a process: the results folder of the run itself is named to `mounts`.
    """
    passed_over = {
        os.path.realpath(path)
        for path in (
            *site.getsitepackages(),
            site.getusersitepackages(),
            os.path.dirname(os.__file__),  # noqa: PTH120
        )
    }
    found = []
    waiting = [] if place in passed_over else [place]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        names = {entry.name for entry in entries}
        if "store.json" in names and names & {"cells", "problems", "tracks", "work"}:
            found.append(folder)
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name in HISTORIES:
                    found.append(entry.path)
                elif entry.name != "__pycache__" and entry.path not in passed_over:
                    waiting.append(entry.path)
            elif entry.name in TRUTHS or entry.name.lower().endswith(DATA_SUFFIXES):
                found.append(entry.path)
    return tuple(sorted(found))


def _outermost(paths: Iterable[str]) -> list[str]:
    """Leave out what lies inside another of the paths."""
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda path: path.count("/")):
        if not any(_within(path, other) for other in kept):
            kept.append(path)
    return kept


def gpu_devices() -> list[Mount]:
    """Return the devices of graphics cards that this machine has."""
    found = [path for pattern in GPU_DEVICES for path in sorted(Path("/dev").glob(pattern))]
    return [Mount("device", str(path), str(path)) for path in found]


def _system() -> Iterator[str]:
    yield from SYSTEM
    yield from (f"/etc/{name}" for name in ETC)


def _listed(readable: Iterable[str]) -> Iterator[str]:
    yield from _system()
    yield from python_places(tuple(sys.path), os.getcwd())  # noqa: PTH109
    yield from os.environ.get("LD_LIBRARY_PATH", "").split(":")
    yield from readable


@lru_cache(maxsize=8)
def python_places(import_path: tuple[str, ...], working_folder: str) -> tuple[str, ...]:
    """Return the folders that this Python imports from, editable checkouts included.

    Looked up once for each import path: an environment may hold hundreds of distributions.

    Parameters
    ----------
    import_path
        ``sys.path``.
    working_folder
        Never among them: whatever lies where a run was started is not code.
    """
    here = {working_folder, str(Path.home()), "/", "/tmp"}
    named = [*site.getsitepackages(), site.getusersitepackages(), *import_path]
    found = [
        *(sys.executable, sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix),
        os.path.realpath(sys.executable),
        *(path for path in named if os.path.isabs(path) and path not in here),  # noqa: PTH117
        str(Path(__file__).resolve().parents[3]),  # this package, however it was found
    ]
    for distribution in distributions():
        text = distribution.read_text("direct_url.json")
        try:
            origin = json.loads(text) if text else {}
            if origin.get("dir_info", {}).get("editable"):
                found.append(unquote(urlsplit(origin["url"]).path))
        except (ValueError, KeyError, AttributeError):
            continue
    return tuple(found)


def _is_there(path: str) -> bool:
    return os.path.isabs(path) and os.path.exists(path)  # noqa: PTH110, PTH117


def _trace(path: str) -> Iterator[Mount]:
    """Yield the links on the way to `path`, then the place itself; nothing for what is not there."""
    if not _is_there(path):
        return
    current, rest, steps = "", [part for part in os.path.normpath(path).split("/") if part], 0
    while rest:
        step = f"{current}/{rest.pop(0)}"
        if os.path.islink(step) and steps < 40:  # noqa: PTH114
            steps += 1
            points_to = os.readlink(step)  # noqa: PTH115
            yield Mount("link", step, points_to)
            whole = os.path.normpath(os.path.join(current or "/", points_to))  # noqa: PTH118
            rest = [part for part in whole.split("/") if part] + rest
            current = ""
        else:
            current = step
    if current:
        yield Mount("read", current, current)


def _without_repeats(found: dict[str, Mount]) -> list[Mount]:
    """Leave out what lies inside a listed place and is there already."""
    folders = {mount.target for mount in found.values() if mount.kind == "read"}
    return [
        mount
        for mount in found.values()
        if not any(_within(mount.target, other) for other in folders if other != mount.target)
    ]


def _listed_inside(found: dict[str, Mount], secret: list[str]) -> Iterator[Mount]:
    """Yield listed places inside a covered one: they are laid over the cover."""
    for mount in found.values():
        if any(_within(mount.target, path) and mount.target != path for path in secret):
            yield mount


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
