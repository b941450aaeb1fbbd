import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from msibench import MSImage, Problem, Skip
from msibench.errors import ConfigurationError, MissingWeightsError
from msibench.testing import MethodContract
from msibench.testing.mirror import mirrored
from msibench_mambair import kernels, msibench_methods
from msibench_mambair.method import MambaIR as Method
from msibench_mambair.network import MambaIR, MambaIRConfig, build_network, infer_config
from msibench_mambair.scan import selective_scan

SPECS = {spec.name: spec for spec in msibench_methods()}

TINY = {
    "embed_dim": 8,
    "depths": (1, 2),
    "d_state": 4,
    "d_inner": 12,
    "dt_rank": 2,
    "mixer_dim": 4,
    "squeeze_dim": 1,
    "num_feat": 64,
}
CONFIGS = {
    "light-1": MambaIRConfig(
        **TINY | {"mixer": "depthwise", "mixer_dim": 8, "upsampler": "pixelshuffledirect"}
    ),
    "light-2-x3": MambaIRConfig(
        **TINY, mixer="bottleneck", upsampler="pixelshuffledirect", upscale=3
    ),
    "light-3-x2-grey": MambaIRConfig(
        **TINY, mixer="dilated", upsampler="pixelshuffledirect", upscale=2, in_chans=1
    ),
    "classical-x2": MambaIRConfig(**TINY, upscale=2),
    "classical-x3": MambaIRConfig(**TINY, upscale=3),
    "classical-x4-grey-3conv": MambaIRConfig(**TINY, upscale=4, in_chans=1, residual_convs=3),
    "nearest-x4": MambaIRConfig(**TINY, upsampler="nearest+conv"),
}


def network(config, seed=0):
    torch.manual_seed(seed)
    return MambaIR(config).eval()


def reference_scan(u, delta, a, b, c, d):
    """The recurrence as it is written down, one step and one state at a time."""
    length, batch, directions, dim = u.shape
    h = u.new_zeros(batch, directions, a.shape[1], dim)
    out = []
    for t in range(length):
        h = (
            torch.exp(delta[t, :, :, None] * a) * h
            + (delta[t] * u[t])[:, :, None] * b[t, ..., None]
        )
        out.append((c[t, ..., None] * h).sum(2) + d * u[t])
    return torch.stack(out)


