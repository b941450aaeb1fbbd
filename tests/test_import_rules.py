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


def imported_packages(package):
    """Return the top-level packages that the source files of `package` import."""
    names = set()
    for source in package.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module)
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_no_package_imports_a_plugin_other_than_itself(name):
    strangers = PACKAGES.keys() - {name, "msibench"}

    assert not imported_packages(PACKAGES[name]) & strangers
