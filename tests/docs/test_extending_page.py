"""Every file of docs/extending.md, written as it stands there and used as a plugin."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cli.conftest import tools

__all__ = ["tools"]

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
def msibench(tools, place, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(place))

    def call(*arguments, code=0):
        done = subprocess.run(
            [tools / "msibench", *arguments], cwd=place, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout

    return call


def test_the_page_has_every_kind_of_file():
    assert {"track.toml", "mine.toml", "msibench_mine/card.toml"} <= set(FILES)
    assert sum(name.endswith(".py") for name in FILES) == 10


@pytest.mark.parametrize(
    "name",
    [
        "learned-blur",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("blur", "tint", "stored-kernel")),
        "sure-blur",
    ],
)
def test_a_method_keeps_the_contract(name, msibench):
    assert "failed" not in msibench("check", name)


def test_the_track_runs_with_the_data_set_and_the_metric(msibench, place):
    msibench("run", "track.toml", "--results", "results")
    (found,) = (place / "results").rglob("rows.parquet")
    rows = pd.read_parquet(found)
    assert set(rows["status"]) == {"ok"}
    assert set(rows["method"]) == {"bicubic", "blur", "blur-wide", "learned-blur", "stored-kernel"}
    moved = rows[(rows["metric"] == "brightest_pixel") & (rows["region"] == "image")]
    assert moved["value"].notna().all()
    means = rows[rows["metric"] == "psnr"].groupby("method")["value"].mean()
    assert means["learned-blur"] >= means["blur-wide"]


@pytest.mark.slow
def test_a_card_of_files_is_read_from_the_folder_that_the_page_names(msibench, place, monkeypatch):
    folder = place / "mirror" / "my-kidney"
    folder.mkdir(parents=True)
    y, x = np.mgrid[:32, :40]
    image = 20 + 90 * np.exp(-((y - 14) ** 2 + (x - 18) ** 2) / 60)
    cube = np.random.default_rng(0).poisson(image, (2, 32, 40)).astype(np.float32)
    np.savez(folder / "kidney1.npz", cube=cube, mz=[741.53, 798.54])
    monkeypatch.setenv("MSIBENCH_MIRROR", str(place / "mirror"))
    track = FILES["track.toml"].replace("two-spots", "my-kidney")
    methods = track[track.index("methods") : track.index("metrics")]
    track = track.replace(methods, 'methods = ["bicubic", "sure-blur"]\n')
    (place / "kidney-track.toml").write_text(
        track.replace('"psnr",', '"psnr", "interval_coverage",')
    )
    msibench("run", "kidney-track.toml", "--results", "kidney-results")
    (found,) = (place / "kidney-results").rglob("rows.parquet")
    rows = pd.read_parquet(found)
    held = rows[rows["metric"] == "interval_coverage"].set_index("method")["value"]
    assert held["sure-blur"].between(0.3, 1).all()
    assert held["bicubic"].isna().all()


def test_the_scheme_is_read(place):
    from msibench.scoring import load_scheme

    assert load_scheme(place / "mine.toml").weights == {"psnr": 0.5, "ssim": 0.5}


def test_the_command_is_there(msibench):
    assert msibench("hello", "kidney") == "hello, kidney\n"
    assert "hello" in msibench("--help")
