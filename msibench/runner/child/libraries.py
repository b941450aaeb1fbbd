"""Which large libraries a method will import, seen from its source; no plugin is imported to find out."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from msibench.results.keys import package_folders

LIBRARIES = {
    "scipy": (
        "scipy.ndimage",
        "scipy.sparse",
        "scipy.sparse.linalg",
        "scipy.fft",
        "scipy.special",
        "threadpoolctl",
    ),
    "torch": ("torch", "torch.nn.functional", "einops", "safetensors.torch"),
    "spandrel": ("spandrel",),
}
"""What takes long to import, and what to import of it: nothing of it may start threads. Each needs those before it."""
BRINGS = {"sklearn": "scipy", "torchvision": "torch"}
"""What imports one of `LIBRARIES` itself."""
LATE = frozenset({"spandrel"})
"""Looked for inside functions, too: it brings torchvision and PyTorch's compiler, which take as long as PyTorch."""


@lru_cache(maxsize=256)
def libraries_of(target: str) -> tuple[str, ...]:
    """Return those of `LIBRARIES` that a method's module imports, and what it imports in turn.

    Followed are the imports at the top of modules (of `LATE` those inside functions as well), inside the method's own package and `msibench`. A wrong
    answer costs time, never a result: the method imports for itself what is not there yet.

    Parameters
    ----------
    target
        ``"package.module:Class"`` or ``"path/to/file.py:Class"``.
    """
    name = target.rpartition(":")[0]
    if name.endswith(".py"):
        own, waiting = "", [Path(name)]
    else:
        own = name.partition(".")[0]
        waiting = [path for path in (_source(module, own, target) for module in _up(name)) if path]
    found: set[str] = set()
    seen: set[Path] = set()
    while waiting:
        source = waiting.pop()
        if source in seen:
            continue
        seen.add(source)
        for module in _imports(source):
            package = module.partition(".")[0]
            if package in LIBRARIES or package in BRINGS:
                found.add(BRINGS.get(package, package))
            elif package in {"msibench", own}:
                waiting += [path for step in _up(module) if (path := _source(step, own, target))]
    # one process for each set: what has a larger one has the smaller ones, too
    names = tuple(LIBRARIES)
    return names[: max((names.index(name) + 1 for name in found), default=0)]


def _up(module: str) -> Iterator[str]:
    """Yield a module and the packages that are imported with it."""
    parts = module.split(".")
    yield from (".".join(parts[:count]) for count in range(len(parts), 0, -1))


@lru_cache(maxsize=2048)
def _source(module: str, own: str, target: str) -> Path | None:
    """Return the file of a module of `msibench` or of the method's package."""
    top, *rest = module.split(".")
    if top == "msibench":
        spec = importlib.util.find_spec("msibench")
        folders = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    else:
        folders = package_folders(target) if top == own else []
    for folder in folders:
        base = folder.joinpath(*rest)
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None


@lru_cache(maxsize=2048)
def _imports(source: Path) -> frozenset[str]:
    """Return the modules that a file imports when it is imported itself."""
    try:
        tree = ast.parse(source.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return frozenset()
    names: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        names |= _named(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names |= {name for inner in ast.walk(node) for name in _named(inner)} & LATE
        elif not isinstance(node, ast.Lambda | ast.expr):
            waiting += [child for child in ast.iter_child_nodes(node) if not _typing_only(child)]
    return frozenset(names)


def _named(node: ast.AST) -> set[str]:
    """Return the modules that one statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return set()


def _typing_only(node: ast.AST) -> bool:
    """Whether a statement is there for type checkers alone."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
