"""Measures that look through networks, with networks of a few channels, against the same sums in NumPy."""

from importlib import import_module

import numpy as np
import pytest

from msibench import metrics
from msibench.contracts.metric import Evaluation
from msibench.image import GuideImage, as_stack

torch = pytest.importorskip("torch")
lpips_module, dists_module, perceptual_module, edges = (
    import_module(f"msibench.metrics.{name}")
    for name in ("lpips", "dists", "perceptual_loss", "edge_perceptual_loss")
)
RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.normal(size=(4, 3)), RNG.normal(size=(5, 4))
BIASES = RNG.normal(size=4), RNG.normal(size=5)
IMAGENET_MEAN, IMAGENET_SD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def convolution(weights, bias):
    layer = torch.nn.Conv2d(weights.shape[1], weights.shape[0], 1)
    layer.weight.data = torch.tensor(weights)[:, :, None, None]
    layer.bias.data = torch.tensor(bias)
    return layer


def network(*pools):
    """Return two convolutions over colours, each rectified, with `pools` between, and one that is not used."""
    relu = torch.nn.ReLU
    layers = [convolution(FIRST, BIASES[0]), relu(), *pools, convolution(SECOND, BIASES[1]), relu()]
    return torch.nn.Sequential(*layers, torch.nn.Conv2d(5, 1, 99)).double()


def layer(hidden, weights, bias):
    return np.maximum(np.einsum("kc,c...->k...", weights, hidden) + bias[:, None, None], 0)


def colours(image, mean, deviation):
    rgb = np.stack([image] * 3)
    return (rgb - np.reshape(mean, (3, 1, 1))) / np.reshape(deviation, (3, 1, 1))


def pair():
    reference = 2 * RNG.random((2, 1, 7, 9))
    return np.clip(reference + RNG.normal(0, 0.4, reference.shape), 0, 2), reference


def test_lpips_weighs_squared_differences_of_unit_channels(monkeypatch):
    monkeypatch.setitem(lpips_module.LAYERS, "alex", (1, 3))
    monkeypatch.setitem(lpips_module.SMALLEST, "alex", 7)
    heads = {f"lin{n}.model.1.weight": torch.tensor(RNG.random((1, 4 + n, 1, 1))) for n in (0, 1)}
    test, reference = pair()

    def unit(hidden):
        return hidden / (np.sqrt((hidden**2).sum(0)) + 1e-10)

    def activations(image):
        hidden = colours(image - 1, (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))
        first = layer(hidden, FIRST, BIASES[0])
        return first, layer(first, SECOND, BIASES[1])

    wanted = [
        sum(
            (weight.numpy().ravel() * ((unit(mine) - unit(own)) ** 2).mean((1, 2))).sum()
            for mine, own, weight in zip(
                activations(a), activations(b), heads.values(), strict=True
            )
        )
        for a, b in zip(test[:, 0], reference[:, 0], strict=True)
    ]
    options = {"features": network(), "heads": heads, "data_range": 2.0}
    found = metrics.lpips(test, reference, **options)
    np.testing.assert_allclose(found, np.reshape(wanted, (2, 1)))
    assert metrics.lpips(test[:0], reference[:0], **options).shape == (0, 1)
    narrow = metrics.lpips(test[..., :6, :], reference[..., :6, :], **options)
    assert np.isnan(narrow).all()


def test_perceptual_loss_is_the_mean_squared_difference_of_a_layer(monkeypatch):
    monkeypatch.setitem(perceptual_module.LAYERS, "relu3_3", 3)
    monkeypatch.setitem(perceptual_module.SMALLEST, "relu3_3", 7)
    test, reference = pair()

    def activation(image):
        hidden = layer(colours(image / 2, IMAGENET_MEAN, IMAGENET_SD), FIRST, BIASES[0])
        return layer(hidden, SECOND, BIASES[1])

    wanted = [
        ((activation(a) - activation(b)) ** 2).mean()
        for a, b in zip(test[:, 0], reference[:, 0], strict=True)
    ]
    options = {"features": network(), "data_range": 2.0}
    found = metrics.perceptual_loss(test, reference, **options)
    np.testing.assert_allclose(found, np.reshape(wanted, (2, 1)))
    assert metrics.perceptual_loss(test[:0], reference[:0], **options).shape == (0, 1)
    narrow = metrics.perceptual_loss(test[..., :6, :], reference[..., :6, :], **options)
    assert np.isnan(narrow).all()