def scan_inputs(length, batch=1, directions=2, dim=3, state=4, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(shape, generator=g, dtype=dtype)

    return (
        randn(length, batch, directions, dim),
        F.softplus(randn(length, batch, directions, dim) - 1),
        -torch.exp(randn(directions, state, dim)),
        randn(length, batch, directions, state),
        randn(length, batch, directions, state),
        randn(directions, dim),
    )


@settings(deadline=None, max_examples=30)
@given(
    length=st.integers(1, 40),
    batch=st.integers(1, 3),
    dim=st.integers(1, 5),
    state=st.integers(1, 4),
    chunk=st.sampled_from([1, 3, 7, 1000]),
)
def test_the_scan_is_the_recurrence_whatever_the_chunks(length, batch, dim, state, chunk):
    inputs = scan_inputs(length, batch, dim=dim, state=state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("msibench_mambair.scan._CHUNK_BYTES", chunk * batch * 2 * dim * state * 8)
        result = selective_scan(*inputs)

    torch.testing.assert_close(result, reference_scan(*inputs), rtol=1e-10, atol=1e-10)


def test_the_scan_has_the_gradients_of_the_recurrence(monkeypatch):
    inputs = [x.requires_grad_() for x in scan_inputs(7, batch=2, dim=2, state=3)]
    monkeypatch.setattr("msibench_mambair.scan._CHUNK_BYTES", 3 * 2 * 2 * 2 * 3 * 8)  # 3 steps

    torch.autograd.gradcheck(selective_scan, inputs)
    mine = torch.autograd.grad(selective_scan(*inputs).pow(2).sum(), inputs)
    theirs = torch.autograd.grad(reference_scan(*inputs).pow(2).sum(), inputs)

    for ours, expected in zip(mine, theirs, strict=True):
        torch.testing.assert_close(ours, expected)


def test_the_scan_in_single_precision_is_within_the_published_tolerance():
    inputs = scan_inputs(900, directions=4, dim=18, state=10, dtype=torch.float32)

    difference = (selective_scan(*inputs) - reference_scan(*inputs)).abs().max()

    assert difference <= 1e-4 * reference_scan(*inputs).abs().max()


@pytest.mark.parametrize("training", [False, True])
def test_the_scan_never_makes_a_tensor_of_length_times_state(training):
    inputs = scan_inputs(512, directions=4, dim=16, state=16, dtype=torch.float32)
    largest = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            largest.extend(x.numel() for x in [out] if isinstance(x, torch.Tensor))
            return out

    if training:
        inputs = [x.requires_grad_() for x in inputs]
    with pytest.MonkeyPatch.context() as patch, Watch():
        patch.setattr("msibench_mambair.scan._CHUNK_BYTES", 1 << 16)
        y = selective_scan(*inputs)
        if training:
            y.sum().backward()

    assert max(largest) <= inputs[0].numel()


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["mamba_ssm", "triton"])
def test_the_gpu_kernels_agree_with_our_scan(name):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if name == "mamba_ssm" and kernels._mamba_ssm() is None:
        pytest.skip("mamba_ssm is not installed")
    inputs = [x.cuda() for x in scan_inputs(500, 2, 4, 18, 10, dtype=torch.float32)]
    scan = {"mamba_ssm": kernels.mamba_ssm_scan, "triton": kernels.triton_scan}[name]

    ours, theirs = selective_scan(*inputs), scan(*inputs)

    assert (ours - theirs).abs().max() <= 1e-4 * ours.abs().max()


@pytest.mark.slow  # the interpreter takes seconds; kernels are compared with our scan below
def test_the_triton_kernel_agrees_with_our_scan_in_tritons_interpreter():
    pytest.importorskip("triton")
    script = (
        "import sys; from msibench_mambair import kernels; "
        "sys.exit(not kernels.agrees(kernels.triton_scan, 'cpu'))"
    )
    environment = os.environ | {"TRITON_INTERPRET": "1"}

    done = subprocess.run([sys.executable, "-c", script], env=environment, check=False)

    assert done.returncode == 0


def test_a_kernel_that_fails_or_differs_is_not_taken():
    def fails(*inputs):
        raise OSError("undefined symbol")

    assert not kernels.agrees(fails, "cpu")
    assert not kernels.agrees(lambda *inputs: selective_scan(*inputs) * 1.001, "cpu")
    assert kernels.agrees(selective_scan, "cpu")


@pytest.mark.parametrize(
    "name", ["small_light_x4", "small_light_gen1_feb2024_x4", "small_classical_x4"]
)
def test_outputs_equal_those_of_the_official_code(name):
    stored = np.load(mirrored(f"networks/mambair/{name}.npz"))
    state = torch.load(mirrored(f"networks/mambair/{name}.state.pt"), weights_only=True)
    ours = build_network(state)

    for key in stored.files:
        if key.startswith("in_"):
            expected = stored[key.replace("in_", "out_")]
            with torch.inference_mode():
                got = ours(torch.from_numpy(stored[key])).numpy()
            assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max(), key


@pytest.mark.parametrize(
    "name", ["small_light_x4", "small_light_gen1_feb2024_x4", "small_classical_x4"]
)
def test_the_official_list_of_keys_is_ours(name):
    listed = json.loads(mirrored(f"networks/mambair/{name}.json").read_text())["state"]
    ours = build_network({key: torch.zeros(shape) for key, (_, shape) in listed.items()})

    assert {key: list(value.shape) for key, value in ours.state_dict().items()} == {
        key: shape for key, (_, shape) in listed.items()
    }


@pytest.mark.sweep
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"params": s},
        lambda s: {"params_ema": {f"module.{k}": v for k, v in s.items()}},
    ],
)
def test_every_configuration_is_read_off_its_state_dict(config, wrap):
    original = network(config)

    rebuilt = build_network(wrap(original.state_dict()))

    assert rebuilt.config == config
    x = torch.rand(1, config.in_chans, 5, 7)
    with torch.inference_mode():
        out = rebuilt(x)
        assert torch.equal(out, original(x))
    assert out.shape == (1, config.in_chans, 5 * config.upscale, 7 * config.upscale)


