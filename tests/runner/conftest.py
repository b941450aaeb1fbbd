"""A track of one tiny phantom section, and a supervisor to run it."""

from pathlib import Path

import pytest

from msibench.metrics.specs import builtin_metrics
from msibench.plugin_manager.discovery import discover
from msibench.results.store import Store
from msibench.runner.options import RunOptions
from msibench.runner.plan import make_plan
from msibench.runner.supervisor import Supervisor
from msibench.tracks import Entry, Limits, ProblemSet, Track
from tests.specks import speck_card

MISBEHAVING = Path(__file__).with_name("misbehaving.py")


@pytest.fixture(scope="session")
def catalogue():
    return discover(builtin_metrics=builtin_metrics())


@pytest.fixture(scope="session")
def small_card(tmp_path_factory):
    """Two phantom sections of 48 x 56 pixels."""
    return speck_card(
        "small",
        tasks=("single-image", "guided", "cross-modality"),
        test=("synthetic-1", "synthetic-2"),
        train=("synthetic-3",),
    )


@pytest.fixture(scope="session")
def make_bench(catalogue, small_card):
    """Return a function that opens a bench in a folder, for fixtures that many tests share."""
    return lambda folder: Bench(Store.open(folder), catalogue, small_card)


@pytest.fixture
def bench(tmp_path, catalogue, small_card):
    """Return a function that runs methods of `misbehaving.py`, or any, and gives their records."""
    return Bench(Store.open(tmp_path / "results"), catalogue, small_card)


def misbehaving(name, label="", **config):
    """Return an entry of a track: a class of `misbehaving.py` (capital letter), or any method."""
    if name[0].isupper():
        return Entry(method=f"{MISBEHAVING}:{name}", label=label or name, config=config)
    return Entry(method=name, config=config)


class Bench:
    entry = staticmethod(misbehaving)

    def __init__(self, store, catalogue, card):
        self.store, self.catalogue, self.card = store, catalogue, card

    def plan(self, *methods, sections=("synthetic-1",), metrics=("psnr", "rmse"), **track_facts):
        entries = tuple(
            method if isinstance(method, Entry) else misbehaving(method) for method in methods
        )
        limits = {"timeout_s": 60.0, "grace_s": 0.5, **track_facts.pop("limits", {})}
        track = Track(
            name="tiny",
            entries=entries,
            problems=(
                ProblemSet(dataset="small", protocols=("area-x4@1",), sections=tuple(sections)),
            ),
            metrics=metrics,
            limits=Limits(**limits),
            **track_facts,
        )
        return make_plan(track, self.catalogue, cards={"small": self.card})

    def run(self, *methods, options=None, events=None, **facts):
        plan = self.plan(*methods, **facts)
        supervisor = Supervisor(self.store, self.catalogue, options or RunOptions(), events)
        summary = supervisor.run(plan)
        return summary, {cell.label: self.store.record(cell.key) for cell in plan.cells}
