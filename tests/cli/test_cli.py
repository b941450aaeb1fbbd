"""The command line, as a person and as a script use it."""

import json
import shutil
import subprocess
import sys
import tomllib
from contextlib import redirect_stdout
from importlib.resources import files
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from msibench.cli.list import entry_lines, table_lines
from msibench.cli.main import HELP, main
from msibench.testing import mirrored

PSNR = ("--metrics", "psnr")
FAST = ("--methods", "nearest,bicubic", *PSNR)
SHIPPED = files("msibench").joinpath("tracks_shipped/quickstart.toml").read_text(encoding="utf-8")
QUICK_MZ = tomllib.loads(SHIPPED)["problems"][0]["mz"]


def msibench(*arguments, capsys=None):
    """Run the command line in this process and return (exit status, output, errors)."""
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    out = capsys.readouterr() if capsys else None
    return ended.value.code, out.out if out else "", out.err if out else ""


@pytest.fixture
def run(tmp_path, capsys):
    def call(*arguments):
        return msibench(*arguments, capsys=capsys)

    return call


@pytest.fixture(scope="module")
def bicubic(tmp_path_factory):
    """Results of the quickstart with one method, and what the run said on standard output."""
    folder = tmp_path_factory.mktemp("bicubic")
    with redirect_stdout(StringIO()) as out:
        status, *_ = msibench("run", "--results", folder, "--methods", "bicubic", *PSNR, "--events")
    assert status == 0
    return folder, out.getvalue()


