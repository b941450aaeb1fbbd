"""The composite action and the workflows: read as YAML, their shell steps really run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import tools
from tests.gate.tables import changed, rows_of, saved

__all__ = ["tools"]

yaml = pytest.importorskip("yaml", reason="PyYAML comes with pre-commit")
ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "msibench-gate" / "action.yml"
GATE = ROOT / ".github" / "workflows" / "gate.yml"


def step_of(steps, name):
    return next(step for step in steps if step.get("name") == name)


@pytest.fixture
def shell(tools, tmp_path):
    """Return a function that runs one shell step as a runner does."""

    def run(step, **variables):
        script = tmp_path / "step.sh"
        script.write_text(step["run"])
        files = {name: tmp_path / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for path in files.values():
            path.write_text("")
        environment = {
            **os.environ,
            **dict.fromkeys(step["env"], ""),
            **{name: str(value) for name, value in {**files, **variables}.items()},
            "PATH": f"{tools}:{os.environ['PATH']}",
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, {name: path.read_text() for name, path in files.items()}

    return run


def test_the_action_passes_and_fails_as_the_gate_does(shell, tmp_path):
    step = step_of(yaml.safe_load(ACTION.read_text())["runs"]["steps"], "Compare")
    rows = rows_of(channels=3, metrics=("psnr",))
    base = saved(rows, tmp_path / "base")
    worse = saved(changed(rows, -0.5, metric="psnr"), tmp_path / "worse folder")
    code, files = shell(step, GATE_BASE=base, GATE_NEW=base, GATE_OUTPUT="out")
    assert code == 0
    assert files["GITHUB_OUTPUT"] == "exit-code=0\n"
    code, files = shell(step, GATE_BASE=base, GATE_NEW=worse, GATE_OUTPUT="out")
    assert code == 4
    assert files["GITHUB_OUTPUT"] == "exit-code=4\n"
    assert "failed: quality got worse" in files["GITHUB_STEP_SUMMARY"]
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"gate.md", "gate.json", "gate.xml", "gate.bmf.json"}


def test_text_of_inputs_is_never_run(shell, tmp_path):
    step = step_of(yaml.safe_load(ACTION.read_text())["runs"]["steps"], "Compare")
    evil = '"; touch pwned; echo $(touch pwned) `touch pwned`'
    code, files = shell(step, GATE_BASE=evil, GATE_NEW=evil, GATE_TRACK=evil, GATE_OUTPUT="out")
    assert code == 2
    assert files["GITHUB_OUTPUT"] == "exit-code=2\n"
    assert not (tmp_path / "pwned").exists()


def test_the_reusable_workflow_compares_as_the_action_does(shell, tmp_path):
    steps = yaml.safe_load(GATE.read_text())["jobs"]["gate"]["steps"]
    rows = rows_of(channels=3, metrics=("psnr",))
    base = saved(rows, tmp_path / "base")
    less = saved(rows[rows["channel"] > 0], tmp_path / "less")
    facts = {"BASE": base, "TRACK": "toy", "METHODS": "net"}
    assert shell(step_of(steps, "Compare"), RESULTS=base, **facts)[0] == 0
    code, files = shell(step_of(steps, "Compare"), RESULTS=less, **facts)
    assert code == 6
    assert "of the 18 values" in files["GITHUB_STEP_SUMMARY"]


MINE = """
import numpy as np

class Mine:
    def upscale(self, problem):
        return np.nan_to_num(problem.low.values).repeat(problem.factor, 1).repeat(problem.factor, 2)
