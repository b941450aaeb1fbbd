"""Deep image structure and texture similarity of Ding et al."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from msibench.metrics import backbones
from msibench.metrics.pairs import (
    Images,
    ImagesT,
    Mask,
    Precision,
    check_data_range,
    pair_images,
    too_small,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

STAGE_ENDS = (3, 8, 15, 22, 29)
"""relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 in torchvision's numbering."""
CHANNELS = (3, 64, 128, 256, 512, 512)
"""Channels of the image itself and of the five stages."""
STABILITY = 1e-6
SMALLEST = 16
TOO_SMALL = f"the image is smaller than {SMALLEST} pixels: the deepest stage has less than one left"


def dists(
    test: ImagesT,
    reference: ImagesT,
    *,
    data_range: float = 1.0,
    mask: Mask | None = None,
    dtype: Precision = "float64",
    features: nn.Sequential | None = None,
    importance: Mapping[str, object] | None = None,
) -> ImagesT:
    """Deep image structure and texture similarity; 0 for identical images, lower is better.

    Means (texture) and covariances (structure) of VGG16 features over the whole image, weighted as
    Ding et al. learned it from human judgements. No resizing: images above 256 pixels get other
    values than from packages that shrink them first.

    Parameters
    ----------
    test, reference
        Grey images ``(..., row, column)``, numpy arrays or torch tensors; repeated over three
        colours.
    data_range
        Distance between the smallest and the largest possible intensity; the network sees 0..1.
    mask
        bool ``(row, column)``: both images are cut to its bounding box and are 0 outside of it.
    dtype
        Precision to compute in; float32 changes the sixth digit and takes half the time.
    features
        VGG16's convolutional layers in torchvision's numbering, instead of the pretrained ones.
    importance
        Mapping with ``alpha`` and ``beta``, ``(1, 1475, 1, 1)``, instead of the published ones.

    Returns
    -------
    One float64 value per image, ``(...)``; NaN for images below 16 pixels or with NaN. Constant
    images have a value.

    Raises
    ------
    MissingWeightsError
        If VGG16's or DISTS' weights are not on this machine.

    References
    ----------
    .. [1] Ding et al., IEEE Trans. Pattern Anal. Mach. Intell. 44 (2022) 2567-2581;
       ``DISTS_pytorch``, which differs a little from the authors' MATLAB code.
    """
    scale = 1 / check_data_range(data_range)
    pair = pair_images(test, reference, mask=mask, dtype=dtype)
    whole = pair.cropped()
    if min(whole.shape) < SMALLEST or not len(whole.test):
        return pair.undefined()  # type: ignore[no-any-return]
    tensors = backbones.as_tensors(whole)
    network = backbones.select_features("vgg16", features, tensors.test)
    alpha, beta = shares(importance, tensors.test)
    values = []
    with backbones.exact_arithmetic():
        for part in tensors.chunks(pixels=1 << 22):
            shown, shown_reference = (
                backbones.as_rgb(images, scale) for images in (part.test, part.reference)
            )
            values.append(distance(network, shown, shown_reference, alpha, beta))
        joined = tensors.xp.concatenate(values)
    distances: ImagesT = pair.values(backbones.as_callers(joined, pair))
    return distances


def why_undefined(
    test: Images, reference: Images, *, mask: Mask | None = None, **_: object
) -> list[str]:
    """Return for each image why `dists` is NaN; empty where it is defined."""
    pair = pair_images(test, reference, mask=mask)
    return pair.reasons((too_small(pair.cropped(), SMALLEST), TOO_SMALL))


def distance(
    network: nn.Sequential, test: Tensor, reference: Tensor, alpha: list[Tensor], beta: list[Tensor]
) -> Tensor:
    """Return DISTS of colour images ``(image, 3, row, column)`` in 0..1, ``(image,)``.

    `alpha` and `beta` are the shares of each feature, stage by stage, as `shares` gives them.
    """
    similarity = test.new_zeros(len(test))
    stages = zip(_stages(network, test), _stages(network, reference), alpha, beta, strict=True)
    for stage_test, stage_reference, texture_share, structure_share in stages:
        texture, structure = _similarities(stage_test, stage_reference)
        similarity += (texture * texture_share + structure * structure_share).sum(1)
    return 1 - similarity


def _stages(network: nn.Sequential, rgb: Tensor) -> Iterator[Tensor]:
    """Yield the image and the activations at the end of each stage, with L2 in place of max pooling."""
    from torch import nn

    yield rgb
    hidden = backbones.standardise(rgb, backbones.IMAGENET_MEAN, backbones.IMAGENET_SD)
    for index, layer in enumerate(network):
        hidden = _l2_pool(hidden) if isinstance(layer, nn.MaxPool2d) else _apply(layer, hidden)
        if index in STAGE_ENDS:
            yield hidden
        if index == STAGE_ENDS[-1]:
            return


def _apply(layer: nn.Module, hidden: Tensor) -> Tensor:
    """Apply a layer, rectifiers out of place: the stage before is still needed."""
    from torch import nn

    result: Tensor = hidden.relu() if isinstance(layer, nn.ReLU) else layer(hidden)
    return result


def _l2_pool(hidden: Tensor) -> Tensor:
    """Halve by the root of a Hann-weighted mean of squares, 3 x 3 with zeros around."""
    import torch
    from torch.nn import functional

    line = hidden.new_tensor([0.25, 0.5, 0.25])
    channels = hidden.shape[1]
    kernel = torch.outer(line, line).expand(channels, 1, 3, 3)
    power = functional.conv2d(hidden**2, kernel, stride=2, padding=1, groups=channels)
    return (power + 1e-12).sqrt()


def _similarities(test: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Return texture and structure similarity of each feature, ``(image, channel)``."""
    mean, mean_reference = test.mean((2, 3)), reference.mean((2, 3))
    variance = ((test - mean[..., None, None]) ** 2).mean((2, 3))
    variance_reference = ((reference - mean_reference[..., None, None]) ** 2).mean((2, 3))
    covariance = (test * reference).mean((2, 3)) - mean * mean_reference
    texture = (2 * mean * mean_reference + STABILITY) / (mean**2 + mean_reference**2 + STABILITY)
    structure = (2 * covariance + STABILITY) / (variance + variance_reference + STABILITY)
    return texture, structure


def shares(
    importance: Mapping[str, object] | None, like: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Return alpha and beta per stage, ``(channel,)`` each; all of them together sum to 1."""
    import torch

    given = _published() if importance is None else importance
    alpha, beta = (
        torch.as_tensor(given[name]).detach().to(like.device, like.dtype).flatten()
        for name in ("alpha", "beta")
    )
    total = alpha.sum() + beta.sum()
    sizes = list(CHANNELS)
    return list(torch.split(alpha / total, sizes)), list(torch.split(beta / total, sizes))


@lru_cache(maxsize=1)
def _published() -> Mapping[str, object]:
    from msibench import weights

    return weights.read_state_dict(weights.require("dists"))
