"""A results folder with two measured methods on one tiny phantom section."""

import shutil

import pytest

from msibench.leaderboard.render import write_leaderboard
from msibench.results.index import read_index, update_index
from msibench.results.store import Store
from msibench.runner.track_facts import collect_track_facts, index_cells
from tests.runner.conftest import Bench, catalogue, small_card

__all__ = ["catalogue", "small_card"]


MADE = []
"""The bench of `measured`, of all folders that take the fixture from here."""


@pytest.fixture(scope="session")
def measured(tmp_path_factory, catalogue, small_card):
    """Run once for all tests; nobody writes here."""
    if not MADE:
        MADE.append(make_measured(tmp_path_factory, catalogue, small_card))
    return MADE[0]


def make_measured(tmp_path_factory, catalogue, small_card):
    bench = Bench(
        Store.open(tmp_path_factory.mktemp("measured") / "results"), catalogue, small_card
    )
    bench.run("bicubic", "nearest")
    plan = bench.plan("bicubic", "nearest")
    update_index(
        bench.store, plan.track.name, index_cells(plan.cells), collect_track_facts(plan, catalogue)
    )
    write_leaderboard(bench.store, plan.track, bench.store.root.parent / "leaderboard")
    return bench


@pytest.fixture
def board(tmp_path, measured):
    """A copy that a test may spoil: store, track, index, and the folder of its leaderboard."""
    for name in ("results", "leaderboard"):
        shutil.copytree(measured.store.root.parent / name, tmp_path / name)
    return Board(tmp_path, measured.plan("bicubic", "nearest"))


class Board:
    def __init__(self, place, plan):
        self.store, self.folder = Store.open(place / "results"), place / "leaderboard"
        self.track, self.index = plan.track, read_index(self.store, plan.track.name)
        self.keys = {cell.label: cell.key for cell in plan.cells}

    def file(self, name, method="bicubic"):
        return self.store.cell_folder(self.keys[method]) / name
