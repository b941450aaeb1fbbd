"""An ion that is nowhere in a section: named, handed to no method, 0 in every prediction."""

import json

import numpy as np
import pytest

from msibench.cli.main import main
from msibench.results.arrays import read_arrays
from msibench.results.store import PREDICTION

MINE = """
class Sees:
    def upscale(self, problem):
        assert (problem.low.values > 0).any(axis=(1, 2)).all(), "an empty ion was handed over"
        return problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2)
"""


def section(path, channels):
    rng = np.random.default_rng(0)
    cube = rng.poisson(30, (4, 24, 32)).astype(np.float32)
    cube[1] = 0
    np.savez(path, cube=cube[channels], mz=np.array([400.0, 500, 600, 700])[channels])
    return path


@pytest.fixture
def run(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE)

    def call(data, results, *more):
        with pytest.raises(SystemExit) as ended:
            main([*map(str, ("run", "--data", data, "--results", results, *more))])
        said = capsys.readouterr()
        records = {}
        for path in results.glob("cells/*/*/record.json"):
            facts = json.loads(path.read_text())
            records[facts["label"] if "label" in facts else facts["method"]] = (facts, path.parent)
        return ended.value.code, records, said

    return call


@pytest.mark.parametrize("large_mib", ["128", pytest.param("0.01", marks=pytest.mark.slow)])
def test_no_method_gets_it_and_the_others_do_not_change(run, tmp_path, monkeypatch, large_mib):
    monkeypatch.setenv("MSIBENCH_LARGE_MIB", large_mib)
    from PIL import Image

    guide = np.random.default_rng(1).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(guide).save(tmp_path / "he.png")
    arguments = (
        "--guide", tmp_path / "he.png", "--controls", "none", "--methods", "bicubic,pls",
        "--metrics", "psnr",
    )  # fmt: skip
    with_it = section(tmp_path / "with.npz", [0, 1, 2, 3])
    without = section(tmp_path / "without.npz", [0, 2, 3])
    status, found, said = run(with_it, tmp_path / "a", *arguments)
    assert status == 0, said.err
    status, expected, said = run(without, tmp_path / "b", *arguments)
    assert status == 0, said.err
    for method in ("bicubic", "pls"):
        record, folder = found[method]
        note = "nothing is present in 1 of 4 ion images, which methods do not get: m/z 500.0000"
        assert note in record["notes"]
        fine = read_arrays(folder / PREDICTION)[0]["prediction"]
        others = read_arrays(expected[method][1] / PREDICTION)[0]["prediction"]
        assert fine.shape[0] == 4
        assert not fine[1].any()
        np.testing.assert_array_equal(fine[[0, 2, 3]], others)


def test_a_method_that_cannot_bear_an_empty_ion_runs(run, tmp_path):
    data = section(tmp_path / "a.npz", [0, 1, 2, 3])
    status, found, said = run(
        data, tmp_path / "r", "--method", f"{tmp_path / 'mine.py'}:Sees", "--methods", "bicubic,sees",
        "--metrics", "psnr",
    )  # fmt: skip
    assert status == 0, said.out
    assert {facts["status"] for facts, _ in found.values()} == {"ok"}


def test_a_section_in_which_nothing_is_present_gives_no_number(run, tmp_path):
    data = section(tmp_path / "a.npz", [1])
    status, found, _ = run(data, tmp_path / "r", "--methods", "bicubic", "--metrics", "psnr")
    assert status != 0
    assert not [facts for facts, _ in found.values() if facts["status"] == "ok"]
