"""``msibench finetune --processes N``: the curve of one process with the joint batch."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from msibench.cli.main import main
from msibench.errors import ConfigurationError
from msibench.training.launch import check_shares, is_started_by_torchrun, torchrun

WORDS = [
    "finetune", "swinir-light", "--dataset", "phantom", "--sections", "synthetic-11", "--iterations", "4",
    "--from-scratch", "--set", "embed_dim=8", "--set", "depths=[2]", "--set", "num_heads=[2]",
    "--factor", "2", "--patch", "8", "--batch", "4", "--out",
]  # fmt: skip


def finetune(out, *more):
    return subprocess.run(
        [sys.executable, "-m", "msibench.cli.main", *WORDS, str(out), *more],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.slow  # the short version: two processes without a command line in test_loop.py
def test_two_processes_give_the_curve_and_the_weights_of_one(tmp_path):
    """DDP adds the halves of a gradient in another order, nothing else may differ."""
    for name, more in (("one", ()), ("two", ("--processes", "2"))):
        done = finetune(tmp_path / name, *more)
        assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / n / "record.json").read_text()) for n in ("one", "two"))
    assert one["request"] == two["request"]
    # the first loss is of equal weights; then Adam makes much of the last digit of small gradients
    np.testing.assert_allclose(one["curve"]["loss"][0], two["curve"]["loss"][0], rtol=1e-6)
    np.testing.assert_allclose(one["curve"]["loss"], two["curve"]["loss"], rtol=2e-3)
    ours, theirs = (load_file(tmp_path / n / "weights.safetensors") for n in ("one", "two"))
    assert ours.keys() == theirs.keys()
    one, two = (np.concatenate([w[name].ravel() for name in sorted(w)]) for w in (ours, theirs))
    assert np.linalg.norm(one - two) < 1e-3 * np.linalg.norm(one)


def test_what_is_started_is_torchrun_with_the_same_words_and_a_share_of_the_cores():
    command, environment = torchrun(3, ["finetune", "m", "--out", "a b"], {"PATH": "/bin"})
    assert command[1:4] == ["-m", "torch.distributed.run", "--standalone"]
    assert command[command.index("--nproc-per-node") + 1] == "3"
    assert command[-4:] == ["finetune", "m", "--out", "a b"]
    assert int(environment["OMP_NUM_THREADS"]) >= 1
    assert torchrun(3, [], {"OMP_NUM_THREADS": "7"})[1]["OMP_NUM_THREADS"] == "7"


def test_a_process_of_torchrun_starts_no_others():
    assert is_started_by_torchrun({"WORLD_SIZE": "2", "RANK": "1"})
    assert not is_started_by_torchrun({"WORLD_SIZE": "2"})


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_starts(tmp_path, capsys):
    with pytest.raises(ConfigurationError, match="multiple of 3"):
        check_shares(3, 8, "cpu")
    with pytest.raises(SystemExit) as ended:
        main([*WORDS, str(tmp_path), "--processes", "3"])
    assert ended.value.code == 2
    assert "choose --batch as a multiple of 3" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
