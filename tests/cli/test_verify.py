import json
import shutil
from pathlib import Path

import pytest

import msibench
from msibench.cli.main import main
from tests.gate.conftest import board, catalogue, measured, small_card

__all__ = ["board", "catalogue", "measured", "small_card"]

TRACK = """
schema_version = 1
name = "tiny"
metrics = ["psnr", "rmse"]
methods = ["bicubic", "nearest"]
[[problems]]
dataset = "small"
protocols = ["area-x4@1"]
"""


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, board):
    """Return a function that runs the command line beside a results folder and a leaderboard."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MSIBENCH_RESULTS", raising=False)
    place = tmp_path / "leaderboards" / "tiny"
    board.folder.rename(place.parent.mkdir() or place)
    (place / "track.toml").write_text(TRACK)

    def run(*words):
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        said = capsys.readouterr()
        return end.value.code or 0, said.out + said.err

    return run


def test_a_sound_track_is_verified_and_a_changed_byte_exits_with_7(run, board, tmp_path):
    code, said = run("verify", "tiny")
    assert code == 0, said
    assert said.count("verified  ") == 2
    assert "3 checked, 0 faults" in said
    path = board.file("prediction.h5")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))
    code, said = run("verify", "tiny", "--json")
    assert code == 7
    assert [one["level"] for one in json.loads(said)].count("verified") == 1
    assert "prediction.h5" in said


def test_one_record_is_verified_by_its_path_or_key(run, board):
    assert run("verify", board.file("record.json"))[0] == 0
    assert run("verify", board.file("record.json").parent)[0] == 0
    assert run("verify", board.keys["nearest"][:14])[0] == 0
    code, said = run("verify", board.file("record.json"), "--rerun", 1)
    assert code == 6  # its data set is not a card that is installed
    assert "cannot be run here" in said


def test_of_several_targets_each_is_checked_and_the_gravest_decides(run, board):
    sound = board.keys["nearest"][:14]
    code, said = run("verify", "tiny", sound)
    assert code == 0
    assert "4 checked, 0 faults" in said
    path = board.file("metrics.parquet")
    path.write_bytes(path.read_bytes() + b"x")
    assert run("verify", sound)[0] == 0
    assert run("verify", sound, "tiny")[0] == run("verify", "tiny", sound)[0] == 7
    assert run("verify", sound, "no-such-track")[0] == 2


def test_committed_files_are_verified_without_a_results_folder(run, tmp_path):
    (tmp_path / "results").rename(tmp_path / "away")
    assert run("verify", "leaderboards/tiny")[0] == 0
    with (tmp_path / "leaderboards/tiny/leaderboard.csv").open("a") as stream:
        stream.write("x\n")
    assert run("verify", "tiny")[0] == 7
    assert run("verify", "no-such-track")[0] == 2


def test_a_bundle_goes_from_one_folder_to_another(run, tmp_path):
    assert run("bundle", "tiny", "-o", "out/tiny.zip", "--predictions")[0] == 0
    code, said = run("import", "out/tiny.zip", "--results", "theirs")
    assert code == 0
    assert "added 2 cells to track tiny, self-reported" in said
    assert run("import", "out/tiny.zip", "--results", "theirs")[0] == 6
    assert run("leaderboard", "tiny", "--results", "theirs", "-o", "page")[0] == 0
    assert "self-reported" in (tmp_path / "page" / "leaderboard.csv").read_text()
    with (tmp_path / "out" / "tiny.zip").open("r+b") as stream:
        stream.seek(2000)
        stream.write(b"\0\0\0\0")
    assert run("import", "out/tiny.zip", "--results", "others")[0] in {2, 7}
    assert run("compare", "results", "theirs")[0] == 0


# -- all that is published ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [("store.json", "store.json is damaged"), ("tracks/tiny.json", "tiny.json is damaged")],
)
def test_damage_to_the_folders_own_files_exits_with_7(run, board, name, said):
    path = board.store.root / name
    path.write_text(path.read_text()[:-9])
    code, text = run("verify", "tiny")
    assert code == 7, text
    assert said in text


def test_a_store_without_its_problems_is_not_green(run, board):
    shutil.rmtree(board.store.root / "problems")
    code, text = run("verify", "tiny")
    assert code == 6, text
    assert "nothing recomputed" in text


def test_a_page_that_was_edited_is_found(run, board, tmp_path):
    assert run("leaderboard", "tiny")[0] == 0
    assert run("report", "tiny")[0] == 0
    assert run("verify", "tiny")[0] == 0
    (page,) = tmp_path.rglob("index.html")
    page.write_text(page.read_text().replace("bicubic", "bicubik", 1))
    code, text = run("verify", "tiny")
    assert code == 7
    assert "index.html differs" in text


def test_a_folder_that_cannot_be_written_can_be_verified(run, board, monkeypatch):
    from msibench.errors import StoreError
    from msibench.results import verification

    def read_only(*_):
        raise StoreError("it cannot be written")

    monkeypatch.setattr(verification, "write_atomically", read_only)
    code, text = run("verify", "tiny")
    assert code == 0, text
    assert "cannot be kept" in text


@pytest.fixture(scope="module")
def committed():
    """Return the folder of a committed board."""
    return Path(msibench.__file__).parents[1] / "leaderboards" / "charted-second-poor-x4"


@pytest.mark.parametrize(
    "what",
    ["nothing", "a score", *(pytest.param(w, marks=pytest.mark.slow) for w in ("a name", "no file", "a link"))],
)  # fmt: skip
def test_the_readme_of_a_committed_board_is_made_again_and_compared(
    run, board, committed, tmp_path, what
):
    place = tmp_path / "leaderboards" / committed.name
    shutil.copytree(committed, place)
    readme = place / "README.md"
    text = readme.read_text(encoding="utf-8")
    changed = {
        "nothing": text,
        "a score": text.replace("0.", "9.", 1),
        "a name": text.replace("bicubic", "my-method", 1),
        "a link": text + "\n[more](https://example.org)\n",
    }
    readme.write_text(changed.get(what, ""), encoding="utf-8")
    if what == "no file":
        readme.unlink()
    code, said = run("verify", place, "--results", tmp_path / "results")
    assert code == (0 if what == "nothing" else 7), said
    if what != "nothing":
        assert "README.md" in said
