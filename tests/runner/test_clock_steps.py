"""A clock that is set forward or back, between runs and while one runs, costs nothing that was measured."""

import itertools
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from msibench.results.schema import Status

RUN = ["run", "--data", "section.npz", "--mz", "all", "--no-sandbox", "--methods"]


def test_a_clock_that_steps_while_a_run_is_at_work(bench, monkeypatch):
    """Every look at the clock is another day, forward and back."""
    real, steps = time.time, itertools.cycle((0.0, 86_400.0 * 400, -86_400.0 * 400))
    monkeypatch.setattr(time, "time", lambda: real() + next(steps))
    _, records = bench.run("Sound")
    record = records["Sound"]
    assert record.status is Status.OK, record.reason
    assert all(0 <= seconds < 60 for seconds in record.timings.values())
    assert list((bench.store.root / "work").iterdir()) == []
    assert list((bench.store.root / "leases").iterdir()) == []
    summary, _ = bench.run("Sound")
    assert summary.cached == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
def test_runs_years_apart_share_a_results_folder(tmp_path):
    rng = np.random.default_rng(0)
    cube = rng.gamma(2.0, 1.0, (2, 24, 32)).astype(np.float32)
    np.savez(tmp_path / "section.npz", cube=cube, mz=[700.5, 701.5], pixel_size_um=10.0)

    def command(when, *words):
        line = [sys.executable, "-m", "msibench.cli.start", *words]
        done = subprocess.run(
            ["faketime", when, *line] if when else line,
            cwd=tmp_path,
            env={**os.environ, "FAKETIME_DONT_FAKE_MONOTONIC": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stderr

    command("", *RUN, "nearest")
    assert "1 run now, 2 stored already" in command("+3 years", *RUN, "nearest,bilinear")
    assert "1 run now, 3 stored already" in command("-3 years", *RUN, "nearest,bilinear,lanczos3")
    assert "0 run now, 4 stored already" in command("", *RUN, "nearest,bilinear,lanczos3")
    command("-3 years", "verify", "section")
