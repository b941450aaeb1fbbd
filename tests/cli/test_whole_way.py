"""From an idea to a line on a published site, in a scratch folder: every command once, on a tiny board."""

import json
import re

import pandas as pd
import pytest

from msibench.cli.main import main

TRACK = """
schema_version = 1
name = "small"
title = "One section of the phantom"
methods = ["bicubic", "nearest"]
metrics = ["skill", "psnr"]
control_method = "bicubic"
[[problems]]
dataset = "phantom"
protocols = ["area-x4@1"]
sections = ["synthetic-1"]
mz = [417.2402, 616.1773, 703.5748, 734.5694, 798.5410, 810.6007]
"""


@pytest.fixture
def msibench(tmp_path, monkeypatch, capsys):
    """Return a function that runs one command in a scratch folder, and what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MSIBENCH_MIRROR", "")

    def run(line, code=0):
        with pytest.raises(SystemExit) as end:
            main(line.split())
        said = "".join(capsys.readouterr())
        assert end.value.code == code, f"{line}\n{said}"
        return said

    return run


@pytest.mark.parametrize("gated", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_from_a_new_method_to_the_site(msibench, tmp_path, gated):
    """The short version leaves out the gate, which tests/cli/test_compare.py shows."""
    board = tmp_path / "leaderboards" / "small"
    board.mkdir(parents=True)
    few = TRACK.replace("616.1773, 703.5748, 734.5694, ", "")  # too few for a gate
    (board / "track.toml").write_text(TRACK if gated else few)
    msibench("run small --results theirs --publish")
    before = pd.read_csv(board / "leaderboard.csv").set_index("method")

    # new → check
    msibench("new method soft-focus")
    code = tmp_path / "soft-focus" / "msibench_soft_focus" / "method.py"
    method = f"{code}:SoftFocus"
    assert "FAILED" not in msibench(f"check {method}")

    msibench(f"run small --results mine --method {method}")
    if gated:
        refuse_what_is_worse(msibench, tmp_path, code, method)
    name = next(name for name in read_methods(tmp_path / "mine") if name not in before.index)

    # submit → checked, as the workflow of the main branch does it
    msibench("submit small --base leaderboards/small --results mine")
    (bundle,) = (tmp_path / "submissions" / "small").glob("*/bundle.zip")
    assert "self-reported until a maintainer" in (bundle.parent / "submission.md").read_text()
    msibench("run small --methods bicubic --results checked")
    msibench(f"import {bundle} --results checked")
    msibench("leaderboard small --results checked")
    assert "0 faults" in msibench("verify small --results checked")

    # the board grows; nobody else's score changes
    msibench("leaderboard small --base leaderboards/small --results checked --publish")
    after = pd.read_csv(board / "leaderboard.csv").set_index("method")
    assert name in after.index
    shared = before.index.intersection(after.index)
    pd.testing.assert_series_equal(before.loc[shared, "composite"], after.loc[shared, "composite"])
    assert after.loc[name, "origin"] in {"self-reported", "verified"}
    assert pd.isna(after.loc[name, "seconds_per_image"]), "measured on another machine"

    # and stands on the site, with its images where the results folder has them
    said = msibench("site public --results checked --no-pictures")
    assert "no docs" in said
    public = tmp_path / "public"
    scores = pd.read_csv(public / "data" / "scores.csv").set_index("method")
    assert scores.loc[name, "value"] == pytest.approx(after.loc[name, "composite"])
    overview = (public / "index.html").read_text()
    assert f'<a href="methods/{name}/index.html">{name}</a>' in overview
    assert after.loc[name, "origin"] in (public / "methods" / name / "index.html").read_text()
    page = (public / "boards" / "small" / "index.html").read_text()
    pictures = re.search(
        r'<script type="application/json" id="pictures">(.*?)</script>', page, re.S
    )
    assert any(name in each["methods"] for each in json.loads(pictures[1]).values())


def refuse_what_is_worse(msibench, folder, code, method):
    """An idea that makes the method worse is refused, one that makes it better passes."""
    (folder / "mine" / "leaderboards" / "small").rename(folder / "base")
    first = code.read_text()
    code.write_text(
        first.replace("return np.maximum(mixed, 0)", "return np.maximum(0.1 * mixed, 0)")
    )
    msibench(f"run small --results mine --method {method}")
    said = msibench("compare base mine --track small --markdown gate.md", code=4)
    assert "worse" in said
    assert "quality got worse" in (folder / "gate.md").read_text()
    code.write_text(first.replace("strength: float = 0.5", "strength: float = 0.8"))
    msibench(f"run small --results mine --method {method}")
    msibench("compare base mine --track small")


def read_methods(results):
    (place,) = (results / "leaderboards").glob("*/leaderboard.csv")
    return list(pd.read_csv(place)["method"])
