"""Committed boards that grow: rows of one's own store beside rows that stay as they are."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from string import Template

import pandas as pd
import pytest
from click.testing import CliRunner

from msibench.cli.main import cli
from msibench.errors import ConfigurationError, DataError, IntegrityError, MissingDataError
from msibench.gate.grow import grown_board
from msibench.gate.published_bundle import published_bundle
from msibench.gate.verify_board import facts_of_track, measured_elsewhere, verify_leaderboard
from msibench.leaderboard.page import write_page
from msibench.leaderboard.perfect import REFERENCE
from msibench.leaderboard.render import write_leaderboard
from msibench.results.files import sha256_of
from msibench.results.index import read_index
from msibench.results.metric_rows import rows_as_parquet
from msibench.results.store import Store
from msibench.tracks import load_track

TRACK = """
schema_version = 1
name = "small"
methods = ["bicubic", "nearest"]
metrics = ["skill", "psnr"]
control_method = "bicubic"
[[problems]]
dataset = "phantom"
protocols = ["area-x4@1"]
sections = ["synthetic-1"]
mz = [417.2402, 703.5748]
"""
MINE = """
import numpy as np

class Mine:
    def upscale(self, problem):
        low = np.nan_to_num(problem.low.values)
        return 0.9 * low.repeat(problem.factor, 1).repeat(problem.factor, 2)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A committed board of two methods, and another store in which a third one was run."""
    root = tmp_path_factory.mktemp("grow")
    board = root / "leaderboards" / "small"
    board.mkdir(parents=True)
    (board / "track.toml").write_text(TRACK)
    (root / "mine.py").write_text(MINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for words in (
            ["run", "small", "--results", "theirs", "--publish"],
            ["run", "small", "--results", "mine", "--method", "mine.py:Mine"],
        ):
            done = CliRunner().invoke(cli, words)
            assert done.exit_code == 0, done.output
    return root


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    """A copy that a test may spoil."""
    shutil.copytree(place, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def msibench(*words, code=0):
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def methods_of(board):
    """The table without the lines below it: perfect signal, and the control."""
    table = pd.read_csv(board / "leaderboard.csv")
    return table[table["task"] != REFERENCE].reset_index(drop=True)


def test_a_method_of_ones_own_joins_and_nobody_elses_score_changes(here):
    committed = here / "leaderboards" / "small"
    before = pd.read_parquet(committed / "rows.parquet")
    table = methods_of(committed)
    said = msibench("leaderboard", "small", "--base", committed, "--results", "mine", "--publish")
    assert "No score of the board's own scheme changed" in said
    rows = pd.read_parquet(committed / "rows.parquet")
    kept = rows[rows["method"].isin(before["method"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, before)
    grown = methods_of(committed)
    assert set(grown["method"]) == {"bicubic", "nearest", "mine"}
    both = table.merge(grown, on="method")
    assert list(both["composite_x"]) == list(both["composite_y"])
    assert grown.loc[grown["method"] == "mine", "seconds_per_image"].isna().all()
    for results in ("mine", "theirs"):
        assert "0 faults" in msibench("verify", "small", "--results", results)


def test_two_runs_that_meet_in_the_memory_of_a_small_cell_are_two_runs(here):
    rows = pd.read_parquet(here / "leaderboards" / "small" / "rows.parquet")
    made = rows.assign(
        seconds_per_image=rows["seconds_per_image"] * 1.1,
        rss_mib=rows["rss_mib"] + (rows["cell"] == rows["cell"].iloc[0]),
    )
    assert measured_elsewhere(rows, made) == set(rows["cell"])
    assert measured_elsewhere(rows, rows) == set()
    # one figure alone is no other run: whoever edits it is found
    assert measured_elsewhere(rows, rows.assign(seconds_per_image=1e-9)) == set()


def test_a_changed_value_of_a_grown_board_is_found(here, catalogue):
    committed = here / "leaderboards" / "small"
    msibench("leaderboard", "small", "--base", committed, "--results", "mine", "--publish")
    path = committed / "rows.parquet"
    rows = pd.read_parquet(path)
    mine = rows.index[(rows["method"] == "mine") & (rows["metric"] == "psnr")][0]
    rows.loc[mine, "value"] += 1
    path.write_bytes(rows_as_parquet(rows))
    track, store = load_track(str(committed)), Store.open(here / "mine", create=False)
    track_facts = facts_of_track(track, catalogue)
    checked = verify_leaderboard(
        committed, track, store, read_index(store, "small"), track_facts=track_facts
    )
    assert any("value of mine" in fault for fault in checked.faults)


def altered(rows, name):
    if name == "data":
        where = (rows["method"] == "bicubic") & (rows["metric"] == "psnr")
        return rows.assign(
            value=rows["value"] + 0.1 * where,
            cell=rows["cell"].map(lambda key: "0" * 24 + key[24:]),
        )
    if name == "version":
        return rows.assign(metric_version=rows["metric_version"] + (rows["metric"] == "psnr"))
    if name == "device":
        return rows.assign(device="cuda")
    if name == "section":
        return rows.assign(section="another")
    if name == "metric":
        more = rows[rows["metric"] == "psnr"].assign(metric="rmse")
        return pd.concat([rows, more])
    return rows[rows["method"] != "bicubic"].assign(cell=rows["cell"].map(lambda key: key[::-1]))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("data", "other data, guide, m/z values or protocol on phantom"),
        ("version", "metric psnr of version"),
        ("device", "run on cpu, the board on cuda"),
        ("section", "that the board lacks"),
        ("metric", "no value of rmse"),
        ("nothing shared", "run the control method"),
    ],
)
def test_another_experiment_is_refused_with_the_difference(here, catalogue, name, words):
    folder = here / "leaderboards" / "small"
    rows = altered(pd.read_parquet(folder / "rows.parquet"), name)
    (folder / "rows.parquet").write_bytes(rows_as_parquet(rows))
    store = Store.open(here / "mine", create=False)
    with pytest.raises(ConfigurationError, match=words):
        grown_board(folder, load_track(str(folder)), catalogue, store)


def test_values_show_the_same_data_where_the_code_has_changed_since(here, catalogue):
    folder = here / "leaderboards" / "small"
    rows = pd.read_parquet(folder / "rows.parquet")
    rows = rows.assign(cell=rows["cell"].map(lambda key: "0" * 24 + key[24:]))
    (folder / "rows.parquet").write_bytes(rows_as_parquet(rows))
    store = Store.open(here / "mine", create=False)
    assert grown_board(folder, load_track(str(folder)), catalogue, store).added == ("mine",)


def test_committed_rows_alone_compare_two_methods_mz_by_mz_and_nothing_is_written(here):
    committed = here / "leaderboards" / "small"
    files = {path.name: path.read_bytes() for path in committed.iterdir()}
    alone = ("--base", committed, "--results", "nowhere")
    said = msibench("leaderboard", "small", *alone, "--pair", "bicubic", "nearest")
    assert "ratio" in said
    assert "bicubic - nearest" in said
    assert {path.name: path.read_bytes() for path in committed.iterdir()} == files
    assert not (here / "nowhere").exists()


def test_committed_rows_alone_give_tables_pages_and_figures(here):
    committed = here / "leaderboards" / "small"
    alone = ("--base", committed, "--results", "nowhere")
    files = {path.name: path.read_bytes() for path in committed.iterdir()}
    msibench("leaderboard", "small", *alone, "-o", "again")
    assert {
        path.name: path.read_bytes() for path in (here / "again").iterdir()
    }.items() <= files.items()
    msibench("report", "small", *alone, "-o", "page")
    assert "bicubic" in (here / "page" / "index.html").read_text()
    for kind, name in (("box", "box.svg"), ("pareto", "pareto.svg"), ("table", "table.md")):
        msibench("figure", kind, "small", *alone, "-o", name)
        assert (here / name).stat().st_size > 100
    with pytest.raises(DataError, match="no images of protocol"):
        msibench("figure", "images", "small", *alone, "-o", "images.svg")


def test_images_come_from_a_store_that_holds_the_committed_cells(here, catalogue, tmp_path):
    committed = here / "leaderboards" / "small"
    track, store = load_track(str(committed)), Store.open(here / "theirs", create=False)
    board = grown_board(committed, track, catalogue, store).board
    write_leaderboard(store, track, tmp_path / "page", board=board)
    page = write_page(store, track, tmp_path / "page", board=board)
    assert "data:image" in page.read_text() or "iVBOR" in page.read_text()


def submit(*words, code=0):
    return msibench("submit", "small", "--base", "leaderboards/small", *words, code=code)


def test_a_published_bundle_is_found_by_its_digest_and_fetched_when_asked(here, monkeypatch):
    committed = here / "leaderboards" / "small"
    monkeypatch.setenv("MSIBENCH_CACHE", str(here / "cache"))
    with pytest.raises(MissingDataError, match="no bundle is published"):
        msibench("import", committed, "--results", "fresh")
    msibench("report", "small", "--base", committed, "--results", "nowhere", "-o", "page")
    assert "no bundle of them is published" in (here / "page" / "index.html").read_text()
    with pytest.raises(ConfigurationError, match="https address"):
        pack("http://example.org/small.zip")
    assert not (committed / "bundle.toml").exists()
    pack("https://example.org/small.zip")
    msibench("report", "small", "--base", committed, "--results", "nowhere", "-o", "page")
    assert "msibench import leaderboards/small" in (here / "page" / "index.html").read_text()
    asked = []

    def download(url, target, *, sha256, size, public, allow_local):
        asked.append((url, public, allow_local))
        assert (here / "small.zip").stat().st_size == size
        shutil.copyfile(here / "small.zip", target)
        assert sha256_of(target) == sha256

    monkeypatch.setattr("msibench.gate.published_bundle.download", download)
    said = msibench("import", committed, "--results", "fresh")
    assert "added" in said
    assert asked == [("https://example.org/small.zip", True, False)]
    msibench("import", committed, "--results", "another")
    assert len(asked) == 1, "it lies in the cache"
    (kept,) = (here / "cache" / "bundles").iterdir()
    kept.write_bytes(b"other bytes")
    msibench("import", committed, "--results", "third")
    assert len(asked) == 2


@pytest.mark.parametrize(
    "text",
    [
        'url = "https://e.org/a"',
        'url = "https://e.org/a"\nsha256 = "ab"\nsize = 3',
        "size = 'x'",
        "u = 1",
    ],
)
def test_a_bundle_file_that_is_not_one_says_what_it_lacks(tmp_path, text):
    (tmp_path / "bundle.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"bundle\.toml"):
        published_bundle(tmp_path)


def pack(address):
    words = ("bundle", "small", "--results", "theirs", "--predictions", "-o", "small.zip")
    return msibench(*words, "--address", address)


def test_a_submission_is_verified_and_its_text_made_of_the_records(here):
    said = submit("--results", "mine")
    folder = here / "submissions" / "small" / "mine"
    assert {path.name for path in folder.iterdir()} == {"bundle.zip", "submission.md"}
    text = (folder / "submission.md").read_text()
    assert text in said
    assert "mine (area-x4@1)" in text
    assert "of 3" in text
    assert "Hardware: " in text
    with zipfile.ZipFile(folder / "bundle.zip") as archive:
        names = archive.namelist()
    assert len([name for name in names if name.endswith("prediction.h5")]) == 2, "mine and bicubic"
    before = (folder / "bundle.zip").read_bytes()
    submit("--results", "mine")
    assert (folder / "bundle.zip").read_bytes() == before


def test_what_does_not_follow_from_its_prediction_is_not_submitted(here):
    store = Store.open(here / "mine", create=False)
    keys = read_index(store, "small").cells.values()
    record = next(r for r in map(store.record, keys) if r.method == "mine")
    rows = store.metric_rows(record)
    rows.loc[rows["metric"] == "psnr", "value"] += 1
    store.rescore(record, rows_as_parquet(rows), dict(record.scores))
    with pytest.raises(IntegrityError, match="not submitted"):
        submit("--results", "mine")
    assert not (here / "submissions").exists()


def test_nothing_new_is_said(here):
    with pytest.raises(ConfigurationError, match="nothing to submit"):
        submit("--results", "theirs")


def workflow_step():
    """Return the shell step of the workflow that checks a pull request."""
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with pre-commit")
    path = Path(__file__).parents[2] / ".github" / "workflows" / "submission.yml"
    steps = yaml.safe_load(path.read_text())["jobs"]["check"]["steps"]
    return next(step["run"] for step in steps if step.get("name") == "Check")


def test_the_commands_of_the_workflow_check_a_pull_request(here):
    """As they stand in its shell step, one after another, without the shell."""
    submit("--results", "mine", "-o", "theirs/submissions/small/mine")
    facts = {
        "track": "small",
        "control": "bicubic",
        "results": "checked",
        "bundle": "theirs/submissions/small/mine/bundle.zip",
    }
    commands = re.findall(r"^ *(?:if )?msibench ([^&|>;\n]+)", workflow_step(), re.MULTILINE)
    words = [shlex.split(Template(command).substitute(facts)) for command in commands]
    assert [each[0] for each in words] == ["run", "import", "leaderboard", "verify", "leaderboard"]
    said = "".join(msibench(*each) for each in words)
    assert "mine (area-x4@1)" in said
    assert "self-reported" in said or "verified" in said
    assert "No score of the board's own scheme changed" in said
    assert "mine" in (here / "grown" / "small" / "README.md").read_text()


@pytest.mark.slow
def test_the_workflow_checks_a_pull_request(here, tmp_path):
    """Its shell step, run where main is checked out and the pull request lies in ``theirs``."""
    script = tmp_path / "step.sh"
    script.write_text(workflow_step())
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "msibench").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m msibench.cli.main "$@"\n'
    )
    (tools / "msibench").chmod(0o755)
    (tools / "python").symlink_to(sys.executable)

    def check(results):
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{tools}:{os.environ['PATH']}",
            "RESULTS": str(tmp_path / results),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        done = subprocess.run(command, cwd=here, env=environment, check=False, capture_output=True)
        return done.returncode, (here / "comment.md").read_text()

    assert check("none")[0] == 2, "nothing is submitted"
    submit("--results", "mine", "-o", "theirs/submissions/small/mine")
    code, comment = check("good")
    assert code == 0, comment
    assert "mine (area-x4@1)" in comment
    assert "self-reported" in comment or "verified" in comment
    assert "No score of the board's own scheme changed" in comment
    bundle = here / "theirs" / "submissions" / "small" / "mine" / "bundle.zip"
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.write_bytes(content)
    code, comment = check("bad")
    assert code in {2, 7}, comment
