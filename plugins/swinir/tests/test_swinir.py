import json
import warnings
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from spandrel.architectures.SwinIR import SwinIR as SpandrelSwinIR

from msibench import MSImage, Problem, Skip
from msibench.errors import ConfigurationError, MissingWeightsError
from msibench.testing import MethodContract
from msibench.testing.mirror import mirrored
from msibench_swinir import msibench_methods
from msibench_swinir.method import SwinIR as Method
from msibench_swinir.network import SwinIRConfig, build_network, infer_config, make_network

SPECS = {spec.name: spec for spec in msibench_methods()}

TINY = SwinIRConfig(img_size=16, depths=(2, 3), embed_dim=12, num_heads=(2, 3))
CONFIGS = {
    "light-x2": replace(TINY, upscale=2),
    "light-x3-grey": replace(TINY, upscale=3, in_chans=1),
    "light-x4": TINY,
    "classical-x2": replace(TINY, upscale=2, upsampler="pixelshuffle"),
    "classical-x3-grey": replace(TINY, upscale=3, upsampler="pixelshuffle", in_chans=1),
    "classical-x4": replace(TINY, upscale=4, upsampler="pixelshuffle"),
    "classical-x8": replace(TINY, upscale=8, upsampler="pixelshuffle"),
    "real-m-x2": replace(TINY, upscale=2, upsampler="nearest+conv"),
    "real-m-x4": replace(TINY, upscale=4, upsampler="nearest+conv"),
    "real-l-x4": replace(TINY, upsampler="nearest+conv", resi_connection="3conv"),
    "window-4": replace(TINY, window_size=4),
    "uneven-mlp": replace(TINY, mlp_ratio=1.25),
}
ORACLES = ["small_light_x4", "small_realL_x4"]


def random_network(config, seed=0):
    torch.manual_seed(seed)
    network = make_network(config).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "bias_table" in name:  # starts near zero, and would hide an error
                parameter.copy_(0.5 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("name", ORACLES)
def test_outputs_equal_those_of_the_official_code(name):
    stored = np.load(mirrored(f"networks/swinir/{name}.npz"))
    state = torch.load(mirrored(f"networks/swinir/{name}.state.pt"), weights_only=True)
    ours = build_network(state)

    for key in stored.files:
        if key.startswith("in_"):
            expected = stored[key.replace("in_", "out_")]
            with torch.inference_mode():
                got = ours(torch.from_numpy(stored[key])).numpy()
            assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max(), key


@pytest.mark.parametrize("name", ORACLES)
def test_the_official_list_of_keys_is_ours(name):
    listed = json.loads(mirrored(f"networks/swinir/{name}.json").read_text())["state"]
    zeros = {
        key: torch.zeros(shape, dtype=getattr(torch, kind)) for key, (kind, shape) in listed.items()
    }
    ours = build_network(zeros)

    assert {key: list(value.shape) for key, value in ours.state_dict().items()} == {
        key: shape for key, (_, shape) in listed.items()
    }
    ours.load_state_dict(zeros)  # strictly, as a caller with an official checkpoint would


@pytest.mark.sweep
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("shape", [(16, 16), (9, 19), (8, 24)])
def test_fused_attention_gives_what_spandrel_gives(config, shape):
    ours = random_network(config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = SpandrelSwinIR(**asdict(config)).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, config.in_chans, *shape)

    with torch.inference_mode():
        expected, got = theirs(x), ours(x)

    assert got.shape == (2, config.in_chans, *(side * config.upscale for side in shape))
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.sweep
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"params": state},
        lambda state: {"params_ema": {f"module.{name}": t for name, t in state.items()}},
    ],
)
def test_every_configuration_is_read_off_its_state_dict(config, wrap):
    original = random_network(config)

    rebuilt = build_network(wrap(original.state_dict()))

    assert infer_config(original.state_dict()) == config
    x = torch.rand(1, config.in_chans, 9, 13)
    with torch.inference_mode():
        assert torch.equal(rebuilt(x), original(x))


def test_buffers_of_another_image_size_or_none_make_no_difference():
    original = random_network(TINY)
    state = original.state_dict()
    parameters = {k: v for k, v in state.items() if "attn_mask" not in k and "index" not in k}
    elsewhere = {
        k: v
        for k, v in random_network(replace(TINY, img_size=48)).state_dict().items()
        if k not in parameters
    }
    x = torch.rand(1, 3, 11, 17)

    with torch.inference_mode():
        expected = original(x)
        for variant in (parameters, parameters | elsewhere):
            assert torch.equal(build_network(variant)(x), expected)


