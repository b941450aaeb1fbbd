"""The Python of docs/python.md, run as it stands there."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    from msibench.image import MSImage
    from msibench.io import write_imzml

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :24]
    mean = 5 + 100 * np.exp(-((y - 12) ** 2 + (x - 10) ** 2) / 60)
    values = (1 + rng.poisson(mean, (2, 32, 24))).astype(np.float32)
    image = MSImage(values, np.array([741.53, 798.54]), pixel_size_um=10.0, ppm=5.0)
    write_imzml("section.imzML", image)
    Image.fromarray(rng.integers(0, 255, (64, 48, 3), dtype=np.uint8)).save("HE.png")
    affine = {"A": [[2.0, 0.0], [0.0, 2.0]], "b": [0.5, 0.5]}
    Path("HE.json").write_text(json.dumps(affine))
    (tmp_path / "leaderboards").symlink_to(ROOT / "leaderboards")
    return tmp_path


def test_there_are_blocks():
    assert len(BLOCKS) == 4


@pytest.mark.parametrize(
    "place",
    [
        # what a run gives is also tested on a small section: tests/library/test_library.py
        pytest.param(place, marks=[pytest.mark.slow] if "mb.run" in code else [])
        for place, code in enumerate(BLOCKS)
    ],
)
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:spatialdata")
def test_a_block_runs(place, folder):
    import msibench as mb

    code = BLOCKS[place]
    if "to_spatialdata" in code:
        pytest.importorskip("spatialdata", reason="needs: pip install 'msibench[neighbours]'")
    names = {} if place == 0 else {"mb": mb, "fine": mb.read("section.imzML", mz=[798.54])}
    exec(compile(code, "docs/python.md", "exec"), names)
