import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from msibench.errors import ConfigurationError
from msibench.owners import owned_name
from msibench.training.checkpoints import STATE, load_state
from msibench.training.loop import DivergedError, TrainingStates, train
from msibench.training.validation import validate

sys.path.insert(0, str(Path(__file__).parent))
import tiny_network as tiny

SCRIPT = Path(__file__).with_name("tiny_network.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
FORKS = """
import json, os, sys, traceback
sys.path.insert(0, sys.argv[1])
import tiny_network as tiny

for line in sys.stdin:
    program, environment, said = json.loads(line)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.environ.update(environment)
            sys.stdout = sys.stderr = open(said, "w")
            exec(program)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def forks():
    """A process that has PyTorch and what trains, of which each program is a fork."""
    words = [sys.executable, "-c", FORKS, str(SCRIPT.parent)]
    made = subprocess.Popen(
        words, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield made
    made.communicate(timeout=30)


@pytest.fixture
def fork(forks, tmp_path):
    """Return a function that starts a program; what that returns waits for it and gives what it printed."""

    def start(program, **environment):
        said = tmp_path / "said.txt"
        forks.stdin.write(json.dumps([program, environment, str(said)]) + "\n")
        forks.stdin.flush()

        def wait():
            code = int(forks.stdout.readline())
            assert code == 0, said.read_text()
            return said.read_text()

        return wait

    return start


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    return all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_two_hundred_steps_lower_the_loss_and_beat_the_start_on_a_held_out_section():
    net = tiny.network()
    before = validate(net, tiny.validation())
    result = train(net, tiny.patches(), tiny.settings(200), validation=tiny.validation())
    assert np.mean(result.loss[-20:]) < 0.5 * np.mean(result.loss[:20])
    assert [point["iteration"] for point in result.validation] == list(range(10, 201, 10))
    assert result.validation[-1]["psnr"] > before["psnr"] + 3
    assert result.validation[-1]["ssim"] > before["ssim"]
    assert validate(net, tiny.validation())["psnr"] == pytest.approx(
        result.validation[-1]["psnr"], abs=1e-6
    ), "the network that was handed in holds the result"


def test_the_same_seed_gives_the_same_curve_and_another_seed_another_one():
    first, again = (train(tiny.network(), tiny.patches(), tiny.settings(12)) for _ in range(2))
    other = train(tiny.network(), tiny.patches(seed=1), tiny.settings(12, seed=1))
    assert first.loss == again.loss
    assert same(first.weights, again.weights)
    assert first.loss != other.loss


def test_training_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(tiny.network(), tiny.patches(), tiny.settings(3))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("stop_at", [10, 25])
def test_a_resumed_training_has_exactly_the_curve_and_weights_of_an_uninterrupted_one(
    tmp_path, stop_at
):
    whole = train(tiny.network(), tiny.patches(), tiny.settings(40), validation=tiny.validation())

    class StopError(Exception):
        pass

    seen = []

    def stop(now):
        seen.append(now.iteration)
        if now.iteration >= stop_at:
            raise StopError

    with pytest.raises(StopError):
        train(
            tiny.network(),
            tiny.patches(),
            tiny.settings(40),
            validation=tiny.validation(),
            states=TrainingStates(folder=tmp_path),
            progress=stop,
        )
    assert load_state(tmp_path).iteration == seen[-1] // 10 * 10
    resumed = train(
        tiny.network(seed=99),  # what it starts from no longer matters
        tiny.patches(),
        tiny.settings(40),
        validation=tiny.validation(),
        states=TrainingStates(folder=tmp_path, resume=True),
    )
    assert resumed.loss == whole.loss
    assert resumed.validation == whole.validation
    assert same(resumed.weights, whole.weights)


@pytest.mark.slow  # the short version: a training that is stopped, above, and what is left half written, below
def test_after_kill_9_the_same_curve_and_the_same_bytes(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    tiny.run(whole, 120)
    command = [sys.executable, SCRIPT, killed, "120"]
    process = subprocess.Popen(command, env=ENVIRONMENT)
    deadline = time.monotonic() + 60
    while not (killed / STATE).exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert load_state(killed).iteration < 120
    tiny.run(killed, 120)
    for name in ("done.safetensors", STATE):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


def test_what_a_killed_training_left_half_written_goes_with_the_next(tmp_path):
    ask = "from msibench.owners import owned_name; print(owned_name('state.safetensors'))"
    name = subprocess.check_output([sys.executable, "-c", ask], text=True).strip()
    (tmp_path / f".{name}.part").write_bytes(b"half")
    (tmp_path / f".{owned_name('state.safetensors')}.part").write_bytes(b"being written")
    assert load_state(tmp_path) is None
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"being written"]


def test_two_processes_with_half_the_batch_each_give_the_curve_of_the_joint_batch(
    tmp_path, monkeypatch, fork
):
    one, two = tmp_path / "one", tmp_path / "two"
    tiny.run(one, 12, "plain")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    program = f"tiny.run({str(two)!r}, 12, 'plain')"
    other = fork(program, **together, RANK="1", LOCAL_RANK="1")
    for name, value in {**together, "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    tiny.run(two, 12, "plain")  # the first of the two is this process
    other()
    ours, theirs = (load_file(folder / "done.safetensors") for folder in (two, one))
    assert len(ours["curve"]) == 12
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-4, atol=1e-5)


def test_a_fit_and_a_training_do_not_import_the_compiler(fork):
    program = """
import torch
from msibench.training.fitting import FitSettings, fit_ions
from msibench.training.loop import train

class Dark:
    terms, parts = ("mse",), 1
    def __call__(self, network, ions, part):
        return network(torch.ones(1, 1, 4, 4)).square().mean((1, 2, 3, 4))[:, None]

fit_ions(lambda: torch.nn.Conv2d(1, 1, 3), Dark(), (0,), FitSettings(epochs=2), seed=0)
train(tiny.network(), tiny.patches(), tiny.settings(2, optimiser="adamw", weight_decay=0.1))
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""
    assert fork(program)().strip() == "[]"


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(ConfigurationError, match="multiple of 3"):
        tiny.patches().batch(0, rank=0, world=3)


def test_a_state_of_other_settings_is_refused_and_the_setting_is_named(tmp_path):
    train(tiny.network(), tiny.patches(), tiny.settings(10), states=TrainingStates(folder=tmp_path))
    with pytest.raises(ConfigurationError, match=r"\(lr\)"):
        train(
            tiny.network(),
            tiny.patches(),
            tiny.settings(10, lr=1e-3),
            states=TrainingStates(folder=tmp_path, resume=True),
        )


def test_stopping_early_and_going_on_later_gives_the_uninterrupted_training(tmp_path):
    whole = train(tiny.network(), tiny.patches(), tiny.settings(30))
    part = train(
        tiny.network(),
        tiny.patches(),
        tiny.settings(30, stop_at=13),
        states=TrainingStates(folder=tmp_path),
    )
    assert part.loss == whole.loss[:13]
    rest = train(
        tiny.network(),
        tiny.patches(),
        tiny.settings(30),
        states=TrainingStates(folder=tmp_path, resume=True),
    )
    assert rest.loss == whole.loss
    assert same(rest.weights, whole.weights)


def test_a_loss_that_is_no_number_stops_the_training_with_the_step():
    def explode(network, low, high, generator):
        return network(low).sum() * float("nan")

    with pytest.raises(DivergedError, match="step 1"):
        train(tiny.network(), tiny.patches(), tiny.settings(30), objective=explode)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_reduced_precision_learns_too_and_keeps_float32_weights(precision):
    result = train(tiny.network(), tiny.patches(), tiny.settings(60, precision=precision))
    assert np.mean(result.loss[-10:]) < 0.8 * np.mean(result.loss[:10])
    assert {value.dtype for value in result.weights.values()} == {torch.float32}


@pytest.mark.parametrize("changes", [{"clip": 1e-9}, {"lr": 0.0, "lr_min": 0.0}])
def test_clipped_gradients_and_a_rate_of_zero_leave_the_weights_where_they_were(changes):
    net = tiny.network()
    start = {key: value.clone() for key, value in net.state_dict().items()}
    optimiser = "adam" if "clip" in changes else "adamw"
    config = tiny.settings(5, ema=0.0, optimiser=optimiser, **changes)
    result = train(net, tiny.patches(), config)
    moved = max(float((result.weights[k] - v).abs().max()) for k, v in start.items())
    # Adam divides by the gradient's own size: clipping to 1e-9 leaves steps below lr * 0.1.
    assert moved <= (5 * 5e-3 * 0.2 if "clip" in changes else 0.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_a_gpu_lowers_the_loss():
    from msibench.training.ddp import World

    result = train(tiny.network(), tiny.patches(), tiny.settings(100), world=World(device="cuda"))
    assert np.mean(result.loss[-10:]) < 0.7 * np.mean(result.loss[:10])
