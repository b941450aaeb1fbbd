import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from msibench.degradation import protocol
from msibench.errors import ConfigurationError, MissingWeightsError
from msibench.metrics import detail_gain, ssim
from msibench.training.ema import EMA
from msibench.training.losses import charbonnier, detail_loss, gradient_l1, loss_mix, ssim_loss
from msibench.training.schedule import Schedule


def pair(rows=21, columns=17, seed=0):
    draw = torch.Generator().manual_seed(seed)
    truth = torch.rand(2, 1, rows, columns, generator=draw)
    return (truth + 0.1 * torch.randn(truth.shape, generator=draw)).clamp(0, 1), truth


@pytest.mark.parametrize("name", ["l1", "mse", "charbonnier", "ssim", "gradient"])
def test_every_loss_is_least_at_the_truth_and_sends_a_gradient(name):
    prediction, truth = pair()
    loss = loss_mix({name: 1.0})
    prediction.requires_grad_()
    value = loss(prediction, truth)
    value.backward()
    assert prediction.grad.abs().sum() > 0
    at_truth = float(loss(truth, truth))
    assert at_truth == pytest.approx(1e-3 if name == "charbonnier" else 0, abs=1e-6)
    assert float(value.detach()) > at_truth


def test_charbonnier_goes_over_into_the_absolute_difference():
    a, b = torch.zeros(1, 1, 3, 4), torch.full((1, 1, 3, 4), 2.0)
    assert float(charbonnier(a, b)) == pytest.approx(2.0, rel=1e-6)
    assert float(charbonnier(a, a)) == pytest.approx(1e-3)


def test_the_ssim_loss_is_one_minus_the_metric():
    prediction, truth = pair(40, 33)
    for ours, theirs in zip(prediction, truth, strict=True):
        metric = ssim(ours[0].double().numpy(), theirs[0].double().numpy())
        assert float(ssim_loss(ours[None].double(), theirs[None].double())) == pytest.approx(
            1 - float(metric), abs=1e-6
        )


def test_the_ssim_loss_of_images_smaller_than_its_window_is_finite():
    prediction, truth = pair(4, 7)
    assert 0 < float(ssim_loss(prediction, truth)) < 2


def test_the_detail_loss_is_one_minus_the_metric_and_does_not_see_what_the_coarse_pixels_fix():
    prediction, truth = (image.double() for image in pair(20, 16))
    gains = detail_gain(prediction[:, 0].numpy(), truth[:, 0].numpy(), protocol="area-x4@1")
    loss = detail_loss(prediction, truth, factor=4, floor=0.0)
    assert float(loss) == pytest.approx(1 - float(np.mean(gains)), abs=1e-6)
    seen, _ = protocol("area-x4@1").split(prediction[:, 0].numpy())
    moved = prediction + torch.from_numpy(np.asarray(seen))[:, None]
    torch.testing.assert_close(detail_loss(moved, truth, factor=4, floor=0.0), loss)


def test_an_empty_patch_weighs_little_in_the_detail_loss():
    prediction, truth = torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    prediction[0, 0, 0, 0] = 1e-3
    assert 0 < float(loss_mix({"detail": 1.0}, factor=4)(prediction, truth)) < 1e-3


def test_the_gradient_loss_does_not_see_an_offset():
    _, truth = pair()
    assert float(gradient_l1(truth + 0.3, truth)) == pytest.approx(0, abs=1e-6)


@given(weight=st.floats(0.01, 10))
def test_a_mix_is_the_weighted_sum(weight):
    prediction, truth = pair()
    mixed = loss_mix({"l1": 1.0, "mse": weight})(prediction, truth)
    apart = loss_mix({"l1": 1.0})(prediction, truth) + weight * loss_mix({"mse": 1.0})(
        prediction, truth
    )
    assert float(mixed) == pytest.approx(float(apart), rel=1e-5)


def test_a_mix_that_cannot_be_meant_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="l3"):
        loss_mix({"l3": 1.0})
    with pytest.raises(ConfigurationError, match="positive"):
        loss_mix({"l1": -1.0})
    with pytest.raises(ConfigurationError, match="empty"):
        loss_mix({})
    with pytest.raises(MissingWeightsError, match="vgg16"):
        loss_mix({"perceptual": 1.0}, perceptual=tmp_path / "vgg16.pth")


def test_a_missing_perceptual_network_names_the_command_that_helps(tmp_path, monkeypatch):
    for name in ("MSIBENCH_CACHE", "MSIBENCH_MIRROR", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(MissingWeightsError, match="msibench weights fetch vgg16"):
        loss_mix({"perceptual": 1.0})


def test_the_perceptual_loss_sees_a_difference_and_sends_a_gradient(tmp_path):
    from safetensors.torch import save_file
    from torchvision.models import vgg16

    path = tmp_path / "vgg16.safetensors"
    with torch.device("meta"):
        shapes = vgg16(weights=None).features.state_dict()
    draw = torch.Generator().manual_seed(0)
    state = {
        f"features.{key}": torch.randn(value.shape, generator=draw) / value[0].numel() ** 0.5
        for key, value in shapes.items()
    }
    save_file(state, path)
    loss = loss_mix({"perceptual": 1.0}, perceptual=path)
    prediction, truth = pair(32, 48)
    prediction.requires_grad_()
    value = loss(prediction, truth)
    value.backward()
    assert prediction.grad.abs().sum() > 0
    assert float(value.detach()) > 0
    assert float(loss(truth, truth)) == 0


@given(
    kind=st.sampled_from(["cosine", "multi-step", "constant"]),
    warmup=st.integers(0, 20),
    step=st.integers(0, 99),
)
def test_rates_stay_between_zero_and_the_highest_one(kind, warmup, step):
    rate = Schedule(kind=kind, lr=1e-3, iterations=100, warmup=warmup, milestones=(40, 80))
    assert 0 <= rate(step) <= 1e-3


def test_rates_at_known_steps():
    cosine = Schedule(kind="cosine", lr=1.0, lr_min=0.2, iterations=100, warmup=10)
    assert cosine(0) == pytest.approx(0.1)
    assert cosine(10) == pytest.approx(1.0)
    assert cosine(55) == pytest.approx(0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi / 2)))
    assert cosine(100) == pytest.approx(0.2)
    steps = Schedule(kind="multi-step", lr=1.0, iterations=100, milestones=(40, 80))
    assert [steps(step) for step in (39, 40, 79, 80)] == [1.0, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "linear"},
        {"lr": 1e-3, "lr_min": 1e-2},
        {"iterations": 10, "warmup": 11},
        {"milestones": (8, 4)},
    ],
)
def test_a_schedule_that_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ConfigurationError):
        Schedule(**wrong)


def test_the_average_follows_the_weights_and_is_lent_only_for_a_while():
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(0.0)
    ema = EMA(layer, 0.5)
    expected = 0.0
    for step in range(6):
        with torch.no_grad():
            layer.weight.fill_(float(step + 1))
        ema.update(layer, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (step + 1)
    assert float(ema.average["weight"]) == pytest.approx(expected, rel=1e-6)
    with ema.applied(layer):
        assert layer.weight.item() == pytest.approx(expected, rel=1e-6)
    assert layer.weight.item() == 6.0


def test_numbers_of_the_loss_do_not_depend_on_the_precision_of_the_network():
    prediction, truth = pair()
    half = loss_mix({"mse": 1.0})(prediction.half(), truth)
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(np.mean((prediction - truth).numpy() ** 2)), rel=1e-2)
