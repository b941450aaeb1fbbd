"""The recipes of docs/cao2025: as many trainings as the paper says."""

import tomllib
from pathlib import Path

import pytest

from msibench.training.finetune import FinetuneRequest
from msibench.training.grid import expand

RECIPES = Path(__file__).resolve().parents[2] / "docs" / "cao2025"


@pytest.mark.parametrize(("name", "iterations"), [("grid", 80_000), ("grid-scaled", 100)])
def test_the_recipe_has_the_64_models_of_the_paper(name, iterations):
    base = FinetuneRequest.from_mapping({"method": "mosr", "sections": ["toy/a"]})
    requests = expand(tomllib.loads((RECIPES / f"{name}.toml").read_text("utf-8")), base)
    assert len(requests) == 64
    assert {request.training.iterations for request in requests.values()} == {iterations}
    assert {request.training.optimiser for request in requests.values()} == {"adam"}
