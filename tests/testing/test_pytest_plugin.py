"""The plugin as an author uses it: in a repository of their own, in a pytest of its own."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from tests.gate.tables import changed, rows_of, saved

pytest_plugins = ["pytester"]
METHODS = '''
import numpy as np


class Nearest:
    def upscale(self, problem):
        low = np.nan_to_num(problem.low.values)
        return low.repeat(problem.factor, 1).repeat(problem.factor, 2)


class Dark:
    """Keeps the grid and loses the picture."""

    def upscale(self, problem):
        return np.zeros_like(Nearest().upscale(problem))
'''


@pytest.fixture
def author(pytester):
    """Return a function that runs pytest in somebody's repository, in this process."""
    pytester.makepyfile(methods=METHODS, test_own="def test_own():\n    pass\n")
    here = "msibench.testing.pytest_plugin"
    installed = here in {entry.value for entry in entry_points(group="pytest11")}
    plugin = [] if installed else ["-p", here]

    def run(*words, ini="[pytest]\n"):
        pytester.makeini(ini)
        done = pytester.runpytest_inprocess(
            "-p", "no:cacheprovider", "-W", "error", *plugin, *words
        )
        return done.ret, "\n".join((*done.outlines, *done.errlines))

    return run


@pytest.mark.slow
def test_it_is_there_in_a_pytest_of_its_own(author, pytester):
    words = ("-q", "--msibench-method", "methods.py:Nearest", "-k", "check_dtype")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=pytester.path, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_nothing_is_added_without_being_asked_for(author):
    code, said = author("-q")
    assert (code, "1 passed" in said) == (0, True)


def test_a_sound_method_passes_contract_and_quality(author):
    ini = "[pytest]\nmsibench_methods = methods.py:Nearest\nmsibench_margin_db = 3\n"
    ini += "msibench_control = bicubic\n"
    code, said = author("-v", ini=ini)
    assert code == 0, said
    assert "msibench[methods.py:Nearest]::check_dtype PASSED" in said
    assert "check_not_worse_than_control PASSED" in said
    assert "test_own.py::test_own PASSED" in said


def test_a_method_that_loses_the_picture_fails_the_quality_suite(author):
    code, said = author("-q", "--msibench-method", "methods.py:Dark", "-k", "control or kept")
    assert code == 1
    assert "dB less PSNR than bicubic" in said
    assert "2 failed" in said


def test_a_known_failure_is_expected_with_its_reason_and_must_still_fail(author):
    known = "[pytest]\nmsibench_expected_failures =\n    {}: it is only a sketch\n"
    words = ("-q", "--msibench-method", "methods.py:Dark", "-k", "check_intensity_is_kept")
    assert author(*words, ini=known.format("check_intensity_is_kept"))[0] == 0
    words = ("-q", "--msibench-method", "methods.py:Dark", "-k", "check_dtype")
    assert author(*words, ini=known.format("check_dtype"))[0] == 1


def test_a_method_that_nobody_has_is_a_usage_error(author):
    code, said = author("-q", "--msibench-method", "swinnir")
    assert code == 4
    assert "swinnir" in said


def test_the_gate_is_a_test(author, tmp_path):
    base = rows_of(channels=3)
    sides = [saved(base, tmp_path / "a"), saved(changed(base, -0.5, metric="psnr"), tmp_path / "b")]
    code, said = author("-q", "-k", "gate", "--msibench-gate", *sides)
    assert code == 1
    assert "msibench compare ended with 4" in said
