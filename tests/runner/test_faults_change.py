"""What changes under a run, its code, its data, its folder, never ends up under the wrong key."""

import os
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from msibench.contracts.method import MethodSpec, Task
from msibench.datasets import card_from_table
from msibench.errors import IntegrityError
from msibench.results.keys import changed_code, code_digests, difference, package_digests
from msibench.results.schema import Status
from msibench.results.store import METRICS, PREDICTION, Store
from msibench.runner.child.sandbox.command import NONE
from msibench.runner.options import RunOptions
from msibench.runner.own_section import card_for_files
from msibench.runner.plan import make_plan
from msibench.runner.problems import staged_files
from msibench.runner.supervisor import Supervisor
from msibench.tracks import Entry, Limits, ProblemSet, Track

METHOD = """
import pathlib, time
class Grows:
    def upscale(self, problem):
        {body}
        return problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2) * {scale}
"""


@pytest.fixture
def upgradable(tmp_path, bench, monkeypatch):
    """A method in a package of its own that a test may rewrite; returns (file, spec, plan)."""
    package = tmp_path / "site" / "upgradable_plugin"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    source = package / "method.py"
    source.write_text(METHOD.format(body="pass", scale=1))
    (package / "late.py").write_text("VALUE = 1\n")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.syspath_prepend(str(package.parent))
    spec = MethodSpec(
        name="grows", target="upgradable_plugin.method:Grows", task=Task.SINGLE_IMAGE,
        citation="none", licence="none",
    )  # fmt: skip
    catalogue = replace(bench.catalogue, methods={**bench.catalogue.methods, "grows": spec})
    bench.catalogue = catalogue
    package_digests.cache_clear()
    yield source
    package_digests.cache_clear()
    sys.modules.pop("upgradable_plugin", None)


def carry_out(bench, plan, **options):
    events = []
    supervisor = Supervisor(bench.store, bench.catalogue, RunOptions(**options), events.append)
    return supervisor.run(plan), [event for event in events if event.kind == "dropped"]


UPGRADES = {
    "an upgrade": METHOD.format(body="pass", scale=2),
    "an upgrade that fails": METHOD.format(body="raise ValueError('new')", scale=1),
    "an upgrade that crashes": METHOD.format(body="import os; os.abort()", scale=1),
    "an upgrade that does not parse": "def broken(:",
}


@pytest.mark.parametrize(
    "upgrade",
    [
        pytest.param(name, marks=[] if name == "an upgrade" else pytest.mark.slow)
        for name in sorted(UPGRADES)
    ],
)
def test_a_plugin_that_is_upgraded_after_planning_is_not_recorded_under_the_old_key(
    bench, upgradable, upgrade
):
    others = ["Sound"] if upgrade == "an upgrade" else []
    plan = bench.plan("grows", *others)
    upgradable.write_text(UPGRADES[upgrade])
    summary, dropped = carry_out(bench, plan)
    old = plan.cells[0]
    assert summary.changed == [old.key]
    assert summary.counts == {"cancelled": 1, **dict.fromkeys(["ok"] if others else [], 1)}
    assert not bench.store.has(old.key)
    assert "upgradable_plugin/method.py" in dropped[0].reason
    assert "run again" in dropped[0].reason
    assert not list((bench.store.root / "work").iterdir())
    package_digests.cache_clear()
    (new,) = bench.plan("grows").cells
    assert new.key != old.key
    assert any("method.py" in line for line in difference(old.document, new.document))


def test_a_plugin_that_is_upgraded_while_its_cell_runs_is_noticed(bench, upgradable):
    rewrite = f"pathlib.Path({str(upgradable.parent / 'late.py')!r}).write_text('VALUE = 2')"
    upgradable.write_text(METHOD.format(body=rewrite, scale=1))
    plan = bench.plan("grows")
    summary, dropped = carry_out(bench, plan, sandbox=NONE)  # in one it could not write there
    assert summary.changed == [plan.cells[0].key]
    assert "upgradable_plugin/late.py" in dropped[0].reason
    assert not list(bench.store.keys())


def test_files_that_were_only_touched_have_not_changed(upgradable):
    digests = code_digests("upgradable_plugin.method:Grows")
    os.utime(upgradable, (1, 1))
    assert changed_code("upgradable_plugin.method:Grows", digests) == []
    upgradable.unlink()
    assert changed_code("upgradable_plugin.method:Grows", digests) == [
        "upgradable_plugin/method.py"
    ]


def test_no_shipped_method_looks_changed(catalogue):
    for spec in catalogue.methods.values():
        assert changed_code(spec.target, code_digests(spec.target)) == [], spec.name


# -- data --------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path):
    """A section of one's own in a file, and a function that plans a track on it as it is now."""
    path = tmp_path / "mine.npz"

    def write(seed):
        cube = np.random.default_rng(seed).random((3, 24, 28), dtype=np.float32)
        np.savez(path, cube=cube, mz=np.array([300.0, 400.0, 500.0]))

    write(1)
    return path, write


