import numpy as np
import pytest

from msibench.errors import MissingWeightsError
from msibench.metrics import dists
from msibench.metrics.dists import why_undefined
from msibench.testing.mirror import mirrored

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def features():
    """VGG16's layers with seeded random weights of a size that keeps activations alive."""
    import torchvision

    torch.manual_seed(3)
    with torch.device("meta"):
        layers = torchvision.models.vgg16(weights=None).features
    layers = layers.to_empty(device="cpu")
    for layer in layers:
        if hasattr(layer, "weight"):
            torch.nn.init.kaiming_normal_(layer.weight)
            torch.nn.init.uniform_(layer.bias, -0.1, 0.1)
    return layers.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def importance():
    return torch.load(mirrored("dists/weights.pt"), weights_only=True)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    reference = rng.random((2, 33, 41))
    return np.clip(reference + rng.normal(0, 0.2, reference.shape), 0, 1), reference


def rgb(images):
    return torch.as_tensor(images)[:, None].expand(-1, 3, -1, -1).contiguous()


def test_piq_gives_the_same_number_with_the_same_network(features, importance, pair, monkeypatch):
    piq = pytest.importorskip("piq")
    monkeypatch.setattr(
        torch.hub, "load_state_dict_from_url", lambda *_args, **_kwargs: dict(importance)
    )
    monkeypatch.setattr("piq.perceptual.vgg16", _vgg_with(features))
    theirs = piq.DISTS(reduction="none").double()
    test, reference = pair
    expected = theirs(rgb(test), rgb(reference)).flatten().detach().numpy()
    ours = dists(test, reference, features=features, importance=importance)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)
    assert ours.min() > 1e-3


def test_pyiqa_gives_the_same_number_with_the_same_network(features, importance, pair, monkeypatch):
    arch = pytest.importorskip("pyiqa.archs.dists_arch")
    monkeypatch.setattr("torchvision.models.vgg16", _vgg_with(features))
    theirs = arch.DISTS(pretrained=False).double()
    theirs.alpha.data, theirs.beta.data = (importance[k].double() for k in ("alpha", "beta"))
    test, reference = pair
    expected = theirs(rgb(test), rgb(reference)).flatten().detach().numpy()
    ours = dists(test, reference, features=features, importance=importance)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


def test_the_official_pair_has_the_official_number():
    from PIL import Image

    from msibench.metrics import backbones
    from msibench.metrics.dists import distance, shares

    try:
        network = backbones.load_features("vgg16")
    except MissingWeightsError as error:
        pytest.skip(str(error).splitlines()[0])
    test, reference = (
        torch.as_tensor(np.asarray(Image.open(mirrored(f"dists/{name}.png")).convert("RGB")) / 255)
        .permute(2, 0, 1)[None]
        .float()
        for name in ("r1", "r0")
    )
    value = float(distance(network, test, reference, *shares(None, test)))
    assert value == pytest.approx(0.3347, abs=5e-5)


def test_identical_images_are_at_distance_zero(features, importance, pair):
    _, reference = pair
    values = dists(reference, reference, features=features, importance=importance)
    np.testing.assert_allclose(values, 0, atol=1e-12)


@pytest.mark.parametrize("test_value", [0.0, 0.7])
@pytest.mark.parametrize("reference_value", [0.0, 0.7])
def test_constant_images_have_a_value(features, importance, test_value, reference_value):
    test, reference = np.full((20, 17), test_value), np.full((20, 17), reference_value)
    assert np.isfinite(dists(test, reference, features=features, importance=importance))
    assert why_undefined(test, reference) == [""]


def test_tensors_give_what_arrays_give(features, importance, pair):
    test, reference = pair
    arrays = dists(test, reference, features=features, importance=importance)
    tensors = dists(
        torch.as_tensor(test), torch.as_tensor(reference), features=features, importance=importance
    )
    assert isinstance(arrays, np.ndarray)
    assert tensors.dtype == torch.float64
    np.testing.assert_array_equal(arrays, tensors.numpy())


def test_without_weights_the_error_says_which_command_helps(monkeypatch, tmp_path):
    from msibench.metrics import backbones

    backbones.load_features.cache_clear()
    backbones.features_for.cache_clear()
    for name in ("MSIBENCH_MIRROR", "MSIBENCH_CACHE", "TORCH_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    with pytest.raises(MissingWeightsError, match="msibench weights fetch vgg16"):
        dists(np.zeros((20, 20)), np.ones((20, 20)))


def _vgg_with(features):
    class Network:
        def __init__(self, *_args, **_kwargs):
            import copy

            self.features = copy.deepcopy(features)

    return Network


def test_the_smallest_image_has_a_value_and_a_smaller_one_a_reason(features):
    channels = 3 + 64 + 128 + 256 + 512 + 512
    equal = {name: torch.ones(1, channels, 1, 1) for name in ("alpha", "beta")}
    image = np.random.default_rng(0).random((17, 16))
    for test, defined in ((image, True), (image[:16, :16], True), (image[:15], False)):
        value = dists(test, 0.5 * test, features=features, importance=equal)
        (reason,) = why_undefined(test, test)
        assert np.isfinite(value) == defined == (reason == "")
    assert "smaller than 16 pixels" in reason
