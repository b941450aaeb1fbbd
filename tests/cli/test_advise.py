"""``msibench advise``: text, JSON and a page that say the same."""

import json
from contextlib import suppress

import numpy as np
import pytest

from msibench.cli.main import main


@pytest.fixture
def advise(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :56]
    mean = 200 * np.exp(-((y - 20) ** 2 + (x - 25) ** 2) / 90) + 5
    cube = np.stack([rng.poisson(mean), rng.poisson(np.full(mean.shape, 2.0))]).astype(np.float32)
    np.savez("own<1>.npz", cube=cube, mz=[400.0, 500.0], pixel_size_um=40.0)

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["advise", *map(str, arguments)])
        out = capsys.readouterr()
        return ended.value.code, out.out, out.err

    return call


def test_text_json_and_page_say_the_same(advise, tmp_path):
    code, out, err = advise(
        "own<1>.npz", "--factor", "2,4", "--methods", "bicubic,lanczos3",
        "--json", "a.json", "--page", "a.html",
    )  # fmt: skip
    assert code == 0, err
    facts = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert [one["factor"] for one in facts["advice"]] == [2, 4]
    for one in facts["advice"]:
        assert one["sentence"] in out
        assert one["sentence"] in page
        noise = next(ion for ion in one["ions"] if ion["name"] == "m/z 500.0000")
        assert noise["method"] == "keep"
        assert "counts" in noise["reason"]
        assert noise["reason"] in page
    assert "own&lt;1&gt;.npz" in page
    assert "<1>" not in page
    assert "http" not in page.split("</style>")[1]
    assert "Measure finer instead?" in page
    assert "-0.0%" not in page


def test_files_are_written_before_the_reader_of_the_text_goes_away(advise, tmp_path, monkeypatch):
    def closed(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr("msibench.cli.advise.click.echo", closed)
    with suppress(BrokenPipeError):
        advise(
            "own<1>.npz",
            "--factor",
            "2",
            "--methods",
            "bicubic",
            "--json",
            "a.json",
            "--page",
            "a.html",
        )
    assert "2 times finer" in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["advice"][0]["factor"] == 2


@pytest.mark.parametrize("factors", ["1", "x2", "", "2;4"])
def test_factors_that_are_none_are_refused(advise, factors):
    code, _, err = advise("own<1>.npz", "--factor", factors)
    assert code == 2
    assert "whole numbers from 2 to 32" in err


def test_a_section_too_small_for_one_factor_is_told_of_the_other(advise, tmp_path):
    cube = np.random.default_rng(1).poisson(30, (1, 7, 60)).astype(np.float32)
    np.savez("strip.npz", cube=cube, mz=[400.0], pixel_size_um=40.0)
    code, _out, err = advise(
        "strip.npz", "--factor", "2,4", "--methods", "bicubic", "--json", "a.json"
    )
    assert code == 0
    assert "x4: 7 x 60 pixels are too few" in err
    facts = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert [one["factor"] for one in facts["advice"]] == [2]
    code, _, err = advise("strip.npz", "--factor", "4", "--methods", "bicubic")
    assert code != 0
    assert "too few" in err
