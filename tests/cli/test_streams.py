"""Standard streams that are closed, full, or read by nobody."""

import subprocess
import sys

import pytest

COMMAND = f"{sys.executable} -m msibench.cli.start"


def shell(line, cwd):
    return subprocess.run(
        ["bash", "-c", line], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_a_run_without_a_standard_error_runs(tmp_path):
    done = shell(
        f"{COMMAND} run quickstart --mz 301.141 --methods nearest --metrics psnr --no-sandbox 2>&-",
        tmp_path,
    )
    assert done.returncode == 0
    assert "nearest" in done.stdout
    assert len(list((tmp_path / "results").glob("cells/*/*/record.json"))) == 2


@pytest.mark.parametrize(
    "words",
    [
        "list methods",
        *(pytest.param(w, marks=pytest.mark.slow) for w in ("list protocols", "plan quickstart")),
    ],
)
def test_output_that_cannot_be_written_is_said_in_one_line(tmp_path, words):
    done = shell(f"{COMMAND} {words} > /dev/full", tmp_path)
    assert done.returncode == 2
    assert done.stderr == "msibench: what is printed cannot be written: No space left on device\n"


def test_output_that_nobody_reads_ends_quietly(tmp_path):
    done = shell(f"{COMMAND} list methods | true; echo ${{PIPESTATUS[0]}}", tmp_path)
    assert done.stderr == ""
    assert done.stdout.strip() in {"0", "1"}


def test_an_empty_variable_names_no_results_folder(tmp_path):
    done = shell(f"MSIBENCH_RESULTS= {COMMAND} status quickstart", tmp_path)
    assert "results is not a results folder" in done.stderr