def halved(hidden):
    """Return the root of a Hann-weighted mean of squares around every second pixel, zeros outside."""
    wide = np.pad(hidden**2, ((0, 0), (1, 1), (1, 1)))
    rows, columns = ((side + 1) // 2 for side in hidden.shape[1:])
    found = np.zeros((len(hidden), rows, columns))
    weights = np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25])
    for row, column in np.ndindex(rows, columns):
        around = wide[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        found[:, row, column] = np.sqrt((weights * around).sum((1, 2)) + 1e-12)
    return found


def test_dists_weighs_texture_and_structure_of_every_stage(monkeypatch):
    monkeypatch.setattr(dists_module, "STAGE_ENDS", (1, 4))
    monkeypatch.setattr(dists_module, "CHANNELS", (3, 4, 5))
    monkeypatch.setattr(dists_module, "SMALLEST", 7)
    given = {name: torch.tensor(RNG.random((1, 12, 1, 1))) for name in ("alpha", "beta")}
    alpha, beta = (one.numpy().ravel() for one in given.values())
    total = alpha.sum() + beta.sum()
    test, reference = pair()

    def features(image):
        rgb = image / 2
        first = layer(colours(rgb, IMAGENET_MEAN, IMAGENET_SD), FIRST, BIASES[0])
        return [*np.stack([rgb] * 3), *first, *layer(halved(first), SECOND, BIASES[1])]

    wanted = []
    for a, b in zip(test[:, 0], reference[:, 0], strict=True):
        similarity = 0.0
        for x, y, texture, structure in zip(features(a), features(b), alpha, beta, strict=True):
            means = (2 * x.mean() * y.mean() + 1e-6) / (x.mean() ** 2 + y.mean() ** 2 + 1e-6)
            shared = ((x - x.mean()) * (y - y.mean())).mean()
            spreads = (2 * shared + 1e-6) / (x.var() + y.var() + 1e-6)
            similarity += (texture * means + structure * spreads) / total
        wanted.append(1 - similarity)
    options = {
        "features": network(torch.nn.MaxPool2d(2)), "importance": given, "data_range": 2.0
    }  # fmt: skip
    found = metrics.dists(test, reference, **options)
    np.testing.assert_allclose(found, np.reshape(wanted, (2, 1)))
    assert metrics.dists(test[:0], reference[:0], **options).shape == (0, 1)
    assert np.isnan(metrics.dists(test[..., :6, :], reference[..., :6, :], **options)).all()


# -- edges -------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
def test_edges_are_compared_where_the_kernel_lies_inside_the_image(masked):
    test, reference = pair()
    kernel = RNG.normal(size=(3, 3))
    mask = RNG.random((7, 9)) > 0.4 if masked else None
    for weights in (kernel, np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]])):
        wanted = []
        for difference in (test - reference)[:, 0] / 2:
            squared = [
                (weights * difference[row - 1 : row + 2, column - 1 : column + 2]).sum() ** 2
                for row in range(1, 6)
                for column in range(1, 8)
                if mask is None or mask[row, column]
            ]
            wanted.append(np.mean(squared))
        options = {} if weights is not kernel else {"kernel": kernel.tolist()}
        found = metrics.edge_perceptual_loss(test, reference, data_range=2.0, mask=mask, **options)
        np.testing.assert_allclose(found, np.reshape(wanted, (2, 1)))


def test_a_kernel_needs_three_pixels_and_a_centre_on_the_tissue():
    one = RNG.random((3, 4))
    for shape, reason in (((3, 4), ""), ((3, 2), edges.TOO_SMALL), ((2, 4), edges.TOO_SMALL)):
        image = one[: shape[0], : shape[1]]
        assert np.isnan(metrics.edge_perceptual_loss(image, image)) == bool(reason)
        assert edges.why_undefined(image, image) == [reason]
    rim = np.ones((3, 4), bool)
    rim[1, 1:3] = False
    assert np.isnan(metrics.edge_perceptual_loss(one, one, mask=rim))
    assert edges.why_undefined(one, one, mask=rim) == [edges.NO_CENTRE]
    rim[1, 1] = True
    assert edges.why_undefined(one, one, mask=rim) == [""]
    for kernel in (np.ones((3, 2)), np.ones(9), np.ones((2, 3))):
        with pytest.raises(ValueError, match="kernel must be 3 x 3"):
            metrics.edge_perceptual_loss(one, one, kernel=kernel)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_guide_is_compared_in_grey(channels):
    guide = RNG.random((channels, 7, 9), dtype=np.float32)
    prediction = RNG.random((2, 7, 9), dtype=np.float32)
    weights = (0.299, 0.587, 0.114) if channels == 3 else (1 / channels,) * channels
    grey = sum(weight * one for weight, one in zip(weights, guide.astype(float), strict=True))
    cell = Evaluation(
        prediction=prediction, truth=None, low=as_stack(prediction), factor=1,
        degrade=lambda images: images, guide=GuideImage(guide),
    )  # fmt: skip
    found = edges.evaluate_to_guide(cell)
    wanted = metrics.edge_perceptual_loss(prediction, np.stack([grey, grey]))
    np.testing.assert_allclose(found.values, wanted, rtol=1e-6)
    assert found.reasons == ("", "")
