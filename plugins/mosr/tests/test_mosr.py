import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from spandrel.architectures.ESRGAN import ESRGANArch

from msibench import MSImage, Problem, Skip
from msibench.errors import ConfigurationError, MissingWeightsError
from msibench.testing import MethodContract
from msibench.testing.mirror import mirrored
from msibench_mosr import SPEC
from msibench_mosr.method import MOSR
from msibench_mosr.network import RRDBConfig, RRDBNet, build_network, infer_config

CONFIGS = {
    "x4": RRDBConfig(num_feat=8, num_block=2, num_grow_ch=4),
    "x2": RRDBConfig(scale=2, num_feat=8, num_block=1, num_grow_ch=4),
    "x1": RRDBConfig(scale=1, num_feat=8, num_block=1, num_grow_ch=4),
    "x4-grey": RRDBConfig(num_in_ch=1, num_out_ch=1, num_feat=8, num_block=1, num_grow_ch=4),
    "x2-grey": RRDBConfig(
        num_in_ch=1, num_out_ch=1, scale=2, num_feat=8, num_block=1, num_grow_ch=4
    ),
}


def network(config, seed=0):
    torch.manual_seed(seed)
    return RRDBNet(config).eval()


def test_outputs_equal_those_of_the_official_code():
    stored = np.load(mirrored("networks/mosr/small_x4.npz"))
    state = torch.load(mirrored("networks/mosr/small_x4.state.pt"), weights_only=True)
    ours = build_network(state)

    for key in stored.files:
        if key.startswith("in_"):
            expected = stored[key.replace("in_", "out_")]
            with torch.inference_mode():
                got = ours(torch.from_numpy(stored[key])).numpy()
            assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max(), key


def test_the_official_list_of_keys_is_ours():
    listed = json.loads(mirrored("networks/mosr/small_x4.json").read_text())["state"]
    ours = build_network({key: torch.zeros(shape) for key, (_, shape) in listed.items()})

    assert {key: list(value.shape) for key, value in ours.state_dict().items()} == {
        key: shape for key, (_, shape) in listed.items()
    }


def test_the_published_network_has_the_published_size():
    with torch.device("meta"):
        assert sum(p.numel() for p in RRDBNet(RRDBConfig()).parameters()) == 16_697_987


@pytest.mark.parametrize("scale", [4, 2, 1])
@pytest.mark.parametrize("shape", [(8, 12), (7, 9)])
def test_outputs_equal_those_of_spandrels_rrdbnet(scale, shape):
    ours = network(RRDBConfig(scale=scale, num_feat=16, num_block=1, num_grow_ch=32))
    theirs = ESRGANArch().load(dict(ours.state_dict())).model.eval()
    x = torch.rand(2, 3, *shape)

    with torch.inference_mode():
        expected, got = theirs(x), ours(x)

    assert got.shape == expected.shape
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
    original = network(config)

    rebuilt = build_network(wrap(original.state_dict()))

    assert infer_config(original.state_dict()) == config
    x = torch.rand(1, config.num_in_ch, 8, 6)
    with torch.inference_mode():
        assert torch.equal(rebuilt(x), original(x))


def test_keys_that_do_not_fit_are_named():
    state = network(CONFIGS["x4"]).state_dict()
    with pytest.raises(ConfigurationError, match=r"conv_hr\.bias"):
        build_network({k: v for k, v in state.items() if k != "conv_hr.bias"})
    with pytest.raises(ConfigurationError, match="surplus"):
        build_network(state | {"surplus": torch.zeros(1)})
    with pytest.raises(ConfigurationError, match="spandrel:PATH"):
        build_network({"model.0.weight": torch.zeros(1)})
    with pytest.raises(ConfigurationError, match="this one reads 5"):
        build_network(state | {"conv_first.weight": torch.zeros(8, 5, 3, 3)})


def test_training_lowers_the_loss():
    net = network(CONFIGS["x2-grey"]).train()
    low, high = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 16, 16)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        loss = F.l1_loss(net(low), high)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())

    assert losses[-1] < 0.9 * losses[0]


def problem(factor=4, rows=5, columns=7):
    values = np.random.default_rng(0).random((2, rows, columns)) * 50
    return Problem(low=MSImage(values, mz=[400.0, 500.0]), factor=factor)


@pytest.mark.parametrize("factor", [4, 2])
def test_a_checkpoint_of_the_users_own_runs_at_any_size(tmp_path, factor):
    path = tmp_path / "own.safetensors"
    save_file(network(CONFIGS[f"x{factor}"]).state_dict(), path)
    method = MOSR({"own": path}, variant="mosr")

    for rows, columns in ((5, 7), (1, 1), (3, 2)):
        fine = method.upscale(problem(factor, rows, columns))
        assert fine.shape == (2, rows * factor, columns * factor)
        assert np.isfinite(fine).all()
    assert isinstance(method.upscale(problem(3)), Skip)


def test_missing_weights_say_how_to_get_them():
    with pytest.raises(
        MissingWeightsError, match=r"USTC-xlab/MOSR.*weights add PATH --as MOSR_x4\.pth"
    ):
        MOSR({}, variant="mosr").upscale(problem())


class TestMOSRContract(MethodContract):
    spec = SPEC

    @pytest.fixture(autouse=True)
    def _tiny_checkpoint(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path))
        path = tmp_path / "weights" / self.spec.weights[0].name
        path.parent.mkdir(parents=True)
        torch.save({"params": network(CONFIGS["x4"]).state_dict()}, path)
