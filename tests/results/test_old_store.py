"""A results folder of msibench 0.1.0 is read, verified, scored and shown; no value of it changes.

``store_of_0_1_0.zip`` was written by that version: one small section of three ion images (a pixel not
measured, a tissue mask), two protocols, two methods; ``section.h5`` beside it is the measurement.
"""

import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from msibench.cli.main import main
from msibench.degradation import protocol
from msibench.gate.verify import VERIFIED, verify_cell
from msibench.gate.verify_board import row_differences, verify_leaderboard
from msibench.leaderboard.board import read_board
from msibench.leaderboard.page import write_page
from msibench.leaderboard.render import write_leaderboard
from msibench.library.installed import catalogue
from msibench.metrics.specs import builtin_metrics
from msibench.results.files import sha256_of
from msibench.results.index import read_index
from msibench.results.problems import SECTION, load_staged
from msibench.results.schema import Status
from msibench.results.store import Store
from msibench.runner.own_section import card_for_files, own_card
from msibench.runner.own_track import own_track
from msibench.runner.problem_plan import plan_problem
from msibench.runner.problems.stage import stage
from msibench.runner.scores.rescore import rescore
from msibench.tracks import Own, board_file, load_track, track_as_text

METRICS = {spec.name: spec for spec in builtin_metrics()}
PROTOCOLS = ("area-poisson-x2@1", "area-x4@1")


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The folder that holds ``results`` and ``section.h5``."""
    folder = tmp_path_factory.mktemp("old")
    with zipfile.ZipFile(Path(__file__).with_name("store_of_0_1_0.zip")) as packed:
        packed.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def store(old):
    return Store.open(old / "results", create=False)


@pytest.fixture(scope="module")
def track(old):
    return load_track(str(old / "results" / "leaderboards" / "section"))


def unchanged(store):
    """The metrics whose version is still that of the stored rows."""
    record = store.record(next(iter(read_index(store, "section").cells.values())))
    versions = store.metric_rows(record).groupby("metric")["metric_version"].first()
    found = [METRICS[name] for name in versions.index if name in METRICS]
    return [spec for spec in found if versions[spec.name] == spec.version]


def test_every_cell_is_read_and_its_scores_are_computed_again_to_the_same_values(store):
    keys = read_index(store, "section").cells.values()
    assert len(keys) == 4
    assert len(unchanged(store)) >= 4
    for key in keys:
        checked = verify_cell(store, key, METRICS)
        assert checked.faults == []
        assert checked.level == VERIFIED or all("scored as version" in n for n in checked.notes)


def test_nothing_is_scored_anew(store):
    keys = list(read_index(store, "section").cells.values())
    done = rescore(store, keys, unchanged(store))
    assert (done.cells, done.computed, done.damaged) == (4, 0, {})


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_problem_is_staged_to_the_bytes_of_then(old, store, tmp_path, name):
    card = card_for_files([old / "section.h5"])
    plan = plan_problem(card, card.test[0], protocol(name), card.mz_set(card.default_mz_set))
    made = stage(plan, Store.open(tmp_path / "results"))
    records = [store.record(key) for key in read_index(store, "section").cells.values()]
    before = {store.problem_folder(r.problem_key) for r in records if r.protocol == name}
    assert len(before) == 1
    for file in (SECTION, "problem.h5"):
        assert sha256_of(made / file) == sha256_of(next(iter(before)) / file)
    assert {r.truth_digest for r in records if r.protocol == name} == {load_staged(made).digest}


def test_its_board_has_the_rows_of_then_and_is_shown(old, store, track, tmp_path):
    board = read_board(store, track)
    checked = verify_leaderboard(track.folder, track, store, board.index)
    assert not [fault for fault in checked.faults if "rows.parquet" in fault]
    assert {record.status for record in board.collected.records} == {Status.OK}
    write_leaderboard(store, track, tmp_path, board=board)
    page = write_page(store, track, tmp_path, board=board)
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "PSNR (dB)" in readme
    assert "consistency ↓" in readme
    assert "m/z 400.2500" in page.read_text(encoding="utf-8")
    again = read_board(store, track)
    assert row_differences(board.rows, again.rows) == []


def test_what_became_of_its_keys_is_named_line_by_line(old, tmp_path, capsys):
    """Keys cover the code that a method reaches, which is other code now: the cells are stale, not lost."""
    results = tmp_path / "results"
    shutil.copytree(old / "results", results)
    own = Own(data=(str(old / "section.h5"),))
    track, known = own_track(own, own_card(own, catalogue()), PROTOCOLS), Store.open(results)
    assert track.name == "section"
    file = board_file(known.root, track.name)  # as `msibench run --data section.h5` leaves it
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(track_as_text(track), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["status", "section", "--why-stale", "--methods", "bicubic,nearest", "--json",
              "--results", str(results)])  # fmt: skip
    assert ended.value.code == 0
    cells = {row["cell"]: row for row in json.loads(capsys.readouterr().out)}
    assert len(cells) == 4
    for cell in cells.values():
        assert cell["state"] == "stale"
        names = {
            match[1] for line in cell["lines"] if (match := re.match(r'[-+] +"([^"]+)":', line))
        }
        assert {name for name in names if name.endswith(".py")}  # code, by file
        # data, m/z values, protocol and seed are those of then
        assert not names & {"data", "mz", "ppm", "section", "dataset", "seed", "device", "factor"}
