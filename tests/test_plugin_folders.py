"""The root project and the plugin folders tell the same story."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(manifest.parent for manifest in ROOT.glob("plugins/*/pyproject.toml"))


def manifest(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_root_installs_every_plugin_folder(folder):
    root = manifest(ROOT)
    built_in = root["project"]["entry-points"]["msibench"]
    searched = root["tool"]["setuptools"]["packages"]["find"]["where"]

    assert manifest(folder)["project"]["entry-points"]["msibench"].items() <= built_in.items()
    assert f"plugins/{folder.name}" in searched


def test_the_root_names_no_folder_that_is_not_there():
    searched = manifest(ROOT)["tool"]["setuptools"]["packages"]["find"]["where"]

    assert {name for name in searched if name.startswith("plugins/")} == {
        f"plugins/{folder.name}" for folder in FOLDERS
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_plugin_folder_can_be_copied_as_a_template(folder):
    (package,) = folder.glob("msibench_*")
    assert (folder / "README.md").is_file()
    assert list(folder.glob("tests/test_*.py"))
    assert (package / "__init__.py").is_file()