"""
TRACK = """
schema_version = 1
name = "small"
methods = ["bicubic", { method = "mine.py:Mine", label = "mine" }]
metrics = ["psnr"]
control_method = "bicubic"
[[problems]]
dataset = "phantom"
protocols = ["area-x4@1"]
sections = ["synthetic-1"]
"""
FEW = "mz = [417.2402, 703.5748]\n"
"""Enough where nothing has to be judged."""


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        ("", {0}),
        pytest.param("return 0.9 * np", {4}, marks=pytest.mark.slow),
        pytest.param("raise RuntimeError('lost'); return np", {4, 6}, marks=pytest.mark.slow),
    ],
    ids=["same", "worse", "broken"],
)
def test_the_reusable_workflow_in_a_scratch_repository(shell, tmp_path, change, codes):
    steps = yaml.safe_load(GATE.read_text())["jobs"]["gate"]["steps"]
    run, compare = step_of(steps, "Run"), step_of(steps, "Compare")

    def git(*words):
        identity = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    board = tmp_path / "leaderboards" / "small"
    board.mkdir(parents=True)
    (board / "track.toml").write_text(TRACK if change else TRACK + FEW)
    (tmp_path / "mine.py").write_text(MINE)
    facts = {"TRACK": "small", "SEEDS": "0,1"}
    code, _ = shell(run, RESULTS=tmp_path / "first", **facts)
    assert code == 0
    (rows,) = (tmp_path / "first").rglob("rows.parquet")
    (board / "rows.parquet").write_bytes(rows.read_bytes())
    git("add", "leaderboards", "mine.py")
    git("commit", "-qm", "the board that later ones are held against")

    base = {"BASE": "main:leaderboards/small", "TRACK": "small"}
    assert shell(compare, RESULTS=tmp_path / "first", **base)[0] == 0
    if not change:
        return

    (tmp_path / "mine.py").write_text(MINE.replace("return np", change))
    assert shell(run, RESULTS=tmp_path / "second", **facts)[0] == 0, "the comparison still runs"
    code, files = shell(compare, RESULTS=tmp_path / "second", **base)
    assert code in codes
    assert "mine" in files["GITHUB_STEP_SUMMARY"]


@pytest.mark.parametrize("twice", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_workflow_of_a_new_method_in_a_scratch_repository(shell, tmp_path, monkeypatch, twice):
    """The first run has no base and says so; the second is compared with what the first one left."""
    from click.testing import CliRunner

    from msibench.cli.main import cli

    made = CliRunner().invoke(cli, ["new", "method", "soft-focus", "--into", str(tmp_path)])
    assert made.exit_code == 0, made.output
    folder = tmp_path / "soft-focus"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(folder)], check=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    text = (folder / ".github" / "workflows" / "gate.yml").read_text()
    steps = yaml.safe_load(text)["jobs"]["gate"]["steps"]
    assert not [step["run"] for step in steps if "${{" in step.get("run", "")]
    for step in steps:
        step.setdefault("env", {})
    assert shell(step_of(steps, "Check"))[0] == 0

    def git(*words):
        identity = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    git("commit", "-q", "--allow-empty", "-m", "nothing yet")
    git("update-ref", "refs/remotes/origin/main", "main")
    facts = {"GITHUB_BASE_REF": "main", "BOARD": "leaderboards/phantom"}
    code, files = shell(step_of(steps, "Compare"), **facts)
    assert code == 0
    assert "commit it" in files["GITHUB_STEP_SUMMARY"]
    if not twice:
        return
    run = step_of(steps, "Run")
    for long, short in (
        (" --seed 2 --seed 3 --seed 4 --seed 5 --seed 6", ""),
        ("run phantom", "run phantom --metrics psnr"),
    ):
        assert long in run["run"]
        run["run"] = run["run"].replace(long, short)
    assert shell(run)[0] == 0
    board = tmp_path / "leaderboards" / "phantom"
    board.mkdir(parents=True)
    rows = tmp_path / "results" / "leaderboards" / "phantom" / "rows.parquet"
    (board / "rows.parquet").write_bytes(rows.read_bytes())
    git("add", "leaderboards")
    git("commit", "-qm", "the base")
    git("update-ref", "refs/remotes/origin/main", "main")
    code, files = shell(step_of(steps, "Compare"), **facts)
    assert code == 0, files["GITHUB_STEP_SUMMARY"]
    assert "→" in files["GITHUB_STEP_SUMMARY"] or "passed" in files["GITHUB_STEP_SUMMARY"]


def test_no_step_puts_an_expression_into_its_script():
    for path in (ROOT / ".github").rglob("*.yml"):
        found = yaml.safe_load(path.read_text())
        jobs = found["jobs"].values() if "jobs" in found else [found["runs"]]
        scripts = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
        assert scripts
        assert not [script for script in scripts if "${{" in script]


def test_ci_runs_what_everybody_runs():
    found = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    runs = [step.get("run") for step in found["jobs"]["all"]["steps"]]
    assert ".ci/run" in runs
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_ci_leaves_out_no_test_but_the_one_that_its_gates_are():
    """They verify every committed board by the command line, which that test does by a function."""
    script = (ROOT / ".ci" / "run").read_text()
    left_out = re.findall(r"--deselect (\S+)", script)
    assert left_out == [
        "tests/gate/test_verify.py::test_every_committed_board_follows_from_its_rows"
    ]
    path, _, name = left_out[0].partition("::")
    assert f"def {name}(" in (ROOT / path).read_text()
    assert "msibench verify $(dirname leaderboards/*/rows.parquet)\n" in script


def test_every_slow_test_runs_at_night():
    """One job has the whole suite; what it leaves to others is run by them, slow tests included."""
    found = yaml.safe_load((ROOT / ".github" / "workflows" / "nightly.yml").read_text())
    commands = [
        step["run"]
        for job in found["jobs"].values()
        for step in job["steps"]
        if step.get("run", "").startswith("MSIBENCH_SLOW_TESTS=1")
    ]
    (whole,) = [command for command in commands if "--ignore" in command]
    words = [word for word in whole.split() if not word.startswith("--ignore=")]
    assert words == ["MSIBENCH_SLOW_TESTS=1", "pytest", "-n", "4", "-q"]
    for folder in re.findall(r"--ignore=(\S+)", whole):
        assert any(
            re.search(rf"pytest [^&]*{folder}\b", command)
            for command in commands
            if command != whole
        )
