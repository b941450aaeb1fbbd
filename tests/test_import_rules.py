"""The core knows no plugin, and plugins do not know each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    path.name: path
    for pattern in ("msibench", "datasets/msibench_*", "plugins/*/msibench_*")
    for path in ROOT.glob(pattern)
    if path.is_dir()
}


def imported_packages(package, among):
    """Return which packages the source files of `package` import; what a file imports it names."""
    names = set()
    for source in package.rglob("*.py"):
        text = source.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if any(name in text for name in among) else ():
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module)
    return {name.partition(".")[0] for name in names} & among


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_no_package_imports_a_plugin_other_than_itself(name):
    strangers = PACKAGES.keys() - {name, "msibench"}

    assert not imported_packages(PACKAGES[name], strangers)


def test_an_import_is_found_wherever_it_stands(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "late.py").write_text("def f():\n    from stranger.at import home\n")
    (tmp_path / "near.py").write_text("import os, other.thing as t\n# said: third\n")
    assert imported_packages(tmp_path, {"stranger", "other", "third"}) == {"stranger", "other"}
