"""Figures and the per-m/z table of all models of a grid."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from msibench.leaderboard import overview
from msibench.leaderboard.figure_boxes import METRICS
from msibench.leaderboard.figure_images import images
from msibench.leaderboard.figure_source import Choice
from msibench.leaderboard.overview import best_of, scheme_for, write_overview
from msibench.leaderboard.rows import collect, tidy
from msibench.results.index import read_index
from msibench.scoring import load_scheme


@pytest.fixture(scope="module")
def rows(toy):
    """The toy's rows with a value of all six metrics, made from its PSNR and RMSE."""
    found = collect(toy.store, read_index(toy.store, "toy")).rows
    directions = load_scheme("cao2025").directions
    psnr, error = (found[found["metric"] == name] for name in ("psnr", "rmse"))
    made = [
        (psnr if name in ("psnr", "nqm") else error).assign(metric=name, direction=way)
        for name, way in directions.items()
    ]
    for part in made:
        if part["metric"].iloc[0] in ("ssim", "vif", "sd_ratio"):
            part["value"] = 1 - part["value"]
    return tidy(pd.concat([*made, found[found["metric"] == ""]], ignore_index=True))


@pytest.fixture(scope="module")
def track(toy):
    return replace(toy.track, metrics=METRICS, scheme="cao2025", title="A grid")


@pytest.fixture(scope="module")
def two(rows):
    """The rows of two models alone."""
    return rows[rows["method"].isin(["better", "bicubic"])].reset_index(drop=True)


GRID = {"variants": ("better", "broken"), "start": "bicubic"}


@pytest.fixture(scope="module")
def written(rows, track, toy, tmp_path_factory):
    """A folder with the overview of a grid, and what its images were drawn of."""
    folder, drawn = tmp_path_factory.mktemp("overview"), []

    def draw(source):
        drawn.append(source)
        return images(source)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overview, "images", draw)
        write_overview(rows, track, toy.store, folder, **GRID)
    return folder, drawn


def test_the_published_scheme_is_taken_where_all_its_metrics_are_there(rows):
    assert scheme_for(rows) == ("cao2025", ())
    gone = (rows["metric"] == "dists") & (rows["method"] == "better")
    without = rows.assign(value=rows["value"].mask(gone, np.nan))
    assert scheme_for(without) == ("anchored", ("dists",)), (
        "one model lacks it, rows are older than skill"
    )
    skilled = pd.concat([without, without[without["metric"] == "psnr"].assign(metric="skill")])
    assert scheme_for(skilled) == ("skill", ("dists",))
    assert scheme_for(rows[rows["metric"] == ""])[0] == "anchored"


def test_figures_name_every_model_and_every_metric_and_are_the_same_twice(
    rows, track, toy, written, tmp_path
):
    first, _ = written
    write_overview(rows, track, toy.store, tmp_path / "again", **GRID)
    metrics, score, pretrained = (
        (first / f"{n}.svg").read_text() for n in ("metrics", "score", "pretrained")
    )
    for label in ("PSNR (dB)", "SSIM", "VIF", "SD (nearer", "NQM (dB)", "DISTS (lower"):
        assert label in metrics
        assert label in pretrained
    assert "bicubic" in pretrained
    assert ">better<" in metrics
    assert ">better<" not in pretrained, "a training is not pre-trained"
    for method in ("better", "bicubic", "broken-evil"):
        assert method in metrics
        assert method in score
    assert "better  " in score
    assert "1. better" not in score  # two sections rank nobody
    assert "no score" in score, "the model that failed is named, too"
    assert "scheme cao2025; area-x4@1" in score
    for file in first.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_the_pair_is_the_best_variant_and_its_start(written):
    text = (written[0] / "pair.md").read_text()
    assert "A is `better`" in text
    assert "B is `bicubic`" in text
    lines = [line.split("|") for line in text.splitlines() if line.startswith("| area-x4@1")]
    assert [round(float(line[3]), 3) for line in lines] == [400.25, 500.5, 700.125]
    assert all(float(line[5]) > float(line[6]) for line in lines), "score of A above that of B"


def test_without_a_score_there_is_no_best(rows):
    table = pd.DataFrame({"method": ["a", "b"], "composite": [np.nan, 0.5]})
    assert best_of(table, ["a"]) == ""
    assert best_of(table, ["a", "b"]) == "b"


@pytest.mark.slow
def test_each_protocol_has_figures_of_its_own_and_without_a_start_the_control_is_beside(
    two, track, toy, tmp_path
):
    other = two.assign(protocol="bicubic-x4@1", cell=two["cell"] + "x")
    both = tidy(pd.concat([two, other], ignore_index=True))
    both["value"] = both["value"].mask(both["metric"] == "dists", np.nan)
    grid = {"variants": ("better",), "missing": ("dists",)}
    written = write_overview(both, track, toy.store, tmp_path, **grid)
    assert {path.name for path in written} == {
        "metrics-area-x4@1.svg", "score-area-x4@1.svg", "images-area-x4@1.png",
        "metrics-bicubic-x4@1.svg", "score-bicubic-x4@1.svg", "pair.md",
        "pretrained-area-x4@1.svg", "pretrained-bicubic-x4@1.svg",
    }  # fmt: skip
    text = (tmp_path / "pair.md").read_text()
    assert text.count("A is `better`") == 2
    said = "B is `bicubic` (the control). The method that was trained has no weights"
    assert text.count(said) == 2
    for protocol in ("area-x4@1", "bicubic-x4@1"):
        score = (tmp_path / f"score-{protocol}.svg").read_text()
        assert "(cao2025 needs dists)" in score
        metrics = (tmp_path / f"metrics-{protocol}.svg").read_text()
        assert "NQM (dB)" in metrics
        assert "DISTS" not in metrics, "no empty panel"


def test_images_of_two_ions_show_the_best_training_beside_its_start(written):
    """As in Figures S5 and S6; without images there is no such file."""
    folder, (source,) = written
    assert set(source.table["method"]) == {"better", "bicubic"}
    assert source.choice.ions == 2
    with Image.open(folder / "images.png") as picture:
        wide, high = picture.size
    assert wide > 400
    (one,) = [images(replace(source, choice=Choice())).get_size_inches()]
    assert high / wide > 1.3 * one[1] / one[0], "two rows of ions"
