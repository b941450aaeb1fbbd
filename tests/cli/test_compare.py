import json
import sys
from xml.etree import ElementTree

import pytest

from msibench.cli.main import main
from msibench.gate.interleave import Once
from tests.gate.tables import changed, rows_of, saved


@pytest.fixture
def run(capsys, monkeypatch):
    """Return a function that runs the command line and gives its exit code and output."""
    for name in ("CI", "RUNNER_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)

    def run(*words):
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        said = capsys.readouterr()
        return end.value.code or 0, said.out + said.err

    return run


@pytest.fixture
def margins(tmp_path):
    file = tmp_path / "margins.toml"
    file.write_text("schema_version = 1\n[metrics]\npsnr = 0.1\n")
    return file


def test_the_exit_code_and_every_report_say_that_a_method_got_worse(run, margins, tmp_path):
    base = rows_of(("bicubic", "a|<b>\x1b"))
    new = changed(base, -0.5, method="a|<b>\x1b", metric="psnr")
    files = [tmp_path / name for name in ("out/x.json", "out/x.xml", "out/x.md", "out/x.bmf")]
    code, said = run(
        "compare", saved(base, tmp_path / "base"), saved(new, tmp_path / "new"),
        "--margins", margins, "--json", files[0], "--junit", files[1], "--markdown", files[2],
        "--bmf", files[3],
    )  # fmt: skip
    assert code == 4
    assert "failed: quality got worse" in said
    found = json.loads(files[0].read_text())
    assert (found["exit_code"], found["counts"]["worse"]) == (4, 1)
    suites = ElementTree.parse(files[1]).getroot()
    assert [suite.get("failures") for suite in suites if suite.get("name") == "quality"] == ["1"]
    page = files[2].read_text()
    assert "a\\|&lt;b&gt;\\x1b" in page
    assert "<b>" not in page
    bencher = json.loads(files[3].read_text())
    assert bencher == found["bmf"]
    assert {"value": pytest.approx(0.5e9)} in [part.get("latency") for part in bencher.values()]


def test_equal_rows_exit_with_0_and_less_with_6(run, margins, tmp_path):
    rows = rows_of()
    base = saved(rows, tmp_path / "base")
    assert run("compare", base, base, "--margins", margins)[0] == 0
    less = saved(rows[rows["section"] != "s1"], tmp_path / "less")
    assert run("compare", base, less, "--margins", margins)[0] == 6


def test_a_track_file_says_how_many_images_are_required(run, margins, tmp_path):
    rows = rows_of()
    rows = rows[(rows["method"] == "bicubic") | (rows["channel"] < 3)]
    folder = saved(rows, tmp_path / "toy")
    assert run("compare", folder, folder, "--margins", margins)[0] == 0
    (tmp_path / "toy" / "track.toml").write_text(
        'schema_version = 1\nname = "toy"\nrequired_coverage = 0.9\n'
        '[[problems]]\ndataset = "toy"\nprotocols = ["area-x4@1"]\n'
    )
    code, said = run("compare", folder, folder, "--margins", margins)
    assert code == 6
    assert "90.0% are required" in said


def test_slower_cells_fail_here_warn_on_a_shared_runner_and_fail_there_when_told(
    run, margins, tmp_path, monkeypatch
):
    rows = rows_of(("net",), sections=10, channels=1, metrics=("psnr",))
    words = ["compare", saved(rows, tmp_path / "a")]
    words += [saved(rows.assign(seconds_per_image=2.0), tmp_path / "b"), "--margins", margins]
    assert run(*words)[0] == 5
    assert run(*words, "--warn-speed")[0] == 0
    monkeypatch.setenv("CI", "true")
    code, said = run(*words)
    assert code == 0
    assert "warning, speed" in said
    assert run(*words, "--strict-speed")[0] == 5


def test_two_commands_are_timed_and_one_that_fails_measures_nothing(run, monkeypatch):
    quick = f"{sys.executable} -c pass"
    slow = f"{sys.executable} -c 'import time; time.sleep(0.3)'"
    code = run("compare", "--speed", quick, slow, "--rounds", 1)[0]
    assert code == 6, "one round each decides nothing, however long it takes"
    with monkeypatch.context() as clock:  # seven rounds of another load may be told apart or not
        clock.setattr(
            "msibench.gate.interleave.run_once",
            lambda command, **_: Once(seconds=0.4 if "sleep" in command[-1] else 0.1, peak_mib=9.0),
        )
        assert run("compare", "--speed", quick, slow, "--rounds", 7)[0] == 5
        assert run("compare", "--speed", slow, quick, "--rounds", 7)[0] == 0
    broken = f"{sys.executable} -c 'raise SystemExit(1)'"
    assert run("compare", "--speed", quick, broken, "--rounds", 1)[0] == 6


def test_what_is_not_there_is_a_usage_error_and_what_is_no_table_an_integrity_error(run, tmp_path):
    base = saved(rows_of(sections=1), tmp_path / "base")
    assert run("compare", base, tmp_path / "nowhere")[0] == 2
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "rows.parquet").write_bytes(b"x")
    assert run("compare", base, tmp_path / "bad")[0] == 7
