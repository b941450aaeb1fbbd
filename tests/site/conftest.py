"""A folder of boards: one measured, one prepared, and the site that is made of it."""

from dataclasses import replace

import pytest

from msibench.leaderboard.board import Board
from msibench.leaderboard.render import leaderboard_files
from msibench.leaderboard.rows import Collected
from msibench.library.installed import catalogue as installed
from msibench.results.index import TrackIndex
from msibench.site.build import write_site
from msibench.tracks import Entry, ProblemSet, Track, track_as_text
from tests.gate.tables import changed, rows_of

TRACK = Track(
    name="small",
    title="A small board",
    description="Made by hand.",
    problems=(ProblemSet(dataset="phantom", protocols=("area-x4@1",)),),
    entries=tuple(Entry(method=name) for name in ("bicubic", "nearest", "guide-only")),
    metrics=("psnr",),
    scheme="anchored",
)


def write_boards(folder):
    """Write a board of three methods and one that is prepared only."""
    rows = rows_of(("bicubic", "nearest", "guide-only", "gone"), metrics=("psnr",))
    rows = rows.assign(
        is_control=rows["method"] == "guide-only", dataset="phantom",
        task=rows["method"].map({"guide-only": "guided"}).fillna("single-image"),
        origin=rows["method"].map({"gone": "self-reported"}).fillna("measured"),
    )  # fmt: skip
    rows = changed(rows, 8.0, method="guide-only")
    for name in ("small", "prepared"):
        (folder / name).mkdir(parents=True)
        (folder / name / "track.toml").write_text(track_as_text(replace(TRACK, name=name)))
    board = Board(Collected(rows, {}), TRACK, TrackIndex({}, {}))
    for name, content in leaderboard_files(board).items():
        (folder / "small" / name).write_bytes(content)
    return folder


METHODS = ("bicubic", "nearest", "guide-only", "mosr", "mosr-msi-tiny", "ridge", "swinir-light")
DATASETS = ("phantom", "bladder", "deepfere-fetal-brain", "mouse-kidney")


def known():
    """What is installed; of methods and data sets a few of each kind, as every one is a page or more."""
    found = installed()
    return replace(
        found,
        methods={name: found.methods[name] for name in METHODS},
        datasets={name: found.datasets[name] for name in DATASETS},
    )


@pytest.fixture(scope="session")
def catalogue():
    return known()


@pytest.fixture(scope="session")
def boards(tmp_path_factory):
    return write_boards(tmp_path_factory.mktemp("boards") / "leaderboards")


@pytest.fixture(scope="session")
def site(boards, catalogue, tmp_path_factory):
    """The site without docs; to be read only."""
    folder = tmp_path_factory.mktemp("site") / "public"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSIBENCH_MIRROR", "")
        write_site(folder, boards, catalogue, source="https://example.org/blob/main")
    return folder
