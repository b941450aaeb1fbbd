"""The notebooks of docs/notebooks: run to their end, small, and in step with the code.

The nightly workflow runs both in a kernel (``pytest --nbmake docs/notebooks``).
"""

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = {path.stem: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("*.ipynb")}


def code(name):
    return [cell for cell in NOTEBOOKS[name]["cells"] if cell["cell_type"] == "code"]


def test_there_are_two():
    assert set(NOTEBOOKS) == {"your-section", "add-a-method"}


@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_what_is_committed_was_run_from_top_to_bottom(name):
    cells = code(name)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 400_000


@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_every_picture_says_what_it_shows(name):
    for cell in code(name):
        for output in cell["outputs"]:
            page = "".join(output.get("data", {}).get("text/html", ""))
            assert page.count("<img ") == page.count('<img alt="m/z ')


@pytest.mark.slow
def test_your_section_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for cell in code("your-section"):
        exec(compile("".join(cell["source"]), "your-section.ipynb", "exec"), names)
    assert names["done"].prediction.pixel_size_um == 5.0
    assert names["again"].shape == (192, 240)
