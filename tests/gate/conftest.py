"""A results folder with two measured methods on one tiny phantom section."""

import shutil

import pytest

from msibench.leaderboard.render import write_leaderboard
from msibench.results.index import update_index
from msibench.results.store import Store
from msibench.runner.facts import index_cells, track_facts
from tests.runner.conftest import Bench, catalogue, small_card

__all__ = ["catalogue", "small_card"]


@pytest.fixture(scope="session")
def measured(tmp_path_factory, catalogue, small_card):
    """Run once for all tests; nobody writes here."""
    bench = Bench(
        Store.open(tmp_path_factory.mktemp("measured") / "results"), catalogue, small_card
    )
    bench.run("bicubic", "nearest")
    return bench


@pytest.fixture
def board(tmp_path, measured, catalogue, small_card):
    """A copy that a test may spoil: store, track, index, and the folder of its leaderboard."""
    root = tmp_path / "results"
    shutil.copytree(measured.store.root, root)
    return Board(Store.open(root), measured.plan("bicubic", "nearest"), catalogue, tmp_path)


class Board:
    def __init__(self, store, plan, catalogue, place):
        self.store, self.track, self.folder = store, plan.track, place / "leaderboard"
        self.keys = {cell.label: cell.key for cell in plan.cells}
        facts = track_facts(plan, catalogue)
        self.index = update_index(store, plan.track.name, index_cells(plan.cells), facts)
        write_leaderboard(store, plan.track, self.folder)

    def file(self, name, method="bicubic"):
        return self.store.cell_folder(self.keys[method]) / name
