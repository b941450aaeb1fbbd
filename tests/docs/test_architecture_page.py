"""docs/architecture.md speaks of the code as it is."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
HOPS = re.findall(r"^\| (\d+) \| `([\w.]+):([\w.]+)`", PAGE, re.M)


def test_a_problem_takes_at_most_fifteen_hops():
    assert [int(number) for number, _, _ in HOPS] == list(range(1, len(HOPS) + 1))
    assert 10 <= len(HOPS) <= 15


@pytest.mark.parametrize(("module", "name"), [hop[1:] for hop in HOPS])
def test_every_hop_is_a_function_of_that_module(module, name):
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    assert callable(found)


def test_every_name_of_the_text_exists():
    for dotted in set(re.findall(r"`(msibench(?:\.\w+)+)`", PAGE)):
        module, _, name = dotted.rpartition(".")
        assert hasattr(importlib.import_module(module), name), dotted


def test_every_folder_of_the_core_has_its_line():
    lines = set(re.findall(r"^  ([\w/]+)/ ", PAGE, re.M))
    folders = {
        str(path.relative_to(ROOT / "msibench"))
        for path in (ROOT / "msibench").rglob("*")
        if path.is_dir()
        and not {"__pycache__", "template", "tracks_shipped"} & set(path.parts)
        and any(path.iterdir())
    }
    assert folders <= lines
    assert all((ROOT / "msibench" / line).is_dir() for line in lines)


def test_the_floors_are_those_of_the_import_contract():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = contract["tool"]["importlinter"]["contracts"][0]["layers"]
    house = PAGE[PAGE.index("┌") : PAGE.index("## The path")]
    words = re.findall(r"[│·] (\w+)", house)
    drawn = {name: place for place, name in reversed(list(enumerate(words)))}
    places = [min(drawn[name] for name in layer.split(" | ") if name in drawn) for layer in layers]
    assert places == sorted(places)