def plan_own(bench, path):
    card = card_for_files([path], pixel_size_um=10.0)
    track = Track(
        name="own",
        entries=(Entry(method="nearest"),),
        problems=(ProblemSet(dataset=card.name, protocols=("area-x4@1",)),),
        metrics=("psnr",),
        limits=Limits(timeout_s=60.0, grace_s=0.5),
    )
    return make_plan(track, bench.catalogue, cards={card.name: card})


def test_data_that_change_between_plan_and_stage_are_not_used(bench, own):
    path, write = own
    plan = plan_own(bench, path)
    write(2)
    summary, dropped = carry_out(bench, plan)
    assert summary.changed == [plan.cells[0].key]
    assert str(path) in dropped[0].reason
    assert not list(bench.store.keys())
    assert carry_out(bench, plan_own(bench, path))[0].counts == {"ok": 1}


def test_a_cell_of_changed_data_is_not_served_and_status_says_why(bench, own):
    from msibench.cli.status import _state

    path, write = own
    old = plan_own(bench, path)
    carry_out(bench, old)
    write(2)
    (new,) = plan_own(bench, path).cells
    assert not bench.store.has(new.key)
    row = _state(bench.store, new, {str(new.identity): old.cells[0].key}, True)
    assert row["state"] == "stale"
    assert any('"data"' in line for line in row["lines"])
    summary, _ = carry_out(bench, plan_own(bench, path))
    assert (summary.ran, summary.cached) == (1, 0)


def test_a_reader_or_a_binary_part_that_changed_is_noticed(tmp_path, bench):
    reader = tmp_path / "plugin" / "reader.py"
    reader.parent.mkdir()
    reader.write_text("def read(card, section, mz_set): ...\n")
    card = card_from_table(
        {"schema_version": 1, "name": "r", "title": "r", "sections": {"test": ["a"]},
         "pixel_size_um": 1.0},
        folder=reader.parent, reader=f"{reader}:read",
    )  # fmt: skip
    track = Track(name="t", entries=(Entry(method="nearest"),), metrics=("psnr",),
                  problems=(ProblemSet(dataset="r", protocols=("area-x4@1",)),))  # fmt: skip
    problem = make_plan(track, bench.catalogue, cards={"r": card}).cells[0].problem
    staged_files.check_data(problem)
    reader.write_text("def read(card, section, mz_set): return None\n")
    with pytest.raises(IntegrityError, match="changed since the run was planned"):
        staged_files.check_data(problem)


def test_a_results_folder_that_is_named_by_a_relative_path_can_be_left(
    make_bench, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    bench = make_bench(tmp_path / "here")
    bench.store = Store.open(bench.store.root.relative_to(tmp_path))
    assert bench.run("Sound")[0].counts == {"ok": 1}


# -- many damaged cells at once ----------------------------------------------------------------

DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "removed": lambda path: path.unlink(),
    "other": lambda path: path.write_bytes(b"{}"),
}


def test_damaged_cells_are_set_aside_and_made_again_with_the_same_bytes(bench):
    chosen = [
        ("record.json", "truncated"), ("record.json", "removed"), ("record.json", "other"),
        (METRICS, "empty"), (METRICS, "removed"), (PREDICTION, "truncated"), (PREDICTION, "empty"),
    ]  # fmt: skip
    entries = [bench.entry("Sound", f"{name} {how}") for name, how in chosen]
    entries.append(bench.entry("Sound", "untouched"))
    options = RunOptions(jobs=4, threads=1)
    _, before = bench.run(*entries, options=options)
    for name, how in chosen:
        DAMAGES[how](bench.store.cell_folder(before[f"{name} {how}"].key) / name)
    summary, after = bench.run(*entries, options=options)
    assert summary.counts == {"ok": len(entries)}
    assert summary.cached == 1
    noticed = len(chosen) - 1  # without its record a folder is not a cell: it is run, not set aside
    assert len(summary.set_aside) == noticed
    assert len(list((bench.store.root / "set-aside").iterdir())) == noticed
    for label, record in after.items():
        assert record.status is Status.OK
        assert record.files == before[label].files
        bench.store.check_files(record)


@pytest.mark.parametrize("how", sorted(DAMAGES))
@pytest.mark.parametrize("name", ["problem.h5", "section.h5"])
def test_damaged_problems_are_set_aside_and_staged_again_with_the_same_bytes(bench, name, how):
    _, records = bench.run("Sound")
    folder = bench.store.problem_folder(records["Sound"].problem_key)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    DAMAGES[how](folder / name)
    notes = []
    summary, _ = bench.run("Sound", events=notes.append)
    assert summary.cached == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert any(str(folder / name) in note.reason for note in notes if note.kind == "note")


# -- clocks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [-10 * 86_400.0, 10 * 86_400.0])
def test_timings_do_not_follow_a_clock_that_jumps(bench, monkeypatch, jump):
    real, start = time.time, time.time()
    monkeypatch.setattr(time, "time", lambda: real() + (jump if real() > start + 0.3 else 0.0))
    _, records = bench.run("Sound", limits={"timeout_s": 50.0})
    assert records["Sound"].status is Status.OK
    assert 0 < records["Sound"].timings["wall"] < 50
    assert all(value >= 0 for value in records["Sound"].timings.values())
