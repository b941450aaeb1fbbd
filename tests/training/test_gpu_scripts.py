"""The scripts for a card, run on a processor at a size at which their figures mean nothing."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
LISTS = {
    "rates": ["six metrics", "split_error", "lcrn"],
    "fits": ["pixtransform", "cnn3", "lcrn"],
}


@pytest.mark.slow  # the short version follows
@pytest.mark.parametrize("what", ["rates", "fits"])
def test_they_run_and_write_one_json_that_names_the_device(tmp_path, what):
    only = "six,split,lcrn" if what == "rates" else "pixtransform,cnn3,lcrn"
    command = [str(BENCH / f"gpu-{what}.sh"), str(tmp_path / "found.json"), "--device", "cpu"]
    subprocess.run(
        [*command, "--small", "--only", only],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
    )
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["what"] == what
    assert found["small"] is True
    assert "processor" in found["device"]
    assert [line["name"] for line in found["lines"]] == LISTS[what]
    assert all(line["value"] > 0 and line["unit"] for line in found["lines"]), found["lines"]


@pytest.mark.parametrize("what", ["rates", "fits"])
def test_they_hand_on_what_they_were_given(what):
    said = subprocess.run(
        [str(BENCH / f"gpu-{what}.sh"), "found.json", "--small"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": "echo"},
    )
    assert said.stdout.split() == [str(BENCH / "measure_gpu.py"), what, "found.json", "--small"]


def test_what_time_does_not_allow_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    words = ["rates", str(tmp_path / "found.json"), "--device", "cpu", "--small"]
    monkeypatch.setattr(sys, "argv", ["", *words, "--only", "six,split", "--seconds", "0.5"])
    runpy.run_path(str(BENCH / "measure_gpu.py"), run_name="__main__")
    lines = json.loads((tmp_path / "found.json").read_text())["lines"]
    assert [line["value"] for line in lines] == [None, None]
    assert {line["note"] for line in lines} == {"not measured: the time was used up"}
