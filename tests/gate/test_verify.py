import threading
from dataclasses import replace
from pathlib import Path

import h5py
import pandas as pd
import pytest

from msibench.errors import MSIBenchError
from msibench.gate.rerun import choose, rerun
from msibench.gate.verify import key_from, verify_cell
from msibench.gate.verify_board import facts_of_track, verify_leaderboard
from msibench.leaderboard.render import write_leaderboard
from msibench.leaderboard.rows import collect
from msibench.results.metric_rows import rows_as_parquet
from msibench.results.verification import read_verifications
from msibench.runner.options import RunOptions
from msibench.tracks import load_track
from tests.gate.tables import rows_of, saved


def flip(path, place=-20):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def board_faults(board):
    return verify_leaderboard(board.folder, board.track, board.store, board.index).faults


def test_an_untouched_cell_is_verified_by_computing_its_scores_again(board, catalogue):
    for key in board.keys.values():
        checked = verify_cell(board.store, key, catalogue.metrics)
        assert (checked.faults, checked.notes, checked.level) == ([], [], "verified")


def test_an_untouched_leaderboard_follows_from_its_cells(board):
    assert board_faults(board) == []


@pytest.mark.parametrize("name", ["record.json", "metrics.parquet", "prediction.h5", "log.txt"])
def test_a_changed_byte_of_a_cell_is_found_and_its_file_named(board, catalogue, name):
    path = board.file(name)
    if not path.is_file() or not path.stat().st_size:
        path.write_text("was not there\n")
    else:
        flip(path, path.stat().st_size // 2)
    checked = verify_cell(board.store, board.keys["bicubic"], catalogue.metrics)
    assert any(str(path) in fault for fault in checked.faults)
    assert checked.level == ""
    assert verify_cell(board.store, board.keys["nearest"], catalogue.metrics).faults == []


def test_a_changed_truth_is_found_and_named(board, catalogue):
    record = board.store.record(board.keys["bicubic"])
    path = board.store.problem_folder(record.problem_key) / "section.h5"
    flip(path)
    faults = verify_cell(board.store, record.key, catalogue.metrics).faults
    assert any(str(path) in fault for fault in faults)


@pytest.mark.parametrize("name", ["rows.parquet", "leaderboard.csv", "README.md"])
def test_a_changed_byte_of_a_leaderboard_is_found_and_its_file_named(board, name):
    flip(board.folder / name)
    assert any(str(board.folder / name) in fault for fault in board_faults(board))
    (board.folder / name).unlink()
    assert any(f"{name} is missing" in fault for fault in board_faults(board))


def test_a_score_that_was_improved_with_all_digests_made_to_fit_is_found(board, catalogue):
    record = board.store.record(board.keys["bicubic"])
    rows = board.store.metric_rows(record)
    rows.loc[(rows["metric"] == "psnr") & (rows["channel"] == 2), "value"] += 0.01
    board.store.rescore(record, rows_as_parquet(rows), dict(record.scores))
    faults = verify_cell(board.store, record.key, catalogue.metrics).faults
    assert len(faults) == 2
    assert all("psnr" in fault and "channel 2" in fault for fault in faults)


def test_a_better_value_in_the_rows_of_a_leaderboard_is_found_and_named(board):
    path = board.folder / "rows.parquet"
    rows = pd.read_parquet(path)
    rows.loc[3, "value"] += 1e-9
    path.write_bytes(rows_as_parquet(rows))
    faults = board_faults(board)
    assert any("value of" in fault and str(path) in fault for fault in faults)


def test_a_prediction_that_was_exchanged_is_found(board, catalogue):
    board.file("prediction.h5").write_bytes(board.file("prediction.h5", "nearest").read_bytes())
    faults = verify_cell(board.store, board.keys["bicubic"], catalogue.metrics).faults
    assert "prediction.h5" in faults[0]


def test_a_metric_of_a_newer_version_is_a_note_and_not_a_fault(board, catalogue):
    newer = {**catalogue.metrics, "psnr": replace(catalogue.metrics["psnr"], version=99)}
    checked = verify_cell(board.store, board.keys["bicubic"], newer)
    assert (checked.faults, checked.level) == ([], "")
    assert "scored as version 1" in checked.notes[0]


def test_what_was_shown_is_told_by_the_rows_and_lost_with_the_record(board, catalogue):
    key = board.keys["bicubic"]

    def origins():
        rows = collect(board.store, board.index).rows
        return dict(zip(rows["method"], rows["origin"], strict=True))

    assert origins() == {"bicubic": "measured", "nearest": "measured"}
    verify_cell(board.store, key, catalogue.metrics)
    assert origins() == {"bicubic": "verified", "nearest": "measured"}
    assert board_faults(board) == []  # made before: the weaker word stands
    write_leaderboard(board.store, board.track, board.folder)
    assert board_faults(board) == []
    record = board.store.record(key)
    board.store.rescore(record, board.file("metrics.parquet").read_bytes(), {})
    assert origins()["bicubic"] == "measured"
    assert board_faults(board) != []  # "verified" is more than is known now


def test_a_cell_is_reproduced_by_running_it_again(board, catalogue, small_card):
    key = board.keys["bicubic"]
    checked = rerun(board.store, key, catalogue, cards={"small": small_card})
    assert (checked.faults, checked.level) == ([], "reproduced")
    assert read_verifications(board.store)[key]["level"] == "reproduced"
    verify_cell(board.store, key, catalogue.metrics)
    assert read_verifications(board.store)[key]["level"] == "reproduced"


def test_a_second_run_that_was_cut_short_shows_nothing_and_is_no_fault(
    board, catalogue, small_card
):
    stop = threading.Event()
    stop.set()
    options = RunOptions(stop=stop)
    key = board.keys["bicubic"]
    checked = rerun(board.store, key, catalogue, cards={"small": small_card}, options=options)
    assert (checked.faults, checked.level) == ([], "")
    assert "begun and not finished" in checked.notes[-1]


def test_a_forged_prediction_is_found_by_running_it_again(board, catalogue, small_card):
    """Digests and scores all made to fit: only a second run can tell."""
    import shutil

    from msibench.metrics.specs import builtin_metrics
    from msibench.runner.scores.rescore import rescore

    key = board.keys["bicubic"]
    record = board.store.record(key)
    work = board.store.new_work(key)
    shutil.copyfile(board.file("prediction.h5"), work / "prediction.h5")
    with h5py.File(work / "prediction.h5", "r+") as file:
        file["prediction"][1, 5, 5] += 0.01
    board.store.commit(work, replace(record, files={}, scores={}))
    metrics = [spec for spec in builtin_metrics() if spec.name in {"psnr", "rmse"}]
    rescore(board.store, [key], metrics)
    assert verify_cell(board.store, key, catalogue.metrics).faults == []
    checked = rerun(board.store, key, catalogue, cards={"small": small_card})
    assert "differs from the prediction made again" in checked.faults[0]


def test_a_cell_whose_data_is_not_here_cannot_be_run_and_says_so(board, catalogue):
    checked = rerun(board.store, board.keys["bicubic"], catalogue)
    assert (checked.faults, checked.level) == ([], "")
    assert "cannot be run here" in checked.notes[0]


def test_the_same_cells_are_drawn_again():
    keys = [f"{number:064x}" for number in range(20)]
    assert choose(keys, 3) == choose(keys[::-1], 3)
    assert choose(keys, 3) != choose(keys, 3, seed=1)
    assert len(choose(keys, 99)) == 20


def test_a_cell_is_named_by_key_folder_or_record(board):
    key = board.keys["bicubic"]
    for text in (key, key[:12], str(board.file("record.json")), str(board.file("x").parent)):
        assert key_from(text, board.store) == key
    for text in ("0" * 12, "ab", ""):
        with pytest.raises(MSIBenchError):
            key_from(text, board.store)


def test_committed_files_without_a_store_are_checked_against_each_other(tmp_path, board):
    import shutil

    alone = tmp_path / "alone"
    shutil.copytree(board.folder, alone)
    checked = verify_leaderboard(alone, board.track)
    assert checked.faults == []
    assert "cells are not here" in checked.notes[0]
    flip(alone / "leaderboard.csv")
    assert "leaderboard.csv" in verify_leaderboard(alone, board.track).faults[0]
    saved(rows_of(sections=1), alone)
    assert verify_leaderboard(alone, board.track).faults


COMMITTED = sorted((Path(__file__).parents[2] / "leaderboards").glob("*/rows.parquet"))
SMALLEST = sorted(COMMITTED, key=lambda path: path.stat().st_size)[:3]


@pytest.mark.parametrize(
    "path",
    [
        # .ci/run verifies all of them by the command line, at every change
        pytest.param(path, marks=[] if path in SMALLEST else [pytest.mark.slow])
        for path in COMMITTED
    ],
    ids=lambda path: path.parent.name,
)
def test_every_committed_board_follows_from_its_rows(path, catalogue):
    """Where this fails after a change of wording: .ci/render-boards writes them anew."""
    track = load_track(str(path.parent))
    checked = verify_leaderboard(path.parent, track, track_facts=facts_of_track(track, catalogue))
    assert checked.faults == []
