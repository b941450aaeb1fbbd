"""``msibench finetune METHOD --grid``: trainings, then all of them on the test sections."""

from dataclasses import replace

import pandas as pd
import pytest
from click.testing import CliRunner

from msibench.datasets import MZSet
from msibench.errors import ConfigurationError
from msibench.results.store import Store
from tests.specks import speck_card

GRID = '[grid]\n"training.lr" = [1e-4, 1e-2]\n'
OPTIONS = (
    "--sections", "small/synthetic-21", "--validation", "small/synthetic-22", "--iterations", "2",
    "--patch", "6", "--batch", "2",
)  # fmt: skip
FILES = (
    "README.md", "leaderboard.csv", "rows.parquet", "track.toml", "pretrained.svg", "metrics.svg",
    "score.svg", "images.png", "pair.md",
)  # fmt: skip


@pytest.fixture
def small_card(monkeypatch):
    """A phantom of 48 x 56 pixels and two ions with one test section, in the place of every card."""
    card = speck_card("small", train=("synthetic-21", "synthetic-22"))
    few = MZSet(name="few", mz=(417.2402, 734.5694))
    card = replace(card, mz_sets={"few": few}, default_mz_set="few")
    monkeypatch.setattr("msibench.cli.finetune._Reader.card", lambda self, name: card)
    return card


@pytest.fixture
def call(tmp_path, monkeypatch, small_card):
    """Run the command on the small card, with a cache of its own and no mirror."""
    from msibench.cli.finetune import command
    from msibench.plugin_manager import Catalogue

    known = Catalogue.dataset
    monkeypatch.setattr(
        Catalogue,
        "dataset",
        lambda self, name: known(self, "phantom" if name == "small" else name),
    )
    for name in ("MSIBENCH_CACHE", "MSIBENCH_MIRROR", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    (tmp_path / "grid.toml").write_text(GRID)

    def run(*arguments, trainings=True):
        given = ["mosr-msi-tiny", "--out", tmp_path / "tuned", *arguments]
        given += [*OPTIONS, "--grid", tmp_path / "grid.toml"] if trainings else []
        return CliRunner().invoke(
            command, list(map(str, given)), standalone_mode=False, catch_exceptions=False
        )

    return run


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_all_models_of_a_grid_are_ranked_on_test_sections(call, tmp_path, count):
    if count == 1:
        (tmp_path / "grid.toml").write_text(GRID.replace("1e-4, ", ""))
    out = tmp_path / "tuned"
    board = out / "leaderboard"
    assert call("--no-evaluate").return_value == 0
    assert (out / "trainings.csv").is_file()
    assert not board.exists()

    done = call("--evaluate-only", "--beside", "nearest", trainings=False)
    assert done.return_value == 0, done.output
    assert f"evaluated {count} trainings: {count + 3} ok; {count + 3} run now" in done.output
    trained = [f"mosr-msi-tiny@finetuned-{p.parent.name}" for p in out.glob("*/record.json")]
    assert len(trained) == count
    assert {path.name for path in board.iterdir()} == set(FILES)
    for name in ("README.md", "leaderboard.csv", "metrics.svg", "score.svg"):
        text = (board / name).read_text()
        for method in (*trained, "mosr-msi-tiny", "bicubic"):
            assert method in text, (name, method)
    assert (
        "msibench finetune mosr-msi-tiny --out tuned --evaluate-only"
        in (board / "README.md").read_text()
    )
    pretrained = (board / "pretrained.svg").read_text()
    assert all(method in pretrained for method in ("mosr-msi-tiny", "bicubic", "nearest"))
    assert not any(method in pretrained for method in trained)
    rows = pd.read_parquet(board / "rows.parquet")
    assert set(rows["section"]) == {"synthetic-1"}, "only what no model has learned from"
    assert {"skill", "psnr", "ssim", "vif", "sd_ratio", "nqm"} <= set(rows["metric"])
    assert "scheme skill (cao2025 needs dists)" in (board / "score.svg").read_text()
    pair = (board / "pair.md").read_text()
    assert "B is `mosr-msi-tiny`" in pair
    assert sum(f"A is `{method}`" in pair for method in trained) == 1
    mz = sorted(set(rows["mz"].dropna()))
    assert sum(line.startswith("| area-x4@1") for line in pair.splitlines()) == len(mz)

    if count == 1:  # the short version of what follows: tests/training/test_finetune.py
        return
    before = {path: path.read_bytes() for path in board.iterdir()}
    again = call("--beside", "nearest")
    assert again.output.count("finished before") == 2
    assert "0 run now, 5 stored already" in again.output
    assert {path: path.read_bytes() for path in board.iterdir()} == before


@pytest.mark.slow
def test_an_evaluation_that_was_cut_short_goes_on_with_the_same_result(call, tmp_path):
    board = tmp_path / "tuned" / "leaderboard"
    call()
    before = {path: path.read_bytes() for path in board.iterdir()}
    store = Store.open(tmp_path / "tuned" / "results")
    store.set_aside(next(store.keys()))
    (board / "score.svg").unlink()
    resumed = call()
    assert "1 run now, 3 stored already" in resumed.output
    figure = board / "score.svg"
    assert figure.read_bytes() == before[figure]


def test_an_empty_folder_cannot_be_judged(call):
    with pytest.raises(ConfigurationError, match="no finished training of mosr-msi-tiny"):
        call("--evaluate-only", trainings=False)
