import numpy as np
import pytest

from msibench.metrics import lpips, perceptual_loss
from msibench.metrics.lpips import SMALLEST, why_undefined
from msibench.metrics.perceptual_loss import LAYERS
from msibench.testing.mirror import mirrored

torch = pytest.importorskip("torch")

ENDS = (min(LAYERS), max(LAYERS))
"""The first layer and the last; those between at night."""
NAMES = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


@pytest.fixture(scope="module")
def networks():
    """Each network's layers with seeded random weights of a size that keeps activations alive."""
    import torchvision

    def build(name):
        torch.manual_seed(5)
        with torch.device("meta"):
            layers = getattr(torchvision.models, name)(weights=None).features
        layers = layers.to_empty(device="cpu")
        for parameter in layers.parameters():
            if parameter.ndim > 1:
                torch.nn.init.kaiming_normal_(parameter)
            else:
                torch.nn.init.uniform_(parameter, -0.1, 0.1)
        return layers.eval().requires_grad_(False)

    return {net: build(name) for net, name in NAMES.items()}


def heads_of(net):
    from msibench.weights import read_state_dict

    return read_state_dict(mirrored(f"lpips/v0.1_{net}.pth"))


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    reference = rng.random((2, 35, 43))
    return np.clip(reference + rng.normal(0, 0.2, reference.shape), 0, 1), reference


def rgb(images):
    return torch.as_tensor(images)[:, None].expand(-1, 3, -1, -1).contiguous()


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_pyiqa_gives_the_same_number_with_the_same_network(net, networks, pair, monkeypatch):
    arch = pytest.importorskip("pyiqa.archs.lpips_arch")
    monkeypatch.setattr(f"torchvision.models.{NAMES[net]}", _model_with(networks[net]))
    theirs = arch.LPIPS(pretrained=False, net=net)
    theirs.load_state_dict(heads_of(net), strict=False)
    test, reference = pair
    with torch.no_grad():
        expected = theirs.double()(rgb(test), rgb(reference)).flatten().numpy()
    ours = lpips(test, reference, net=net, features=networks[net], heads=heads_of(net))
    np.testing.assert_allclose(ours, expected, rtol=1e-6)  # theirs keeps its constants in float32
    assert ours.min() > 1e-4


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_the_smallest_image_has_a_value_and_a_smaller_one_a_reason(net, networks):
    side = SMALLEST[net]
    options = {"net": net, "features": networks[net], "heads": heads_of(net)}
    image = np.random.default_rng(1).random((side, side + 3))
    assert np.isfinite(lpips(image**2, image, **options))
    assert np.isnan(lpips(image[1:] ** 2, image[1:], **options))
    assert f"{side} pixels" in why_undefined(image[1:], image[1:], net=net)[0]


def test_identical_images_are_at_distance_zero(networks, pair):
    values = lpips(pair[1], pair[1], features=networks["alex"], heads=heads_of("alex"))
    np.testing.assert_array_equal(values, [0.0, 0.0])


@pytest.mark.parametrize(
    "layer", [pytest.param(n, marks=() if n in ENDS else pytest.mark.slow) for n in LAYERS]
)
def test_piq_sums_over_the_channels_what_perceptual_loss_averages(layer, networks, pair):
    piq = pytest.importorskip("piq")
    import copy

    test, reference = pair
    network = copy.deepcopy(networks["vgg"]).double()
    theirs = piq.ContentLoss(network, layers=[str(LAYERS[layer])], reduction="none", weights=[1.0])
    channels = network[LAYERS[layer] - 1].out_channels
    expected = theirs(rgb(test), rgb(reference)).numpy() / channels
    ours = perceptual_loss(test, reference, layer=layer, features=networks["vgg"])
    np.testing.assert_allclose(ours, expected, rtol=1e-6)  # theirs keeps its constants in float32


def test_float32_is_close_to_float64(networks, pair):
    options = {"features": networks["alex"], "heads": heads_of("alex")}
    exact = lpips(*pair, **options)
    quick = lpips(*pair, dtype="float32", **options)
    assert quick.dtype == np.float64
    np.testing.assert_allclose(quick, exact, rtol=1e-4)


def test_unknown_networks_and_layers_are_refused(pair):
    with pytest.raises(ValueError, match="alex, vgg, squeeze"):
        lpips(*pair, net="resnet")
    with pytest.raises(ValueError, match="relu3_3"):
        perceptual_loss(*pair, layer="relu9")


def _model_with(features):
    class Network:
        def __init__(self, *_args, **_kwargs):
            import copy

            self.features = copy.deepcopy(features)

    return Network
