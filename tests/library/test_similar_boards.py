"""Boards of similar sections: said beside the advice, never mixed into it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import msibench as mb
from msibench.advice.likeness import likeness
from msibench.cli.main import main
from msibench.datasets import load_card, read_section
from msibench.leaderboard.rows import SELF_REPORTED
from msibench.library import leaderboards
from msibench.library.installed import catalogue
from msibench.library.similar_boards import in_words, known_sections, mean_of, similar_boards
from msibench.mirror import find_in_mirror
from msibench_datasets.phantom.generator import make_phantom

EVERY = set(catalogue().methods)


def phantom(counts=60.0, seed=1, shape=(128, 160)):
    made = make_phantom(seed=seed, shape=shape, counts=counts)
    return mb.MSImage(made.counts, made.mz, 10.0, mask=made.mask, unit="counts")


def coarse(section, factor=4):
    return mb.degrade(section, f"area-x{factor}@1").low


def test_the_board_of_a_phantom_is_found_for_another_phantom():
    found = similar_boards(coarse(phantom(seed=7)), 4, EVERY)
    assert found[0].name == "phantom"
    assert found[0].alike
    assert list(found[0].skill.values()) == sorted(found[0].skill.values(), reverse=True)
    assert [one.distance for one in found] == sorted(one.distance for one in found)
    (line,) = [text for text in in_words(found, ["bicubic"]) if text.startswith("phantom")]
    top = next(iter(found[0].skill))
    assert f"{top} was not tried here" in line
    assert "not tried" not in " ".join(in_words(found, EVERY))


def test_what_is_like_nothing_and_factors_without_boards_are_said():
    smooth = mb.MSImage(
        coarse(phantom()).values * 0 + np.linspace(1, 2, 40), coarse(phantom()).mz, 0.5
    )
    assert (
        "no board has sections like this one"
        in in_words(similar_boards(smooth, 4, EVERY), EVERY)[0]
    )
    assert in_words(similar_boards(coarse(phantom(), 5), 5, EVERY), EVERY) == [
        "no board at this factor to compare with"
    ]


def test_advice_says_them(tmp_path):
    low = coarse(phantom(seed=5))
    told = mb.advise(low, 4, methods=("bicubic", "lanczos3"))
    assert "Boards of the most similar sections" in str(told)
    facts = json.loads(json.dumps(told.to_json(), allow_nan=False))
    assert facts["boards"][0]["name"] == told.boards[0].name
    named = {name for one in told.boards for name in one.skill}
    methods = catalogue().methods
    assert all(methods[name].task.value == "single-image" for name in named)
    assert not any(methods[name].trainable for name in named)
    assert set(told.methods) == {"bicubic", "lanczos3"}, "only what was tried is expected"


def test_boards_of_a_results_folder_count_too(tmp_path, monkeypatch):
    section = phantom(seed=21, shape=(96, 96))
    np.savez(tmp_path / "mine.npz", cube=section.values, mz=section.mz, pixel_size_um=35.0)
    results = tmp_path / "results"
    with pytest.raises(SystemExit) as ended:
        main(["run", "--data", str(tmp_path / "mine.npz"), "--methods", "bicubic,bilinear", "--results", str(results),
              "--metrics", "skill,psnr", "--jobs", "1"])  # fmt: skip
    assert ended.value.code == 0
    board = mb.load_board(results / "leaderboards" / "mine")
    low = mb.MSImage(coarse(section).values, section.mz, 140.0)
    found = similar_boards(low, 4, EVERY, results)
    assert found[0].name == board.track.name
    assert found[0].distance < 0.2
    rows = board.rows()
    mine = rows[(rows["metric"] == "skill") & (rows["method"] == "bicubic")]["value"]
    assert found[0].skill["bicubic"] == pytest.approx(mine.mean())
    assert board.track.name not in [one.name for one in similar_boards(low, 4, EVERY)]
    told = rows.assign(origin=rows["origin"].mask(rows["method"] == "bilinear", SELF_REPORTED))
    monkeypatch.setattr(leaderboards, "load_board", lambda _: SimpleNamespace(rows=lambda: told))
    assert set(similar_boards(low, 4, EVERY, results)[0].skill) == {"bicubic"}
    hard = rows[(rows["metric"] == "skill") & (rows["method"] == "bilinear")]["value"].idxmin()
    told = rows.drop(index=hard)
    assert set(similar_boards(low, 4, EVERY, results)[0].skill) == {"bicubic"}


@pytest.mark.parametrize(
    ("dataset", "protocol"),
    [("phantom", "area-x4@1"), pytest.param("her2-tumour", "area-x2@1", marks=pytest.mark.slow)],
)
def test_the_table_that_ships_is_that_of_the_sections(dataset, protocol):
    card = load_card(catalogue().datasets[dataset])
    if not card.synthetic and find_in_mirror(f"{dataset}/tumour2.npz") is None:
        pytest.skip("needs the public sections: MSIBENCH_MIRROR")
    factor = int(protocol[6])
    found = [
        likeness(mb.degrade(read_section(card, one).image, protocol).low, factor)
        for one in card.test
    ]
    kept, now = known_sections()[dataset, protocol], mean_of(found)
    for name in ("pixel_size_um", "signal", "texture", "fall"):
        assert getattr(kept, name) == pytest.approx(getattr(now, name), rel=0.02), name
