"""One board, one experiment: no table holds numbers of two, and nothing asked for is left out."""

import html
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from msibench import metrics
from msibench.cli.main import main
from msibench.image import MSImage
from msibench.io import write_image
from msibench.results.arrays import read_arrays
from msibench.results.problems import load_staged
from msibench.results.store import PREDICTION, Store

FAST = ("--methods", "nearest,bicubic", "--metrics", "psnr")
ONE = ("--methods", "bicubic", "--metrics", "psnr")
MZ = np.array([400.0, 500.0, 600.0])


def cube(seed, channels=3):
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((24, 20))
    waves = [np.sin(rows / (2 + c)) + np.cos(columns / (3 + c)) + 2 for c in range(channels)]
    return rng.poisson(20 * np.array(waves)).astype(np.float32)


def write_section(path, seed=0, mz=MZ, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, cube=cube(seed, len(mz)), mz=np.asarray(mz), **more)
    return path


def made_once(folder, *arguments):
    """Carry out a run in a folder, which tests get copies of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MSIBENCH_RESULTS", raising=False)
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, arguments)))
    assert ended.value.code == 0
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_section(folder / "section.npz")
    return made_once(folder, "run", "--data", "section.npz", "--mz", "400,500", *FAST)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return made_once(tmp_path_factory.mktemp("quick"), "run", *FAST)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    track = folder / "leaderboards" / "small" / "track.toml"
    track.parent.mkdir(parents=True)
    track.write_text(TRACK)
    return made_once(folder, "run", "small", "--publish")


@pytest.fixture
def own_board(own, tmp_path):
    """``section.npz`` and its board of two methods on m/z 400 and 500, in the test's folder."""
    shutil.copytree(own, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def quick_board(quick, tmp_path):
    """The quickstart's board of two methods, in the test's folder."""
    shutil.copytree(quick, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def published_board(published, tmp_path):
    """A track of three methods with its board beside it, in the test's folder; returns that place."""
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    return Path("leaderboards/small")


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """The command line in a folder of the test's own; fails unless it ends with `status`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MSIBENCH_RESULTS", raising=False)

    def call(*arguments, status=0):
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, arguments)))
        out, err = capsys.readouterr()
        assert ended.value.code == status, out + err
        return out, err

    return call


@pytest.fixture
def section(tmp_path):
    """Return a function that writes a section."""

    def write(name="section.npz", seed=0, mz=MZ, **more):
        return write_section(tmp_path / name, seed, mz, **more)

    return write


def boards(folder="results"):
    """Return board → its rows."""
    found = Path(folder).glob("leaderboards/*/rows.parquet")
    return {path.parent.name: pd.read_parquet(path) for path in sorted(found)}


def check_what_the_guide_brought(judged):
    """Compare with the metric of the difference, by hand."""
    store = Store.open(Path("results"), create=False)
    cells = {record.identity.control: record for record in store.records()
             if record.method == "ridge"}  # fmt: skip
    right, wrong = (
        read_arrays(store.cell_folder(cells[name].key) / PREDICTION)[0]["prediction"].astype(float)
        for name in ("", "guide-shuffled")
    )
    staged = load_staged(store.problem_folder(cells[""].problem_key))
    ends = store.metric_rows(cells[""]).query(
        "metric in ['detail_ceiling_low', 'detail_ceiling_high']"
    )
    expected = metrics.guide_leakage(
        right - wrong, staged.truth.values, staged.low.values, staged.guide.values,
        protocol=staged.protocol, mask=staged.guide.mask if staged.mask is None else staged.mask,
        noise=1 - ends.groupby("channel")["value"].mean().to_numpy(),
    )  # fmt: skip
    found = judged.sort_values("channel")["value_of_difference"]
    np.testing.assert_allclose(found, expected, atol=1e-12)


MINE = """
import numpy as np


class Mine:
    def upscale(self, problem):
        return np.repeat(np.repeat(problem.low.values, problem.factor, -2), problem.factor, -1)
"""


def rebuilt(name, folder="results"):
    """Return the first command that a board prints under *Rebuild*, without ``msibench``."""
    text = (Path(folder) / "leaderboards" / name / "README.md").read_text(encoding="utf-8")
    return shlex.split(text.partition("## Rebuild\n\n```\n")[2].splitlines()[0])[1:]


def planned_keys(run, command):
    out, _ = run("plan", *command[1:], "--json")
    return {cell["key"] for cell in json.loads(out)["cells"]}


def cells_of_board(name, folder="results"):
    return json.loads((Path(folder) / "tracks" / f"{name}.json").read_text())["cells"].values()


def truths(rows, folder="results"):
    """Return the distinct problems behind the rows of a board."""
    records = [json.loads(p.read_text()) for p in Path(folder).glob("cells/*/*/record.json")]
    problem = {record["key"]: record["problem_key"] for record in records}
    real = rows[rows["control"] == ""]
    return {problem[cell] for cell in real["cell"]}


def guide(path, seed=0, shape=(48, 40)):
    pixels = np.random.default_rng(seed).integers(0, 255, (*shape, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


SECOND = {
    "another folder": lambda s, t: ("--data", s("b/section.npz", seed=1), "--mz", "400,500"),
    "a changed file": lambda s, t: ("--data", s(seed=2), "--mz", "400,500"),
    "other m/z": lambda s, t: ("--data", t / "section.npz", "--mz", "400,600"),
    "all channels": lambda s, t: ("--data", t / "section.npz"),
    "another window": lambda s, t: ("--data", t / "section.npz", "--mz", "400,500", "--ppm", 20),
    "another factor": lambda s, t: (
        "--data", t / "section.npz", "--mz", "400,500", "--factor", 2),
    "another protocol": lambda s, t: (
        "--data", t / "section.npz", "--mz", "400,500", "--protocol", "bicubic-x4@1"),
    "another pixel size": lambda s, t: (
        "--data", t / "section.npz", "--mz", "400,500", "--pixel-size", 25),
    "a guide": lambda s, t: (
        "--data", t / "section.npz", "--mz", "400,500", "--guide", guide(t / "he.png")),
}  # fmt: skip


def test_each_further_experiment_is_planned_for_a_board_of_its_own(
    run, own_board, section, tmp_path
):
    held = set(cells_of_board("section"))
    original = (tmp_path / "section.npz").read_bytes()
    for what, words in SECOND.items():
        out, err = run("plan", *words(section, tmp_path), *FAST, "--json")
        plan = json.loads(out)
        assert plan["track"] == "section-2", what
        assert "board section holds another experiment" in err, what
        assert held.isdisjoint(cell["key"] for cell in plan["cells"]), what
        (tmp_path / "section.npz").write_bytes(original)


@pytest.mark.parametrize(
    "kinds", [("a guide",), pytest.param(tuple(SECOND), marks=pytest.mark.slow)]
)
def test_each_further_experiment_gets_a_board_of_its_own(run, own_board, section, tmp_path, kinds):
    folder = Path("results/leaderboards/section")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    original = (tmp_path / "section.npz").read_bytes()
    for number, what in enumerate(kinds, start=2):
        out, err = run("run", *SECOND[what](section, tmp_path), *ONE)
        assert "board section holds another experiment" in err, what
        assert f"board of this run is section-{number}" in err, what
        assert f"section-{number}" in out, what
        (tmp_path / "section.npz").write_bytes(original)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    found = boards()
    assert len(found) == 1 + len(kinds)
    assert all(len(truths(rows)) == 1 for rows in found.values())
    assert len(set().union(*(truths(rows) for rows in found.values()))) == len(found)
    run("verify", f"section-{len(found)}")


def test_another_guide_or_transform_is_another_experiment(run, section, tmp_path):
    from msibench.registration import Affine

    common = ("--data", section(), "--mz", "400,500", "--controls", "none", "--guide")
    common += (tmp_path / "he.png", "--methods", "bicubic", "--metrics", "psnr")
    transform = tmp_path / "he.json"

    def write_transform(right):
        Affine(np.diag([2.0, 2.0]), np.array([0.5, right])).to_file(transform)

    guide(tmp_path / "he.png", 0)
    write_transform(0.5)
    run("run", *common, "--transform", transform)
    keys = [set(cells_of_board("section"))]
    write_transform(1.5)
    keys.append(planned_keys(run, ("run", *common, "--transform", transform)))
    keys.append(planned_keys(run, ("run", *common)))
    guide(tmp_path / "he.png", 1)
    keys.append(planned_keys(run, ("run", *common)))
    assert len(set().union(*keys)) == sum(map(len, keys)) == 4
    write_transform(0.5)
    out, err = run("plan", *common, "--transform", transform, "--json")
    assert json.loads(out)["track"] == "section-2"
    assert "board section holds another experiment" in err


def test_the_same_experiment_goes_on_in_its_board(run, own_board, section):
    common = ("--mz", "400,500", "--metrics", "psnr", "--methods")
    run("run", "--data", section("elsewhere/section.npz"), *common, "lanczos3")
    found = boards()
    assert set(found) == {"section"}
    assert set(found["section"]["method"]) == {"nearest", "bicubic", "lanczos3"}
    facts = json.loads(Path("results/tracks/section.json").read_text())["facts"]
    assert set(facts["methods"]) == {"nearest", "bicubic", "lanczos3"}
    command = rebuilt("section")
    assert command == ["run", "section", "--methods", "nearest,bicubic,lanczos3"]
    assert planned_keys(run, command) == set(cells_of_board("section"))


def test_the_command_under_rebuild_makes_this_board_of_a_track(run, section, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    run("run", *ONE, "--method", "mine.py:Mine", "--seed", 3)
    told, _ = run("status", "quickstart")
    assert "mine · phantom/synthetic-1 · area-x4@1 (not in the track's plan)" in told
    command = rebuilt("quickstart")
    assert command == [
        "run", "quickstart", "--methods", "bicubic", "--method", f"{tmp_path}/mine.py:Mine",
        "--metrics", "psnr", "--seed", "3",
    ]  # fmt: skip
    assert planned_keys(run, command) == set(cells_of_board("quickstart"))


def test_two_protocols_in_one_run_are_two_tables_of_one_board(run, own_board):
    common = ("--data", "section.npz", "--mz", "400,500", *ONE)
    out, _ = run("run", *common, "--protocol", "area-x4@1,bicubic-x4@1")
    assert set(boards()) == {"section"}
    assert "## area-x4@1" in out
    assert "## bicubic-x4@1" in out


def test_a_board_has_the_name_that_is_asked_for(run, section):
    run("run", "--data", section(), "--name", "left-kidney", *ONE)
    other = ("--data", section(seed=1), "--name", "right-kidney")
    assert json.loads(run("plan", *other, *FAST, "--json")[0])["track"] == "right-kidney"
    assert set(boards()) == {"left-kidney"}
    _, err = run("run", "--data", "section.npz", "--name", "left-kidney", *FAST, status=2)
    assert "that board holds another experiment (other data, guide or transform)" in err
    _, err = run("run", "--data", "section.npz", "--name", "bladder-x4", *FAST, status=2)
    assert "a track already has this name" in err
    _, err = run("run", "--name", "mine", *FAST, status=2)
    assert "--name needs --data" in err


def test_a_section_named_like_a_track_is_not_that_track(run, section):
    run("run", "--data", section("quickstart.npz"), *ONE)
    assert set(boards()) == {"quickstart-2"}
    out, _ = run("plan", *FAST, "--json")
    assert json.loads(out)["track"] == "quickstart"


def test_a_track_on_other_ions_or_protocols_has_a_board_of_its_own(run, quick_board):
    before = Path("results/leaderboards/quickstart/README.md").read_bytes()
    _, err = run("run", "--mz", "301.141", *ONE)
    assert "another experiment than track quickstart" in err
    out, _ = run("plan", "--protocol", "area-x2@1", *FAST, "--json")
    assert json.loads(out)["track"] == "quickstart-3"
    assert Path("results/leaderboards/quickstart/README.md").read_bytes() == before
    assert set(boards()) == {"quickstart", "quickstart-2"}
    run("leaderboard", "quickstart-2")
    run("status", "quickstart-2")
    boards_there, _ = run("status")
    assert boards_there.splitlines()[:2] == ["quickstart: 2 ok", "quickstart-2: 1 ok"]
    assert [row["cells"] for row in json.loads(run("status", "--json")[0])] == [
        {"ok": 2},
        {"ok": 1},
    ]
    record = next(Path("results/cells").rglob("record.json"))
    record.write_text(record.read_text()[:-9])
    told = [row["cells"] for row in json.loads(run("status", "--json")[0])]
    assert sum(states.get("damaged", 0) for states in told) == 1
    assert sum(states.get("ok", 0) for states in told) == 2
    _, err = run("status", "--why-stale", status=2)
    assert "--why-stale goes with TRACK" in err


def test_seeds_add_up_in_one_row(run, quick_board):
    out, _ = run("run", "--seed", 1, *FAST)
    assert "2 ok" in out
    assert set(boards()) == {"quickstart"}
    assert set(boards()["quickstart"]["seed"]) == {0, 1}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_another_device_is_another_board(run, device):
    """Nothing is run: what is planned for a device says where it would be kept."""
    from msibench.cli._shared import catalogue
    from msibench.results.experiment import Experiment
    from msibench.results.index import update_index
    from msibench.results.store import Store
    from msibench.runner.plan import make_plan
    from msibench.runner.track_facts import index_cells
    from msibench.tracks import load_track

    plan = make_plan(load_track("quickstart"), catalogue(), device="cpu")
    store = Store.open(Path("results"))
    held = Experiment(plan.experiment.problems, "cpu")
    update_index(store, "quickstart", index_cells(plan.cells), held.as_index_entry())
    out, _ = run("plan", "--device", device, "--json")
    assert json.loads(out)["track"] == {"cpu": "quickstart", "cuda": "quickstart-cuda"}[device]


def test_a_track_that_states_its_device_is_another_board_elsewhere(run):
    out, err = run("plan", "bladder-fusion-published-x4", "--json")
    assert json.loads(out)["track"] == "bladder-fusion-published-x4-cpu"
    assert "whose board stays as it is" in err
    out, _ = run("plan", "bladder-fusion-published-x4", "--device", "cuda", "--json")
    assert json.loads(out)["track"] == "bladder-fusion-published-x4"


def test_boards_of_several_sections_have_the_section_as_unit(run, section, tmp_path):
    paths = [section(f"mice/{name}.npz", seed=n) for n, name in enumerate("abcde")]
    out, _ = run("run", "--data", tmp_path / "mice", *ONE)
    assert "5 sections of your own: a, b, c, d, e" in out
    rows = boards()["mice"]
    assert set(rows["section"]) == set("abcde")
    table = pd.read_csv("results/leaderboards/mice/leaderboard.csv")
    table = table[table["task"] != "reference"]
    assert set(table["sections"]) == {5}
    assert set(table["composite.scope"]) == {"sections"}
    page = Path("results/leaderboards/mice/README.md")
    assert "Each section is counted as a specimen of its own" in page.read_text()

    several = ("--specimen", "mouse-1=a,b", "--specimen", "mouse-2=[cd]")
    run("run", "--data", tmp_path / "mice", *several, *ONE)  # the same cells, other replicates
    assert dict(zip(boards()["mice"]["section"], boards()["mice"]["specimen"], strict=True)) == {
        "a": "mouse-1", "b": "mouse-1", "c": "mouse-2", "d": "mouse-2", "e": "e",
    }  # fmt: skip
    table = pd.read_csv("results/leaderboards/mice/leaderboard.csv")
    assert set(table.loc[table["task"] != "reference", "composite.scope"]) == {"same specimens"}
    assert "Cut from one specimen: mouse-1: a, b; mouse-2: c, d." in page.read_text()
    run("run", "mice", *ONE)  # by its name, as its page says
    assert set(boards()["mice"]["specimen"]) == {"mouse-1", "mouse-2", "e"}
    _, err = run("run", "--data", tmp_path / "mice", *ONE)  # nothing said of them: they stay
    assert "specimens as board mice states them: mouse-1=a,b; mouse-2=[cd]" in err
    assert set(boards()["mice"]["specimen"]) == {"mouse-1", "mouse-2", "e"}

    run("run", "--data", *paths, section("mice/f.npz", seed=9), *ONE)  # one more animal
    assert set(boards()) == {"mice"}
    assert set(boards()["mice"]["section"]) == set("abcdef")
    out, err = run("plan", "--data", *paths[:2], *FAST, "--json")
    assert "mice holds another experiment" in err
    assert json.loads(out)["track"] == "mice-2"


def test_several_imzml_files_share_one_set_of_peaks(run, tmp_path):
    """The peaks are those of the first file's mean spectrum, and every section is read at these."""
    (tmp_path / "mice").mkdir()
    for number in range(2):
        image = MSImage(cube(number) + 1, MZ, pixel_size_um=20.0)
        write_image(tmp_path / "mice" / f"mouse{number}.imzML", image)
    _, err = run("run", "--data", "mice", "--peaks", "2", "--factor", "2", *ONE)
    assert "--peaks 2: 2 of 3 peaks" in err
    (rows,) = boards().values()
    assert set(rows["section"]) == {"mouse0", "mouse1"}
    mz = (
        rows[rows["channel"] >= 0]
        .groupby("section")["mz"]
        .agg(lambda each: tuple(sorted(set(each))))
    )
    assert len(set(mz)) == 1
    assert len(mz.iloc[0]) == 2
    again = run("run", "--data", *sorted((tmp_path / "mice").glob("*.imzML")), "--mz",
                " ".join(map(repr, mz.iloc[0])), "--factor", "2", *ONE)  # fmt: skip
    assert "0 run now" in again[1]
    assert len(boards()) == 1


def test_sections_that_cannot_be_compared_are_refused(run, section, tmp_path):
    first = section("a.npz")
    _, err = run("run", "--data", first, section("b.npz", mz=[400.0, 500.0]), *FAST, status=2)
    assert "do not have the same m/z values" in err
    _, err = run("run", "--data", first, first, *FAST, status=2)
    assert "names a file twice" in err
    _, err = run("run", "--data", first, section("c.npz"), "--guide", guide(tmp_path / "g.png"), *FAST,
                 status=2)  # fmt: skip
    assert "give one for each section" in err
    (tmp_path / "empty").mkdir()
    _, err = run("run", "--data", tmp_path / "empty", *FAST, status=2)
    assert "holds no section" in err
    _, err = run("run", "quickstart", "phantom", *FAST, status=2)
    assert "one track at a time" in err


def test_sections_of_one_name_in_two_folders_stay_apart(run, section):
    paths = [section(f"{folder}/section.npz", seed=n) for n, folder in enumerate("ab")]
    run("run", "--data", *paths, *ONE)
    (rows,) = boards().values()
    assert set(rows["section"]) == {"a-section", "b-section"}
    assert len(truths(rows)) == 2


@pytest.mark.parametrize(
    "results", [("--results", "elsewhere"), pytest.param((), marks=pytest.mark.slow)]
)
def test_own_boards_answer_to_their_name(run, own_board, tmp_path, results):
    if results:
        shutil.move("results", results[1])
    run("leaderboard", "section", *results)
    out, _ = run("status", "section", *results)
    assert "2 ok" in out
    run("verify", "section", *results)
    if not results:
        run("report", "section", *results)
        run("score", "section", *results, "--metrics", "psnr,ssim")
        run("figure", "box", "section", "-o", "box.svg", *results)
        out, _ = run("list", "tracks")
        assert "section " in out
    run("plan", "section", *results)
    out, _ = run("run", "section", "--json", "--methods", "nearest,bicubic", *results)
    assert json.loads(out)["ran"] == 0
    run("bundle", "section", *results)
    shutil.move(results[1] if results else "results", "moved")
    run("leaderboard", "moved/leaderboards/section", "--results", "moved")
    for command in ("verify", "status", "report", "score"):  # the cells are found beside the board
        out, _ = run(command, "moved/leaderboards/section")
        assert command != "status" or "2 ok" in out
    assert str(tmp_path) not in Path("moved/leaderboards/section/track.toml").read_text()


TRACK = """
schema_version = 1
name = "small"
methods = ["bicubic", "nearest", "bilinear"]
metrics = ["psnr"]
[[problems]]
dataset = "phantom"
protocols = ["area-x4@1"]
sections = ["synthetic-1"]
mz = [417.2402, 616.1773]
"""


@pytest.mark.parametrize("thoroughly", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_restricted_run_never_replaces_a_published_board(run, published_board, thoroughly):
    folder = published_board
    published = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(published) == {
        "track.toml",
        "README.md",
        "leaderboard.csv",
        "rows.parquet",
        "index.html",
    }
    assert "--results" not in published["README.md"].decode()

    elsewhere = ("--results", "elsewhere", "--methods", "nearest,bicubic")
    run("run", "small", *elsewhere)
    for command in ("leaderboard", "report", "score") if thoroughly else ():
        run(command, "small", "--results", "elsewhere")
    assert set(boards("elsewhere")["small"]["method"]) == {"nearest", "bicubic"}
    for command in (("run", "small", "--publish", *elsewhere),
                    ("leaderboard", "small", "--publish", "--results", "elsewhere")):  # fmt: skip
        _, err = run(*command, status=2)
        assert "holds a more complete board: 1 of its cells" in err
        assert "bilinear" in err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == published
    if thoroughly:
        run("verify", "small")
    (folder / "track.toml").write_text(
        TRACK.replace(', "bilinear"', "")
    )  # it is not asked for any more
    run("leaderboard", "small", "--publish", "--results", "elsewhere")


def test_verify_names_what_a_published_board_lacks_of_its_track(run, published_board):
    folder = published_board
    (folder / "track.toml").write_text(TRACK.replace('"bilinear"', '"bilinear", "lanczos3"'))
    out, _ = run("verify", folder, "--results", "results")
    assert "missing: track.toml names 'lanczos3', of which the board has no row" in out
    assert "0 faults, 1 missing" in out
    (folder / "track.toml").write_text(
        TRACK.replace('"synthetic-1"', '"synthetic-1", "synthetic-2"')
    )
    out, _ = run("verify", folder, status=7)
    assert "'bicubic' lacks 1 cells of data set 'phantom' that track.toml asks for" in out
    assert "synthetic-2, area-x4@1" in out


def test_a_track_without_a_folder_here_is_not_published(run):
    _, err = run("run", "--publish", *FAST, status=2)
    assert "has none here" in err


LEAKAGE = "skill,psnr,guide_leakage,guide_leakage_low,detail_ceiling_low,detail_ceiling_high,detail_ceiling_source"


@pytest.mark.parametrize(
    "chosen", [("--metrics", LEAKAGE), pytest.param((), marks=pytest.mark.slow)]
)
def test_own_sections_are_asked_whether_their_detail_is_real(run, section, tmp_path, chosen):
    """With the usual metrics among the slow tests: those of networks take seconds to load."""
    picture = guide(tmp_path / "he.png")
    asked = ("--data", section(), "--guide", picture, "--methods", "bicubic,ridge", *chosen)
    out, _ = run("run", *asked)
    assert "### Is the detail real?" in out
    assert "### Does a fusion method follow any guide?" in out
    rows = boards()["section"]
    assert set(rows["control"]) == {"", "guide-shuffled"}
    assert "Leakage of what the guide brought" in out
    judged = rows[rows["value_of_difference"].notna()]
    assert set(judged["method"]) == {"ridge"}
    assert set(judged["control"]) == {"guide-shuffled"}
    assert set(judged["metric"]) == {"guide_leakage", "guide_leakage_low"}
    check_what_the_guide_brought(judged[judged["metric"] == "guide_leakage"])
    kept = next(Path("results/differences").glob("*.json"))
    text = kept.read_text()
    kept.write_text(text.replace("0.", "1."))  # what was kept is not believed by `verify`
    run("leaderboard", "section")
    run("verify", "section", status=7)
    kept.write_text(text)
    if not chosen:
        from msibench.tracks import load_shipped

        run("leaderboard", "section")
        run("verify", "section")
        usual = load_shipped("bladder-fusion-x4").metrics  # no file says where the tissue is
        assert set(usual) - set(rows["metric"]) == {"off_tissue"}
    out, _ = run("run", *asked, "--controls", "guide-mirrored")
    assert set(boards()) == {"section"}
    assert set(boards()["section"]["control"]) == {"", "guide-shuffled", "guide-mirrored"}
    _, err = run("run", "--data", "section.npz", "--controls", "guide-shuffled", *FAST, status=2)
    assert "give it with --guide" in err


def test_cells_of_another_experiment_in_an_old_index_are_left_out_and_listed(run, own_board):
    """As an older msibench mixed them: one name, two m/z sets."""
    from msibench.results.index import index_path, read_index, update_index
    from msibench.results.store import Store

    run("run", "--data", "section.npz", "--mz", "400,600", *ONE)
    store = Store.open(Path("results"))
    mixed = [read_index(store, name) for name in ("section-2", "section")]
    cells = {f"{place}{n}": key for n, one in enumerate(mixed) for place, key in one.cells.items()}
    facts = {name: fact for name, fact in mixed[1].track_facts.items() if name != "experiment"}
    index_path(store, "section").unlink()
    update_index(store, "section", cells, facts)
    run("leaderboard", "section")
    rows = boards()["section"]
    assert len(truths(rows)) == 1
    assert set(rows["mz"].dropna()) == {400.0, 500.0}
    readme = Path("results/leaderboards/section/README.md").read_text()
    assert "1 cell stays out of every table, of other data, m/z values" in readme


def printed_commands(folder):
    """Return every command that a board's README and page show."""
    readme = (folder / "README.md").read_text("utf-8")
    blocks = re.findall(r"```\n(.*?)```", readme, re.DOTALL)
    page = (folder / "index.html").read_text("utf-8")
    blocks += [html.unescape(text) for text in re.findall(r"<code>(msibench[^<]*)</code>", page)]
    lines = (line for block in blocks for line in block.splitlines())
    return list(dict.fromkeys(line for line in lines if line.startswith("msibench ")))


@pytest.mark.parametrize(
    "results", [("--results", "my results"), pytest.param((), marks=pytest.mark.slow)]
)
def test_every_command_on_a_board_works_where_it_was_run(run, section, results):
    run("run", "--data", section(), "--mz", "400,500", *FAST, *results)
    folder = Path(results[1] if results else "results") / "leaderboards" / "section"
    commands = printed_commands(folder)
    assert {command.split()[1] for command in commands} == {"run", "leaderboard", "report", "score"}
    for command in commands:
        words = shlex.split(command)[1:]
        if words[0] == "run":
            assert "0 run now" in run(*words, *FAST)[1]
        elif not results:
            run(*words)
        else:  # the board is where the one that ran lies
            assert words[words.index("--results") + 1] == results[1]
    run("verify", "section", *results)


def test_cells_of_own_files_are_run_again_where_the_files_are_at_hand(run, section):
    path = section()
    run("run", "--data", path, *ONE)
    kept = path.read_bytes()
    section(seed=1)  # other numbers under the same name
    said, _ = run("verify", "section", "--rerun", "1", status=6)
    assert "what its key stands for changed since" in said
    assert "reproduced" not in said
    assert "not run" in said
    path.unlink()
    said, _ = run("verify", "section", "--rerun", "1", status=6)
    assert "cannot be run here" in said
    path.write_bytes(kept)
    said, _ = run("verify", "section", "--rerun", "2")
    assert said.count("reproduced") == 1
    assert said.count("byte for byte") == 1