@pytest.mark.slow
def test_the_published_networks_have_the_published_size():
    classical = SwinIRConfig(
        embed_dim=180, depths=(6,) * 6, num_heads=(6,) * 6, upsampler="pixelshuffle"
    )
    large = SwinIRConfig(
        embed_dim=240,
        depths=(6,) * 9,
        num_heads=(8,) * 9,
        upsampler="nearest+conv",
        resi_connection="3conv",
    )
    for config, millions in ((SwinIRConfig(), 0.93), (classical, 11.90), (large, 28.01)):
        count = sum(p.numel() for p in make_network(config).parameters())
        assert round(count / 1e6, 2) == millions


def test_keys_that_do_not_fit_are_named():
    state = random_network(TINY).state_dict()
    with pytest.raises(ConfigurationError, match=r"norm\.weight"):
        build_network({k: v for k, v in state.items() if k != "norm.weight"})
    with pytest.raises(ConfigurationError, match="surplus"):
        build_network(state | {"surplus": torch.zeros(1)})
    with pytest.raises(ConfigurationError, match="does not fit"):
        build_network(state | {"norm.weight": torch.zeros(5)})
    with pytest.raises(ConfigurationError, match="not a SwinIR"):
        build_network({"some.weight": torch.zeros(1)})


def test_training_lowers_the_loss_after_inference_has_filled_the_caches():
    network = random_network(replace(TINY, upscale=2, in_chans=1))
    low, high = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        network(low)
    network.train()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss = F.l1_loss(network(low), high)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())

    assert all(p.grad is not None for p in network.parameters())
    assert losses[-1] < 0.9 * losses[0]


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "own_x4.safetensors"
    save_file(random_network(TINY).state_dict(), path)
    return path


def problem(factor=4, rows=10, columns=13):
    values = np.random.default_rng(0).random((2, rows, columns)) * 50
    return Problem(low=MSImage(values, mz=[400.0, 500.0]), factor=factor)


def test_a_checkpoint_of_the_users_own_runs_and_is_on_record(checkpoint):
    method = Method({"own": checkpoint}, variant="light")

    fine = method.upscale(problem())

    assert fine.shape == (2, 40, 52)
    assert method.report()["embed_dim"] == 12
    assert len(method.report()["weights_sha256"]) == 64


def test_tiles_of_whole_windows_differ_little_from_the_whole(checkpoint):
    smooth = np.outer(np.hanning(72), np.hanning(88)).astype(np.float32)[None] * 100
    big = Problem(low=MSImage(smooth, mz=[400.0]), factor=4)

    whole = Method({"own": checkpoint}).upscale(big)
    tiled = Method({"own": checkpoint}, tile=48, overlap=32)
    fine = tiled.upscale(big)

    assert tiled.report()["tiles_per_image"] > 1
    assert np.abs(fine - whole).mean() <= 0.01 * whole.max()


def test_a_checkpoint_of_another_factor_is_declined(checkpoint):
    declined = Method({"own": checkpoint}).upscale(problem(factor=2))

    assert isinstance(declined, Skip)
    assert "x4" in declined.reason


def test_missing_weights_say_how_to_get_them():
    with pytest.raises(MissingWeightsError, match="weights fetch 002_lightweightSR"):
        Method({}, variant="light").upscale(problem())


def test_every_published_file_is_a_method_of_one_factor():
    assert SPECS["swinir-light"].weights[0].name == "002_lightweightSR_DIV2K_s64w8_SwinIR-S_x4.pth"
    assert SPECS["swinir-real-l"].weights[0].name.endswith("SwinIR-L_x4_GAN.pth")
    for spec in (spec for spec in SPECS.values() if spec.weights[0].url):
        assert len(spec.weights) == len(spec.factors) == 1
        assert f"x{next(iter(spec.factors))}" in spec.weights[0].name
        assert spec.weights[0].url.endswith(spec.weights[0].name)


class TestSwinIRContract(MethodContract):
    spec = SPECS["swinir-light"]

    @pytest.fixture(autouse=True)
    def _tiny_checkpoint(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path))
        path = tmp_path / "weights" / self.spec.weights[0].name
        path.parent.mkdir(parents=True)
        torch.save({"params": random_network(TINY).state_dict()}, path)
