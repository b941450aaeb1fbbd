"""A digest of each metric's code beside its version, so that numbers cannot change in silence.

``python tests/metrics/metric_versions.py`` brings ``versions.json`` up to date: it adds new metrics and
records those whose version was raised, and refuses a metric whose code changed under its old version.

The digest covers the metric's function and every definition of ``msibench.metrics`` that it reaches,
as syntax trees: comments, docstrings, annotations, formatting, the wording of errors and the names of
modules do not count.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from msibench.contracts.metric import MetricSpec
from msibench.metrics.specs import builtin_metrics

RECORD = Path(__file__).with_name("versions.json")
PACKAGE = "msibench.metrics"


def digest_of(spec: MetricSpec) -> str:
    """Return sha256 over the code that the metric's numbers depend on, and its parameters."""
    module, _, function = spec.target.partition(":")
    reached = _reach(module, function)
    assert reached, f"{spec.target} is defined nowhere"
    code = "\n".join(
        sorted(f"{name} {_canonical(_definitions(where)[name])}" for where, name in reached)
    )
    parameters = json.dumps(dict(spec.params), sort_keys=True, default=str)
    return hashlib.sha256(f"{code}\n{parameters}".encode()).hexdigest()


def current() -> dict[str, dict[str, object]]:
    """Return name → version and digest, as the code stands."""
    return {
        spec.name: {"version": spec.version, "digest": digest_of(spec)}
        for spec in builtin_metrics()
    }


def complaints(recorded: dict, now: dict) -> list[str]:
    """Say what is wrong, one sentence per metric; empty when all is well."""
    update = "python tests/metrics/metric_versions.py"
    found = []
    for name, facts in now.items():
        if name not in recorded:
            found.append(f"{name} is new: record it with `{update}`")
        elif facts != recorded[name]:
            if facts["version"] <= recorded[name]["version"]:
                found.append(
                    f"the code of {name} changed under version {facts['version']}: raise the "
                    f"version in its spec, then record it with `{update}`"
                )
            else:
                found.append(f"{name} has a new version: record it with `{update}`")
    found += [f"{name} is gone: `{update}`" for name in recorded.keys() - now.keys()]
    return found


def _reach(module: str, name: str) -> set[tuple[str, str]]:
    """Return every (module, definition) of the package that this one leads to."""
    reached: set[tuple[str, str]] = set()
    waiting = [(module, name)]
    while waiting:
        place = waiting.pop()
        if place in reached:
            continue
        module, name = place
        if name in _definitions(module):
            reached.add(place)
            waiting += [link for link in _links(*place) if link not in reached]
    return reached


def _links(module: str, name: str) -> list[tuple[str, str]]:
    """Return what a definition's names may stand for in its own or an imported module."""
    imported, aliases = _imports(module)
    links = []
    for node in ast.walk(_definitions(module)[name]):
        if isinstance(node, ast.Name):
            links.append(imported.get(node.id, (module, node.id)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            links.append((aliases.get(node.value.id, module), node.attr))
    return [(where, what) for where, what in links if what in _definitions(where)]


@cache
def _tree(module: str) -> ast.Module:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return _Bare().visit(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))


@cache
def _definitions(module: str) -> dict[str, ast.AST]:
    """Return the top-level definitions of a module as bare syntax trees."""
    found: dict[str, ast.AST] = {}
    for node in _tree(module).body:
        names: list[str] = []
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        for name in names:
            found[name] = node
    return found


@cache
def _imports(module: str) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Return imported name → (module, definition), and alias → module of the package."""
    names: dict[str, tuple[str, str]] = {}
    modules: dict[str, str] = {}
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            for alias in node.names:
                bound = alias.asname or alias.name
                if node.module == PACKAGE:
                    modules[bound] = f"{PACKAGE}.{alias.name}"
                else:
                    names[bound] = (str(node.module), alias.name)
    return names, modules


def _canonical(node: object) -> str:
    """Write a syntax tree down in a way that all versions of Python share."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        inner = ",".join(
            f"{name}={_canonical(value)}" for name, value in fields if name not in ("kind", "ctx")
        )
        return f"{type(node).__name__}({inner})"
    if isinstance(node, list):
        return f"[{','.join(_canonical(item) for item in node)}]"
    return repr(node)


class _Bare(ast.NodeTransformer):
    """Take out what does not change numbers."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            argument.annotation = None
        for argument in (node.args.vararg, node.args.kwarg):
            if argument is not None:
                argument.annotation = None
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._without_docstring(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(value=None)
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Raise(exc=None, cause=None)

    def _without_docstring(self, node: ast.FunctionDef | ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.body = [
            line
            for line in node.body
            if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        ] or [ast.Pass()]
        return node


def main() -> int:
    """Record new and raised versions; refuse changed code under an old version."""
    recorded = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    now = current()
    refused = [text for text in complaints(recorded, now) if "changed under version" in text]
    for text in refused:
        print(text, file=sys.stderr)
    if refused:
        return 1
    RECORD.write_text(json.dumps(now, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
