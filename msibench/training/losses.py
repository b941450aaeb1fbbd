"""What training minimises: one value per batch, mixes given as ``{"l1": 1.0, "ssim": 0.1}``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msibench.errors import ConfigurationError, MissingWeightsError
from msibench.weights import bare_state_dict, read_state_dict, require

Loss = Callable[[Tensor, Tensor], Tensor]
"""``(prediction, truth)``, both ``(image, channel, row, column)``, to a scalar."""


def charbonnier(prediction: Tensor, truth: Tensor, *, epsilon: float = 1e-3) -> Tensor:
    """Return the mean of ``sqrt(difference**2 + epsilon**2)``: L1 that is smooth at zero."""
    return torch.sqrt((prediction - truth) ** 2 + epsilon**2).mean()


def ssim_loss(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return 1 - SSIM for images in [0, 1]: Gaussian window 11, sigma 1.5, no padding.

    Images smaller than the window get the largest odd window that fits.

    References
    ----------
    .. [1] Wang et al., IEEE Trans. Image Process. 13 (2004) 600-612.
    """
    channels = truth.shape[1]
    size = min(11, *truth.shape[-2:])
    size -= 1 - size % 2
    axis = torch.arange(size, dtype=truth.dtype, device=truth.device) - size // 2
    window = torch.exp(-(axis**2) / (2 * 1.5**2))
    window = window / window.sum()
    across = window.view(1, 1, 1, size).expand(channels, 1, 1, size)
    down = window.view(1, 1, size, 1).expand(channels, 1, size, 1)

    def mean(image: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(image, across, groups=channels), down, groups=channels)

    mu_p, mu_t = mean(prediction), mean(truth)
    variance_p = mean(prediction**2) - mu_p**2
    variance_t = mean(truth**2) - mu_t**2
    covariance = mean(prediction * truth) - mu_p * mu_t
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mu_p * mu_t + c1) * (2 * covariance + c2)) / (
        (mu_p**2 + mu_t**2 + c1) * (variance_p + variance_t + c2)
    )
    return 1 - similarity.mean()


def gradient_l1(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbour differences along rows and columns."""
    return F.l1_loss(prediction.diff(dim=-1), truth.diff(dim=-1)) + F.l1_loss(
        prediction.diff(dim=-2), truth.diff(dim=-2)
    )


def detail_loss(prediction: Tensor, truth: Tensor, *, factor: int, floor: float = 4e-4) -> Tensor:
    """Return 1 - detail gain of the area mean, a mean over the images of a batch.

    Unlike the mean square error, every image weighs the same, however strong its detail is. What the coarse
    pixels fix does not count: mix it with another loss unless the network is back-projected.

    Parameters
    ----------
    prediction, truth
        Sides are multiples of `factor`.
    factor
        Fine pixels along a coarse one.
    floor
        Mean square detail that is added to the truth's, so that an empty patch weighs little.
    """
    unseen = _unseen(truth, factor)
    error = (_unseen(prediction, factor) - unseen) ** 2
    energy = (unseen**2).mean((1, 2, 3))
    return (error.mean((1, 2, 3)) / (energy + floor)).mean()


def _unseen(image: Tensor, factor: int) -> Tensor:
    """Return what the area mean does not pass: each pixel minus the mean of its coarse one."""
    return image - F.interpolate(F.avg_pool2d(image, factor), scale_factor=factor, mode="nearest")


class VGGFeatures(nn.Module):
    """L1 between features of VGG16 before five activations.

    The ESRGAN and BSRGAN recipes take VGG19; VGG16 is the network that LPIPS and DISTS need anyway.

    Parameters
    ----------
    weights
        ImageNet weights of torchvision's ``vgg16``, ``.pth`` or ``.safetensors``. Grey images are
        repeated to three channels and shifted by ImageNet's mean and spread.

    Raises
    ------
    MissingWeightsError
        If there is no such file.
    """

    taps: Mapping[int, float] = {2: 0.1, 7: 0.1, 14: 1.0, 21: 1.0, 28: 1.0}
    """Last convolution of each stage of ``vgg16().features`` → weight (as BSRGAN for VGG19)."""

    mean: Tensor
    spread: Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        if not weights.is_file():
            raise MissingWeightsError(
                f"the perceptual loss needs torchvision's ImageNet vgg16, but there is no {weights}: "
                "msibench weights fetch vgg16, or leave 'perceptual' out of the loss mix"
            )
        from torchvision.models import vgg16

        with torch.device("meta"):  # every weight is read: nothing to draw at random
            network = vgg16(weights=None)
        network.classifier = nn.Sequential()
        state = bare_state_dict(read_state_dict(weights))
        network.load_state_dict(
            {k: v for k, v in state.items() if k.startswith("features.")}, assign=True
        )
        self.layers = network.features[: max(self.taps) + 1].eval().requires_grad_(False)
        for layer in self.layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("spread", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Return the weighted sum of the feature distances."""
        ours, theirs = (
            (image.expand(-1, 3, -1, -1) - self.mean) / self.spread for image in (prediction, truth)
        )
        total = prediction.new_zeros(())
        for index, layer in enumerate(self.layers):
            ours, theirs = layer(ours), layer(theirs)
            if index in self.taps:
                total = total + self.taps[index] * F.l1_loss(ours, theirs)
        return total


PLAIN: Mapping[str, Loss] = {
    "l1": F.l1_loss,
    "mse": F.mse_loss,
    "charbonnier": charbonnier,
    "ssim": ssim_loss,
    "gradient": gradient_l1,
}
"""Losses that need no weights, by the name that a mix gives them."""


def _registered() -> Path:
    return require("vgg16")


def loss_mix(mix: Mapping[str, float], *, factor: int = 1, perceptual: Path | None = None) -> Loss:
    """Return the weighted sum of several losses, in float32 whatever the network computes in.

    Parameters
    ----------
    mix
        Name → weight: ``l1 mse charbonnier ssim gradient detail perceptual``.
    factor
        Fine pixels along a coarse one; for ``detail``.
    perceptual
        VGG16 weights; None: the registered file ``vgg16``. Only for a mix with ``perceptual``.

    Raises
    ------
    ConfigurationError
        If the mix is empty, a name is unknown or a weight is not positive.
    MissingWeightsError
        If ``perceptual`` is asked for without its weights.
    """
    known = (*PLAIN, "detail", "perceptual")
    for name, weight in mix.items():
        if name not in known:
            raise ConfigurationError(f"no loss named {name!r}; known: {', '.join(known)}")
        if not weight > 0:
            raise ConfigurationError(f"the weight of loss {name!r} must be positive, got {weight}")
    if not mix:
        raise ConfigurationError('the loss mix is empty; for example {"l1": 1.0}')
    terms: list[tuple[float, Loss]] = []
    for name, weight in mix.items():
        if name == "perceptual":
            terms.append((weight, VGGFeatures(perceptual or _registered())))
        elif name == "detail":
            terms.append((weight, partial(detail_loss, factor=factor)))
        else:
            terms.append((weight, PLAIN[name]))

    def total(prediction: Tensor, truth: Tensor) -> Tensor:
        prediction, truth = prediction.float(), truth.float()
        return torch.stack([weight * loss(prediction, truth) for weight, loss in terms]).sum()

    return total