@pytest.mark.slow
def test_the_full_light_and_classical_networks_have_the_published_size():
    light = MambaIRConfig(
        embed_dim=60,
        depths=(6,) * 4,
        d_state=10,
        d_inner=72,
        dt_rank=4,
        mixer="dilated",
        mixer_dim=30,
        squeeze_dim=2,
        upsampler="pixelshuffledirect",
    )
    for config, parameters in ((light, 924_492), (MambaIRConfig(), 20_569_575)):
        with torch.device("meta"):
            counted = sum(p.numel() for p in MambaIR(config).parameters())
        assert counted == parameters


def test_generations_of_the_light_model_are_told_apart():
    named = {
        name: infer_config(network(config).state_dict()).generation
        for name, config in CONFIGS.items()
    }

    assert named["light-1"] == "light-1"
    assert named["light-2-x3"] == "light-2"
    assert named["light-3-x2-grey"] == "light-3"
    assert named["classical-x2"] == "classical"


def test_keys_that_do_not_fit_are_named():
    state = network(CONFIGS["light-1"]).state_dict()
    with pytest.raises(ConfigurationError, match=r"norm\.weight"):
        build_network({k: v for k, v in state.items() if k != "norm.weight"})
    with pytest.raises(ConfigurationError, match="surplus"):
        build_network(state | {"surplus": torch.zeros(1)})
    with pytest.raises(ConfigurationError, match="not a MambaIR"):
        build_network({"some.weight": torch.zeros(1)})


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    net = network(CONFIGS["light-3-x2-grey"]).train()
    low, high = torch.rand(2, 1, 6, 6), torch.rand(2, 1, 12, 12)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss = F.l1_loss(net(low), high)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())

    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert losses[-1] < 0.9 * losses[0]


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "own_x4.safetensors"
    save_file(network(CONFIGS["light-1"]).state_dict(), path)
    return path


def problem(factor=4, rows=6, columns=9):
    values = np.random.default_rng(0).random((2, rows, columns)) * 50
    return Problem(low=MSImage(values, mz=[400.0, 500.0]), factor=factor)


def test_tiling_changes_the_result_and_the_report_says_so(checkpoint):
    whole = Method({"own": checkpoint})
    tiled = Method({"own": checkpoint}, tile=6, overlap=2)

    one, other = whole.upscale(problem()), tiled.upscale(problem())

    assert whole.report()["tiling_changes_result"] is False
    assert tiled.report()["tiling_changes_result"] is True
    assert "changed the result" in tiled.report()["note"]
    assert tiled.report()["generation"] == "light-1"
    assert np.abs(one - other).max() > 0


def test_a_checkpoint_of_another_factor_is_declined(checkpoint):
    declined = Method({"own": checkpoint}).upscale(problem(factor=2))

    assert isinstance(declined, Skip)
    assert "x4" in declined.reason


def test_missing_weights_say_how_to_get_them():
    with pytest.raises(MissingWeightsError, match="MambaIR_lightSRx4"):
        Method({}, variant="light").upscale(problem())


def test_an_unknown_option_is_refused():
    with pytest.raises(ConfigurationError, match="tyle"):
        Method({}, tyle=3)


class TestMambaIRContract(MethodContract):
    spec = SPECS["mambair-light"]

    @pytest.fixture(autouse=True)
    def _tiny_checkpoint(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path))
        path = tmp_path / "weights" / self.spec.weights[0].name
        path.parent.mkdir(parents=True)
        torch.save({"params": network(CONFIGS["light-1"]).state_dict()}, path)
