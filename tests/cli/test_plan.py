"""``msibench plan``, and the parts of a run that its scripts are made of."""

import json
import subprocess

import pytest
from click.testing import CliRunner

from msibench.cli.plan import command as plan_command
from msibench.cli.run import command as run_command
from msibench.plugin_manager import installed
from msibench.results.queue import TICKET, queue_folder
from msibench.results.schema import Status
from msibench.results.store import Store
from msibench.runner.plan import Filters, make_plan
from msibench.tracks import ProblemSet, Track

CHOSEN = [
    "quickstart", "--methods", "nearest,bicubic", "--sections", "synthetic-1", "--metrics", "psnr",
]  # fmt: skip


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


def plan(results, *more):
    return CliRunner().invoke(plan_command, [*CHOSEN, "--results", str(results), *more])


def facts(results, *more):
    done = plan(results, "--json", *more)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def run(results, *more):
    return CliRunner().invoke(
        run_command, [*CHOSEN, "--results", str(results), *more], standalone_mode=False
    )


def test_before_the_first_run_all_is_to_do_and_nothing_is_made(results):
    found = facts(results)
    assert (found["total"]["run"], found["total"]["stored"]) == (2, 0)
    assert {cell["time_from"] for cell in found["cells"]} == {"measured on sections of this size"}
    assert 2 <= found["total"]["seconds"] < 10
    assert not results.exists()
    assert "≈" in plan(results).stdout


def test_times_follow_the_committed_boards_where_there_are_any(results):
    cells = json.loads(
        CliRunner()
        .invoke(plan_command, ["bladder-fusion-x4", "--results", str(results), "--json"])
        .stdout
    )["cells"]
    seconds = {cell["method"]: cell["seconds"] for cell in cells if cell["control"] == ""}
    sources = {cell["method"]: cell["time_from"] for cell in cells}
    assert sources["ridge"] == "shipped boards"
    assert 0 < seconds["ridge"] - 2 < 10  # 8 ion images of a hundredth of a second
    assert 20 < seconds["lcrn-quick"] < 900  # 8 ion images of about 10 s


def test_methods_that_were_not_asked_for_are_not_explained(results):
    assert "left out" not in plan(results).output
    whole = ["quickstart", "--results", str(results)]
    assert "left out" in CliRunner().invoke(plan_command, whole).output


FOUR = "mosr-msi-tiny"
"""A method with weights that are installed; it makes grids four times finer, and no others."""


def planned(protocols, **filters):
    asked = ProblemSet(dataset="phantom", protocols=protocols, sections=("synthetic-1",))
    track = Track(name="two", problems=(asked,), metrics=("psnr",))
    return make_plan(track, installed(), filters=Filters(**filters))


def test_methods_that_do_no_factor_of_the_track_run_only_where_they_are_named():
    whole, named = planned(("area-x2@1",)), planned(("area-x2@1",), methods=("mosr-msi*",))
    assert FOUR not in {cell.label for cell in whole.cells}
    assert f"{FOUR}: left out, does factor 4; the track asks for 2" in whole.notes
    assert [cell.label for cell in named.cells] == [FOUR]
    assert named.cells[0].verdict is Status.NOT_APPLICABLE


def test_a_method_that_does_one_of_a_tracks_factors_takes_part():
    seen = {
        (cell.label, cell.problem.protocol.factor): cell.verdict
        for cell in planned(("area-x2@1", "area-x4@1")).cells
    }
    assert seen[FOUR, 4] is None
    assert seen[FOUR, 2] is Status.NOT_APPLICABLE


def test_a_method_that_was_named_runs_beside_those_that_were_listed(results, tmp_path):
    (tmp_path / "mine.py").write_text(
        "class Mine:\n    def upscale(self, problem):\n        return problem.low.values\n", "utf-8"
    )
    cells = facts(results, "--method", f"{tmp_path / 'mine.py'}:Mine")["cells"]
    assert {cell["method"] for cell in cells} == {"nearest", "bicubic", "mine"}


def test_what_is_stored_is_told_and_its_time_is_used_for_the_others(results):
    assert run(results, "--shard", "1/2").return_value == 0
    found = facts(results, "--seed", "0", "--seed", "1")
    assert (found["total"]["run"], found["total"]["stored"]) == (3, 1)
    stored = next(cell for cell in found["cells"] if cell["what"] == "stored")
    same = [c for c in found["cells"] if c["method"] == stored["method"] and c["what"] == "run"]
    assert {cell["time_from"] for cell in same} == {"stored cells"}
    assert 0 < same[0]["seconds"] < 60
    assert stored["seconds"] == 0


def test_parts_of_a_run_make_the_whole_and_write_no_leaderboard(results):
    keys = [cell["key"] for cell in facts(results)["cells"]]
    one = run(results, "--shard", "1/2")
    assert json.loads(run(results, "--cells", keys[1][:20], "--json").stdout)["ran"] == 1
    assert one.return_value == 0
    assert set(Store.open(results).keys()) == set(keys)
    assert not (results / "leaderboards").exists()
    assert facts(results)["total"]["run"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shard", "1/2", "--cells", "ab"], "give one"),
        (["--machine", "m.toml"], "--executor slurm"),
        (["--executor", "slurn"], "unknown executor 'slurn'"),
    ],
)
def test_what_does_not_go_together_is_refused(results, arguments, said):
    done = run(results, *arguments)
    assert said in str(done.exception)


def test_scripts_are_written_into_a_folder_and_old_ones_go(results, tmp_path):
    out = tmp_path / "scripts"
    out.mkdir()
    (out / "cells-009.sbatch").write_text("of an earlier plan")
    done = plan(results, "--sbatch", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == [
        "cells-001.sbatch", "finish.sbatch", "submit.sh",
    ]  # fmt: skip
    assert str(results) in (out / "cells-001.sbatch").read_text()
    for script in out.iterdir():
        subprocess.run(["bash", "-n", script], check=True)
    assert plan(results, "--sbatch").stdout.count("#SBATCH --array") == 1


@pytest.mark.parametrize(
    "arguments",
    [["--out", "x"], ["--machine", "x"], ["--sbatch", "--json"], ["--sbatch", "--data", "x"]],
)
def test_options_that_mean_nothing_are_refused(results, arguments):
    assert plan(results, *arguments).exit_code == 2


def test_a_cell_in_slurms_queue_is_shown_as_such(results):
    cell = facts(results)["cells"][0]
    folder = queue_folder(Store.open(results), cell["key"])
    folder.mkdir(parents=True)
    ticket = {"key": cell["key"], "batch": "b", "task": "12_3", "place": 3, "tries": 0}
    (folder / TICKET).write_text(json.dumps(ticket))
    found = facts(results)["cells"][0]
    assert (found["what"], found["reason"]) == ("elsewhere", "in SLURM's queue as 12_3")


def test_status_tells_how_cells_stand_in_the_queue(results):
    from msibench.cli.status import command

    found = facts(results)["cells"]
    folder = queue_folder(Store.open(results), found[0]["key"])
    folder.mkdir(parents=True)
    ticket = {"key": found[0]["key"], "batch": "b", "task": "", "place": 3, "tries": 0}
    (folder / TICKET).write_text(json.dumps(ticket))
    done = CliRunner().invoke(
        command, ["quickstart", "--queue", "--json", "--results", str(results)]
    )
    assert [row["state"] for row in json.loads(done.stdout)] == ["submitted"]