@pytest.fixture
def bicubic_results(bicubic, tmp_path):
    """A copy of these results in the test's folder."""
    shutil.copytree(bicubic[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_help_lists_the_commands_with_their_use(run):
    status, out, _ = run("--help")
    assert status == 0
    for name in ("run", "list", "leaderboard", "status", "check", "new", "score", "fetch"):
        assert f"  {name} " in out


@pytest.mark.parametrize("name", HELP)
def test_every_command_shows_an_example(run, name):
    status, out, _ = run(name, "--help")
    assert status == 0
    assert "Example: msibench" in out
    assert "\\b" not in out


def test_a_misspelt_command_gets_a_suggestion(run):
    status, _, err = run("leaderbord")
    assert status == 2
    assert "Did you mean 'leaderboard'" in err


@pytest.mark.parametrize(
    "kind", ["methods", "datasets", "metrics", "plugins", "tracks", "protocols", "schemes"]
)
def test_lists_are_for_people_and_for_machines(run, kind):
    status, out, _ = run("list", kind, "--json")
    rows = json.loads(out)
    assert status == 0
    assert rows
    status, table, _ = run("list", kind)
    assert str(next(iter(rows[0].values())))[:8] in table


def test_a_site_without_boards_names_the_way_to_them(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = run("site", "out")
    assert status == 2
    assert "no folder of boards 'leaderboards'; name one with --boards" in err
    assert not (tmp_path / "out").exists()


def test_a_listed_table_is_folded_to_its_terminal_and_whole_in_a_pipe():
    rows = [
        ["name", "title"],
        ["unet-footprint", "a network that was fitted to the one image"],
        ["b", ""],
    ]
    whole = table_lines(rows, None)
    assert whole[1] == "unet-footprint  a network that was fitted to the one image"
    assert whole[2] == "b"
    folded = table_lines(rows, 34)
    assert max(map(len, folded)) <= 34
    assert folded[1:4] == [
        "unet-footprint  a network that was",
        "                fitted to the one",
        "                image",
    ]
    assert " ".join(" ".join(folded).split()) == " ".join(" ".join(whole[:2] + whole[2:]).split())
    assert table_lines(rows, 22) is None, "a name of 14 letters and 'network' are not parted"
    assert entry_lines(rows[0], rows[1:], 22) == [
        "unet-footprint",
        "  title: a network",
        "  that was fitted to",
        "  the one image",
        "b",
    ]


def test_methods_say_whether_they_are_ready_here(run, monkeypatch, tmp_path):
    monkeypatch.setenv("MSIBENCH_WEIGHTS", str(tmp_path))
    _, out, _ = run("list", "methods", "--json")
    methods = {row["method"]: row for row in json.loads(out)}
    assert methods["bicubic"]["ready here"] == "yes"
    assert methods["bicubic"]["needs"] == "nothing"
    assert methods["swinir-msi-tiny"]["factors"] == "4"
    assert methods["ridge"]["needs"] == "a guide"
    assert any(row["ready here"].startswith("no: weights missing") for row in methods.values())
    assert any("when it is named" in row["ready here"] for row in methods.values())


def test_a_method_with_other_options_is_a_row_of_its_own(run, tmp_path):
    status, out, err = run(
        "run", "--results", tmp_path, *FAST, "--set", "nearest.kernel=bilinear", "--timeout", "10m",
        "--memory", "3GB", "--disk", "1GiB",
    )  # fmt: skip
    assert status == 0, err
    cells = {cell.strip() for line in out.splitlines() for cell in line.split("|")}
    assert {"nearest", "nearest (kernel=bilinear)", "bicubic"} <= cells
    for change, message in (
        ("nearst.kernel=x", "Did you mean 'nearest'"),
        ("ridge.alpha=3", "Name it with --methods"),
        ("nearest.colour=3", "colour"),
        ("kernel=3", "method.option=value"),
        ("nearest.kernel", "key=value"),
    ):
        status, _, err = run("plan", "--results", tmp_path, *FAST, "--set", change)
        assert status == 2
        assert message in err, err


def test_as_many_cells_run_side_by_side_as_the_machine_has_room_for(monkeypatch):
    from msibench.cli._values import cells_side_by_side
    from msibench.runner.executors import local

    for cores, gib, expected in ((64, 1024, 64), (64, 16, 4), (1, 64, 1), (8, 1, 1)):
        monkeypatch.setattr(local, "usable_cores", lambda cores=cores: cores)
        monkeypatch.setattr(local, "fair_share", lambda slots, gib=gib: gib << 30)
        assert cells_side_by_side("cpu") == expected


@pytest.mark.parametrize("metrics", [PSNR, pytest.param((), marks=pytest.mark.slow)])
def test_the_main_job_in_one_go_and_from_the_store_alone(run, tmp_path, metrics):
    status, out, err = run("run", "--results", tmp_path, "--methods", "bicubic", *metrics)
    assert status == 0, err
    assert "| bicubic" in out
    folder = tmp_path / "leaderboards" / "quickstart"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) >= {"README.md", "leaderboard.csv", "rows.parquet"}
    for name in ("README.md", "leaderboard.csv", "rows.parquet"):
        (folder / name).unlink()
    script = (  # as where torch is not installed; SciPy stumbles over `sys.modules["torch"] = None`
        "import sys\nclass NoTorch:\n    def find_spec(name, *more):\n"
        "        if name.partition('.')[0] == 'torch': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, NoTorch)\nfrom msibench.cli.main import main\n"
        f"main(['leaderboard', 'quickstart', '--results', {str(tmp_path)!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {n: (folder / n).read_bytes() for n in before if n != "index.html"} == {
        n: raw for n, raw in before.items() if n != "index.html"
    }


def test_events_are_one_json_object_a_line(bicubic):
    kinds = [json.loads(line)["kind"] for line in bicubic[1].splitlines()]
    assert kinds[0] == "planned"
    assert kinds[-1] == "summary"
    assert "finished" in kinds


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "quickstat"), "Did you mean 'quickstart'"),
        (("run", "--methods", "bicubc"), "Did you mean 'bicubic'"),
        (("run", "--metrics", "psnrr"), "Did you mean 'psnr'"),
        (("run", "--protocol", "aera-x4@1"), "area-x4@1"),
        (("run", "--data", "gone.imzML"), "file not found:"),
        (("run", "--guide", "he.png"), "goes with --data"),
        (("run", "--mz", "abc", "--data", "x"), "expected numbers"),
        (("run", "--retry", "broken"), "takes statuses"),
        (("run", "--datasets", "none"), "nothing to run"),
        (("fetch", "phantm"), "Did you mean 'phantom'"),
        (("status", "--results", "nowhere"), "not a results folder"),
    ],
)
def test_bad_input_is_told_what_was_expected(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(*arguments)
    assert status == 2
    assert message in err


def test_a_broken_method_costs_its_cell_and_the_exit_status(run, tmp_path):
    bad = Path(__file__).parents[1] / "runner" / "misbehaving.py"
    status, out, _ = run(
        "run",
        "--results",
        tmp_path,
        "--methods",
        "bicubic,raises",
        "--method",
        f"{bad}:Raises",
        *PSNR,
    )
    assert status == 3
    assert "the matrix is singular" in out
    assert "1 failed" in out


def test_nothing_measured_is_never_ok(run, tmp_path):
    bad = Path(__file__).parents[1] / "runner" / "misbehaving.py"
    track = tmp_path / "track.toml"
    track.write_text(
        'schema_version = 1\nname = "none"\nscheme = "cao2025"\nmetrics = ["psnr"]\n'
        f'methods = [{{ method = "{bad}:Declines", label = "declines" }}]\n'
        '[[problems]]\ndataset = "phantom"\nprotocols = ["area-x4@1"]\nsections = ["synthetic-1"]\n'
    )
    status, _, err = run("run", track, "--results", tmp_path, "--json")
    assert status == 6, err


def test_status_tells_stored_stale_and_not_run(run, tmp_path):
    source = tmp_path / "mine.py"
    code = "class Mine:\n    def upscale(self, p):\n        return p.low.values.repeat(p.factor, 1).repeat(p.factor, 2)\n"
    source.write_text(code)
    method = f"{source}:Mine"
    run("run", "--results", tmp_path, "--methods", "mine,bicubic", "--method", method, *PSNR)
    track = tmp_path / "track.toml"
    track.write_text(
        'schema_version = 1\nname = "quickstart"\nmetrics = ["psnr"]\n'
        f'methods = ["bicubic", "nearest", {{ method = "{method}", label = "mine" }}]\n'
        '[[problems]]\ndataset = "phantom"\nprotocols = ["area-x4@1"]\nsections = ["synthetic-1"]\n'
        f"mz = {QUICK_MZ}\n"
    )
    _, out, _ = run("status", track, "--results", tmp_path)
    assert "ok               bicubic" in out
    assert "ok               mine" in out
    assert "not run          nearest" in out
    source.write_text(code.replace("Mine:", "Mine:  # changed"))
    _, out, _ = run("status", track, "--results", tmp_path, "--why-stale")
    assert "stale            mine" in out
    assert '+   "mine.py": ' in out
    assert "ok               bicubic" in out


def test_a_section_of_ones_own_needs_no_card(run, tmp_path):
    rng = np.random.default_rng(0)
    cube = rng.poisson(20, (3, 50, 42)).astype(np.float32)
    np.savez(tmp_path / "own.npz", cube=cube, mz=np.array([400.0, 500.0, 600.0]))
    status, out, err = run(
        "run",
        "--data",
        tmp_path / "own.npz",
        "--factor",
        4,
        "--mz",
        "500,400",
        "--results",
        tmp_path,
        *FAST,
    )
    assert status == 0, err
    assert "own.npz (your own section)" in out
    record = next(iter((tmp_path / "cells").rglob("record.json")))
    facts = json.loads(record.read_text())
    assert facts["mz"] == [500.0, 400.0]
    assert any("cropped 2 rows and 2 columns" in note for note in facts["notes"])
    assert str(tmp_path) not in json.dumps(facts["key_document"])
    folder = tmp_path / "leaderboards" / "own"
    before = (folder / "README.md").read_bytes()
    status, _, err = run("leaderboard", folder, "--results", tmp_path)
    assert status == 0, err
    assert (folder / "README.md").read_bytes() == before


def test_the_method_that_scores_are_anchored_at_is_always_run(run, tmp_path):
    status, out, _ = run("plan", "--results", tmp_path, "--methods", "nearest", *PSNR, "--json")
    assert status == 0
    assert {cell["method"] for cell in json.loads(out)["cells"]} == {"nearest", "bicubic"}


def test_a_file_that_cannot_be_used_is_an_error_and_no_board(run, tmp_path):
    from tests.io.imzml.imzml_files import write_odd_imzml

    own = tmp_path / "own.npz"
    write_odd_imzml(tmp_path / "own.imzML")
    results = tmp_path / "results"
    for cube, message in (
        (np.ones((1, 5, 5)), "take a larger section, or a factor of at most 2"),
        (np.zeros((2, 16, 16)), "no signal in any of the 2 ion images"),
        (np.full((1, 16, 16), np.inf), "infinite"),
        (np.full((1, 16, 16), np.nan), "NaN"),
    ):
        np.savez(own, cube=cube.astype(np.float32), mz=400.0 + np.arange(len(cube)))
        status, out, err = run("run", "--data", own, "--results", results, *FAST)
        assert status == 2, out
        assert message in err
    own.write_bytes(own.read_bytes()[:-40])
    status, _, err = run("run", "--data", own, "--results", results, *FAST)
    assert status == 2
    assert "own.npz" in err
    arguments = ("--data", tmp_path / "own.imzML", "--factor", 2, "--results", results, *FAST)
    status, _, err = run("run", "--mz", "123.45,300.25", *arguments)
    assert status == 2
    assert "the nearest peak of all spectra is m/z" in err
    assert not (results / "leaderboards").exists()


def test_a_missing_pixel_size_is_said_once(run, tmp_path):
    cube = np.random.default_rng(0).poisson(20, (2, 24, 20)).astype(np.float32)
    np.savez(tmp_path / "own.npz", cube=cube, mz=[400.0, 500.0])
    arguments = (
        "run",
        "--data",
        tmp_path / "own.npz",
        "--results",
        tmp_path,
        "--methods",
        "bicubic",
        *PSNR,
    )
    status, _, err = run(*arguments)
    assert status == 0
    assert err.count("--pixel-size") == 1
    status, _, err = run("plan", *arguments[1:], "--pixel-size", 20)
    assert status == 0
    assert "--pixel-size" not in err


def test_a_published_mz_set_takes_a_file_of_the_users(run, tmp_path):
    from msibench.datasets import load_card
    from msibench.plugin_manager.discovery import discover

    card = load_card(discover().dataset("mouse-kidney"))
    mz = np.array(card.mz_set("table-s3").mz)
    cube = np.random.default_rng(1).poisson(9, (len(mz), 24, 20)).astype(np.float32)
    np.savez(tmp_path / "kidney.npz", cube=cube, mz=mz)
    status, out, err = run(
        "run",
        "--dataset",
        "mouse-kidney",
        "--data",
        tmp_path / "kidney.npz",
        "--results",
        tmp_path,
        *FAST,
    )
    assert status == 0, err
    assert "Published elsewhere: mouse-kidney" in out
    assert "not comparable" in out


def test_scores_can_be_added_later(run, bicubic_results):
    status, out, err = run("score", "--results", bicubic_results, "--metrics", "vifp,psnr")
    assert status == 0, err
    assert "2 scores computed, 2 were up to date" in out
    page = (bicubic_results / "leaderboards" / "quickstart" / "README.md").read_text()
    assert "VIFp" in page


def test_check_holds_a_method_against_the_contract(run):
    status, out, _ = run("check", "bicubic")
    assert status == 0
    assert "FAILED" not in out
    bad = Path(__file__).parents[1] / "runner" / "misbehaving.py"
    status, out, _ = run("check", f"{bad}:WritesNaN")
    assert status == 3
    assert "values are NaN or infinite" in out


def test_one_fault_that_stops_many_checks_is_told_once(run, tmp_path):
    (tmp_path / "mine.py").write_text(
        "class Mine:\n    def upscal(self, problem):\n        return 0\n"
    )
    status, out, _ = run("check", f"{tmp_path / 'mine.py'}:Mine")
    assert status == 3
    assert out.count("FAILED") >= 10
    assert out.count("has no attribute 'upscale'") == 2
    assert "checks stopped at AttributeError: 'Mine' object has no attribute 'upscale': " in out
    assert "check_output_grid" in out.splitlines()[-1]


def test_a_new_plugin_installs_and_passes_at_once(run, tmp_path):
    status, _, err = run("new", "method", "soft-focus", "--into", tmp_path)
    assert status == 0, err
    folder = tmp_path / "soft-focus"
    method = (folder / "msibench_soft_focus" / "method.py").read_text()
    assert len([line for line in method.splitlines() if line.strip()]) <= 25
    status, out, _ = run("check", f"{folder / 'msibench_soft_focus' / 'method.py'}:SoftFocus")
    assert status == 0, out
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        capture_output=True, text=True, check=False, cwd=folder,
        env={**__import__("os").environ, "PYTHONPATH": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    status, _, err = run("new", "method", "soft-focus", "--into", tmp_path)
    assert status == 2
    assert "is there already" in err


def test_fetch_says_what_is_here(run):
    mirrored("lbae-mouse-brain/slice_1.tiff")
    status, out, _ = run("fetch", "lbae-mouse-brain", "--section", "slice_1")
    assert status == 0
    assert "here      slice_1.tiff" in out


def test_a_broken_card_costs_its_own_line_alone(run, monkeypatch, tmp_path):
    from msibench.contracts.dataset import DatasetSpec
    from msibench.plugin_manager.discovery import discover

    (tmp_path / "card.toml").write_text('schema_version = 1\ntitel = "?"\n')
    found = discover()
    broken = DatasetSpec(name="of-a-stranger", card=tmp_path / "card.toml")
    gone = DatasetSpec(name="gone", card=tmp_path / "gone" / "card.toml")
    found.datasets.update({spec.name: spec for spec in (broken, gone)})
    monkeypatch.setattr("msibench.cli.list.catalogue", lambda **_: found)

    status, out, _ = run("list", "datasets", "--json")
    titles = {row["data set"]: row["title"] for row in json.loads(out)}
    assert status == 0
    assert "broken card" in titles["of-a-stranger"]
    assert "'titel'" in titles["of-a-stranger"]
    assert "broken card" in titles["gone"]
    assert "broken" not in titles["phantom"]


@pytest.mark.parametrize("name", ["bladder-x4", "bladder-fusion-x4", "phantom", "quickstart"])
def test_the_committed_tracks_are_planned_in_any_folder(run, monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    status, out, err = run("plan", name)
    assert status == 0, err
    assert "bicubic" in out
    status, out, _ = run("list", "tracks")
    assert name in out


def test_an_ion_that_one_of_several_sections_lacks_is_left_out_there_alone(run, tmp_path):
    from tests.io.imzml.imzml_files import write_odd_imzml

    rng = np.random.default_rng(0)
    places = [(index % 12 + 1, index // 12 + 1) for index in range(120)]
    for name, masses in (("a", [400.0, 500.0]), ("b", [400.0, 510.0])):
        spectra = [(np.array(masses), rng.poisson(30, 2).astype(float)) for _ in places]
        write_odd_imzml(
            tmp_path / f"{name}.imzML", spectra=spectra, coordinates=places, max_counts=None
        )
    sections = ("--data", tmp_path / "a.imzML", tmp_path / "b.imzML", "--factor", 2)
    results = ("--results", tmp_path / "r", *FAST)
    status, _, err = run("run", *sections, "--mz", "400,500", *results)
    assert status == 0, err
    notes = {}
    for path in (tmp_path / "r" / "cells").rglob("record.json"):
        facts = json.loads(path.read_text())
        notes[facts["section"]] = " ".join(facts["notes"])
    assert "nothing is present" not in notes["a"]
    assert "1 of 2 ion images, which methods do not get: m/z 500.0000" in notes["b"]
    status, _, err = run("run", *sections, "--mz", "400,600", *results)
    assert status == 2
    assert "no signal in any section at m/z 600.0000" in err


def test_a_run_says_how_many_cells_it_has_to_run(run, bicubic_results):
    command = ("run", "--results", bicubic_results, *PSNR, "--methods")
    assert "2 cells, 1 to run" in run(*command, "bicubic,nearest")[2]
    assert "1 cell, 0 to run" in run(*command, "bicubic")[2]
