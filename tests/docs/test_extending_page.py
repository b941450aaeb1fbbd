"""Every file of docs/extending.md, written as it stands there and used as a plugin."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
FILES = dict(
    re.findall(
        r'```\w+ title="([^"]+)"\n(.*?)```',
        (ROOT / "docs" / "extending.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Write the files, and what an installer would add: the entry points."""
    folder = tmp_path_factory.mktemp("mine")
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    kernel = np.full((3, 3), 1 / 9, dtype=np.float32)
    np.savez(folder / "msibench_mine" / "kernel.npz", kernel=kernel)
    installed = folder / "msibench_mine-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: msibench-mine\nVersion: 0.1.0\n"
    )
    (installed / "entry_points.txt").write_text(
        "[msibench]\nmine = msibench_mine\nmore = msibench_more\n"
    )
    return folder


@pytest.fixture
def msibench(place, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(place))

    def call(*arguments, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "msibench.cli.main", *arguments],
            cwd=place, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout

    return call


def test_the_page_has_every_kind_of_file():
    assert {"track.toml", "mine.toml", "msibench_mine/card.toml"} <= set(FILES)
    assert sum(name.endswith(".py") for name in FILES) == 9


@pytest.mark.parametrize("name", ["blur", "tint", "learned-blur", "stored-kernel"])
def test_a_method_keeps_the_contract(name, msibench):
    assert "failed" not in msibench("check", name)


def test_the_track_runs_with_the_data_set_and_the_metric(msibench, place):
    msibench("run", "track.toml", "--results", "results")
    (found,) = place.rglob("rows.parquet")
    rows = pd.read_parquet(found)
    assert set(rows["status"]) == {"ok"}
    assert set(rows["method"]) == {"bicubic", "blur", "blur-wide", "learned-blur", "stored-kernel"}
    moved = rows[(rows["metric"] == "brightest_pixel") & (rows["region"] == "image")]
    assert moved["value"].notna().all()
    means = rows[rows["metric"] == "psnr"].groupby("method")["value"].mean()
    assert means["learned-blur"] >= means["blur-wide"]


def test_the_scheme_is_read(place):
    from msibench.scoring import load_scheme

    assert load_scheme(place / "mine.toml").weights == {"psnr": 0.5, "ssim": 0.5}


def test_the_command_is_there(msibench):
    assert msibench("hello", "kidney") == "hello, kidney\n"
    assert "hello" in msibench("--help")
