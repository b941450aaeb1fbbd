"""Content-addressed keys: the same work has the same key on every machine, other work another.

A key is the sha256 of canonical JSON. The JSON itself is kept in the record, so that a stale cell can
say which lines differ. Order, host, paths, timeouts and verbosity never enter it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from msibench.contracts.method import CONSISTENT
from msibench.errors import PluginError
from msibench.results.provenance import installed_version

KEY_SCHEMA = 1
ARITHMETIC = ("numpy", "scipy", "torch")
"""Libraries whose version is part of a key, because their arithmetic may change."""

NEUTRAL = frozenset(
    {
        "msibench",
        "msibench.cli",
        "msibench.contracts",
        "msibench.datasets",
        "msibench.downloads",
        "msibench.errors",
        "msibench.image",
        "msibench.mirror",
        "msibench.owners",
        "msibench.plugin_manager",
        "msibench.testing",
        "msibench.weights",
    }
)
"""Modules of the core that carry words, not arithmetic: editing one makes no prediction stale."""


def canonical_json(value: object) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, no NaN.

    Raises
    ------
    TypeError
        If `value` holds something that has no place in a key (a set has no order: sort it).
    """
    return json.dumps(
        plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )


def plain(value: object) -> object:
    """Return `value` in JSON's own types; numbers that JSON lacks become words."""
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float | np.floating):
        number = float(value)
        return number if math.isfinite(number) else repr(number)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, frozenset | set):
        raise TypeError("a set has no order: sort it before it goes into a key")
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no place in a key")


def digest_of(value: object) -> str:
    """Return the sha256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_of_parsed(value: object) -> str:
    """Return `digest_of` of what `json.loads` gave, several times as fast."""
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
        )
    except ValueError:  # JSON of others may hold NaN or infinity
        return digest_of(value)
    return hashlib.sha256(text.encode()).hexdigest()


def key_of(document: Mapping[str, Any]) -> str:
    """Return the key of a cell's document: a digest over the digests of its two large parts."""
    return short_key(
        digest_of(document["method"]),
        digest_of(document["problem"]),
        document["training"],
        document["seed"],
        document["device"],
    )


def short_key(
    method: str, problem: str, training: Mapping[str, str], seed: int, device: str
) -> str:
    """Return the key of a cell whose method and problem are given by their digests."""
    return digest_of([KEY_SCHEMA, method, problem, training, seed, device])


def versions() -> dict[str, str]:
    """Return the versions that are part of a key; a library that is not installed is left out."""
    from importlib.metadata import PackageNotFoundError

    found = {}
    for name in ARITHMETIC:
        try:
            found[name] = installed_version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    return found


def code_digests(target: str) -> Mapping[str, str]:
    """Return the sha256 of every source file that a method's output may depend on.

    That is every module of the plugin's own package (tests apart), and every module of
    ``msibench`` that these import, and so on; nothing is imported to find out. Packages are read once
    a process; a single file, which its author changes between two runs of a notebook, every time.

    Parameters
    ----------
    target
        ``"package.module:Class"`` or ``"path/to/file.py:Class"``.

    Raises
    ------
    PluginError
        If the package cannot be found.
    """
    module = target.rpartition(":")[0]
    return _file_digests(target) if module.endswith(".py") else package_digests(target)


@lru_cache(maxsize=256)
def package_digests(target: str) -> Mapping[str, str]:
    """Return `code_digests` of a target in an installed package, read once a process."""
    own = _package_sources(target.rpartition(":")[0].partition(".")[0])
    imported = {name for source in own.values() for name in _core_imports(source)}
    return _digests(target, own, imported)


def _file_digests(target: str) -> Mapping[str, str]:
    source = Path(target.rpartition(":")[0])
    return _digests(target, {source.name: source}, set(_imports_in(source.read_bytes())))


def _digests(target: str, own: Mapping[str, Path], waiting: set[str]) -> Mapping[str, str]:
    """Return the digests of a method's own files and of the core modules behind their imports."""
    needed = dict(own)
    if target.endswith(CONSISTENT):
        waiting.add("msibench.training.consistent_twin")
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or _is_neutral(name):
            continue
        seen.add(name)
        source_of = _core_source(name)
        if source_of is None:
            continue
        needed[name.replace(".", "/") + ".py"] = source_of
        waiting |= _core_imports(source_of)
    return {
        name: hashlib.sha256(source.read_bytes()).hexdigest()
        for name, source in sorted(needed.items())
    }


def changed_code(target: str, digests: Mapping[str, str]) -> list[str]:
    """Return the files of `code_digests` whose content is another now, or that are gone.

    Reads the files anew, and imports nothing.
    """
    module = target.rpartition(":")[0]
    package = module.partition(".")[0]
    own = Path(module) if module.endswith(".py") else None
    folders = [] if own else _folders(package)
    core = Path(__file__).resolve().parents[2]
    changed = []
    for name, digest in digests.items():
        places = [own] if own and name == own.name else [folder / name for folder in folders]
        if name.startswith("msibench/"):
            places = [core / name, core / name.removesuffix(".py") / "__init__.py"]
        found = next((place for place in places if place is not None and place.is_file()), None)
        if found is None or hashlib.sha256(found.read_bytes()).hexdigest() != digest:
            changed.append(name)
    return changed


def difference(old: object, new: object) -> list[str]:
    """Return the lines in which two key documents differ, ``-`` old and ``+`` new."""
    import difflib

    before, after = (
        json.dumps(plain(value), sort_keys=True, indent=1, ensure_ascii=False).splitlines()
        for value in (old, new)
    )
    return [
        line
        for line in difflib.unified_diff(before, after, lineterm="", n=0)
        if line[:1] in "+-" and not line.startswith(("+++", "---"))
    ]


def package_folders(target: str) -> list[Path]:
    """Return the folders of the package that a target lies in; none for a single file."""
    module = target.rpartition(":")[0]
    package = module.partition(".")[0]
    return [] if module.endswith(".py") else [folder / package for folder in _folders(package)]


def _folders(package: str) -> list[Path]:
    """Return the folders that a top-level package or module is found in."""
    importlib.invalidate_caches()
    spec = importlib.util.find_spec(package)
    if spec is None:
        return []
    inside = [Path(place).parent for place in spec.submodule_search_locations or ()]
    return inside or [Path(str(spec.origin)).parent]


def _package_sources(package: str) -> dict[str, Path]:
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise PluginError(f"package {package!r} is not installed")
    if not spec.submodule_search_locations:
        source = Path(str(spec.origin))
        return {source.name: source}
    found = {}
    for folder in map(Path, spec.submodule_search_locations):
        for source in folder.rglob("*.py"):
            inside = source.relative_to(folder)
            if "tests" not in inside.parts:
                found[f"{package}/{inside.as_posix()}"] = source
    return found


@lru_cache(maxsize=4096)
def _core_imports(source: Path) -> frozenset[str]:
    return _imports_in(source.read_bytes())


@lru_cache(maxsize=256)
def _imports_in(source: bytes) -> frozenset[str]:
    """Return the modules of ``msibench`` that the text of a file names in its imports."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return frozenset()
    names: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:  # statements alone: an expression holds no import
        node = waiting.pop()
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, part, ())
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(name for name in names if name.startswith("msibench."))


def _is_neutral(name: str) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in NEUTRAL - {"msibench"})


@lru_cache(maxsize=1024)
def _core_source(name: str) -> Path | None:
    """Return the file of a core module, or None when the name is a function or class in one."""
    base = Path(__file__).resolve().parents[1].joinpath(*name.split(".")[1:])
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None
