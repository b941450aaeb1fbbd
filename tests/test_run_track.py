"""One function runs a track; its rows are collected once."""

import threading
from dataclasses import replace

import pytest

from msibench import MetricSpec
from msibench.errors import ConfigurationError, StoreError
from msibench.leaderboard import board as boards
from msibench.leaderboard.render import write_leaderboard
from msibench.metrics.specs import builtin_metrics
from msibench.plugin_manager.discovery import discover
from msibench.results.index import read_index
from msibench.results.store import Store
from msibench.run_track import BoardOptions, run_track
from msibench.runner.options import RunOptions
from msibench.runner.plan import make_plan
from msibench.tracks import Entry, ProblemSet, Track
from tests.specks import speck_card

OPTIONS = RunOptions(threads=1)
TRACK = Track(
    name="short",
    entries=(Entry(method="nearest"), Entry(method="bicubic")),
    problems=(ProblemSet(dataset="speck", protocols=("area-x4@1",)),),
    metrics=("psnr", "rmse"),
)


@pytest.fixture(scope="module")
def catalogue():
    return discover(builtin_metrics=builtin_metrics())


@pytest.fixture(scope="module")
def plan(catalogue):

    card = speck_card()
    return make_plan(TRACK, catalogue, cards={"speck": card})


def test_a_track_is_run_and_its_board_written_from_rows_collected_once(
    catalogue, plan, tmp_path, monkeypatch
):
    times = {"rows": 0, "table": 0}

    def counted(name, function):
        def call(*arguments, **options):
            times[name] += 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(boards, "collect", counted("rows", boards.collect))
    monkeypatch.setattr(boards, "leaderboard_table", counted("table", boards.leaderboard_table))
    events = []
    store = Store.open(tmp_path / "results")
    done = run_track(TRACK, catalogue, store, OPTIONS, plan=plan, listen=events.append)
    assert times == {"rows": 1, "table": 1}
    assert (done.counts, done.ran, done.exit_code) == ({"ok": 2}, 2, 0)
    assert done.folder == tmp_path / "results" / "leaderboards" / "short"
    names = {path.name for path in done.folder.iterdir()}
    assert names == {"README.md", "leaderboard.csv", "rows.parquet", "index.html"}
    assert done.page == done.folder / "index.html"
    assert set(done.rows["method"]) == {"nearest", "bicubic"}
    assert [event.kind for event in events].count("finished") == 2
    before = {path.name: path.read_bytes() for path in done.folder.iterdir()}
    again = run_track(TRACK, catalogue, store, OPTIONS, plan=plan)
    assert (again.ran, again.cached) == (0, 2)
    assert {path.name: path.read_bytes() for path in done.folder.iterdir()} == before


def test_a_part_of_a_track_leaves_the_board_alone(catalogue, plan, tmp_path):
    store = Store.open(tmp_path / "results")
    done = run_track(TRACK, catalogue, store, OPTIONS, plan=plan, part=plan.cells[:1])
    assert (done.counts, done.folder) == ({"ok": 1}, None)
    assert not (tmp_path / "results" / "leaderboards").exists()
    assert len(read_index(store, "short").cells) == 2


def test_a_stop_that_came_before_the_first_cell_leaves_a_store_to_go_on_with(
    catalogue, plan, tmp_path
):
    stop = threading.Event()
    stop.set()
    store = Store.open(tmp_path / "results")
    done = run_track(
        TRACK, catalogue, store, replace(OPTIONS, stop=stop), plan=plan, part=plan.cells
    )
    assert done.ran == 0
    assert run_track(TRACK, catalogue, store, OPTIONS, plan=plan).ran == 2


def test_a_scheme_may_be_chosen_by_the_rows(catalogue, plan, tmp_path):
    store = Store.open(tmp_path / "results")
    done = run_track(
        TRACK, catalogue, store, OPTIONS, plan=plan, board=BoardOptions(
            folder=tmp_path / "board", page=False, rebuild="make it so",
            choose_scheme=lambda rows: "cao2025" if len(rows) else "anchored",
        ),
    )  # fmt: skip
    text = (done.folder / "README.md").read_text(encoding="utf-8")
    assert "scheme `cao2025`" in text
    assert "make it so" in text
    assert read_index(store, "short").track_facts["track"]["scheme"] == "cao2025"
    assert (done.folder / "track.toml").is_file()


def test_a_metric_of_trust_is_shown_by_what_its_spec_says(catalogue, plan, tmp_path):
    file = tmp_path / "brightness.py"
    file.write_text(
        "import numpy as np\n"
        "from msibench import Scored\n"
        "def evaluate(evaluation):\n"
        "    values = evaluation.prediction.astype('f8').mean(axis=(1, 2))\n"
        "    return Scored(values, ('',) * len(values))\n"
    )
    asks = {
        "trust": "Is the brightness believable?",
        "cost": "How much light does it take?",
        "ceiling": "How bright can anybody be?",
    }
    specs = {
        f"brightness_{question}": MetricSpec(
            name=f"brightness_{question}", version=1, target=f"{file}:evaluate", direction="one",
            kind="contextual", each_ion_alone=True, regions=("image",), needs=frozenset({"low"}),
            label=f"brightness ({question})", question=question, explanation=asks[question],
        )
        for question in asks
    }  # fmt: skip
    more = replace(catalogue, metrics={**catalogue.metrics, **specs})
    track = replace(TRACK, name="bright", metrics=("psnr", *specs))
    store = Store.open(tmp_path / "results")
    done = run_track(track, more, store, OPTIONS, plan=replace(plan, track=track))
    readme = (done.folder / "README.md").read_text(encoding="utf-8")
    quality = next(line for line in readme.splitlines() if "| coverage" in line)
    assert "brightness" not in quality
    assert "| method | brightness (trust) → 1 |" in " ".join(readme.replace("|", " | ").split())
    assert "brightness (cost) → 1" in readme
    assert "this truth allows: brightness (ceiling) 0." in readme
    heads = (done.folder / "leaderboard.csv").read_text(encoding="utf-8").splitlines()[0]
    page = done.page.read_text(encoding="utf-8")
    for name, spec in specs.items():
        assert f"{name}.image.mean" in heads
        assert name in page
        assert spec.explanation in page
    before = (done.folder / "README.md").read_bytes()
    write_leaderboard(store, track, tmp_path / "again")  # no plugin is asked
    assert (tmp_path / "again" / "README.md").read_bytes() == before


def test_a_track_of_no_cells_is_refused(catalogue, tmp_path):
    empty = Track(name="empty", entries=(), problems=())
    with pytest.raises(ConfigurationError, match="nothing to run"):
        run_track(empty, catalogue, Store.open(tmp_path / "results"))
    with pytest.raises(StoreError, match="nothing of track"):
        boards.read_board(Store.open(tmp_path / "results"), empty)
