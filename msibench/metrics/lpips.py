"""Learned perceptual image patch similarity of Zhang et al. (2018)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

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

Net = Literal["alex", "vgg", "squeeze"]

BACKBONE: dict[str, backbones.Backbone] = {
    "alex": "alexnet",
    "vgg": "vgg16",
    "squeeze": "squeezenet",
}
LAYERS = {
    "alex": (1, 4, 7, 9, 11),
    "vgg": (3, 8, 15, 22, 29),
    "squeeze": (1, 4, 7, 9, 10, 11, 12),
}
"""Whose output is compared, in torchvision's numbering."""
SMALLEST = {"alex": 31, "vgg": 16, "squeeze": 17}
"""Shortest side that leaves the last layer a pixel."""
TOO_SMALL = "the image is smaller than the network needs"
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""The authors' standardisation of colours in -1..1."""
STABILITY = 1e-10


def lpips(
    test: ImagesT,
    reference: ImagesT,
    *,
    data_range: float = 1.0,
    mask: Mask | None = None,
    dtype: Precision = "float64",
    net: Net = "alex",
    features: nn.Sequential | None = None,
    heads: Mapping[str, Tensor] | None = None,
) -> ImagesT:
    """Learned perceptual image patch similarity, version 0.1; 0 for identical images, lower is better.

    Parameters
    ----------
    test, reference
        Grey images ``(..., row, column)``, numpy arrays or torch tensors; repeated over three
        colours.
    data_range
        Distance between the smallest and the largest possible intensity; 0..`data_range` becomes
        -1..1, which is what the network was calibrated on.
    mask
        bool ``(row, column)``: both images are cut to its bounding box and are 0 outside of it.
    dtype
        Precision to compute in.
    net
        Network to look through: ``"alex"`` (what its authors recommend as a metric), ``"vgg"`` or
        ``"squeeze"``.
    features
        The network's convolutional layers in torchvision's numbering, instead of the pretrained ones.
    heads
        State dict with ``lin0.model.1.weight`` and so on, instead of the published one.

    Returns
    -------
    One float64 value per image, ``(...)``; NaN for images with NaN or with fewer pixels than the
    network needs (31 for ``alex``, 16 for ``vgg``, 17 for ``squeeze``).

    Raises
    ------
    MissingWeightsError
        If the network's weights or the learned heads are not on this machine.

    References
    ----------
    .. [1] Zhang et al., CVPR (2018) 586-595; ``lpips`` 0.1.
    """
    if net not in BACKBONE:
        raise ValueError(f"net must be one of {', '.join(BACKBONE)}; got {net!r}")
    scale = 1 / check_data_range(data_range)
    pair = pair_images(test, reference, mask=mask, dtype=dtype)
    whole = pair.cropped()
    if min(whole.shape) < SMALLEST[net] or not len(whole.test):
        return pair.undefined()  # type: ignore[no-any-return]
    tensors = backbones.as_tensors(whole)
    network = backbones.select_features(BACKBONE[net], features, tensors.test)
    published = _published(net) if heads is None else heads
    weights = [published[f"lin{layer}.model.1.weight"] for layer in range(len(LAYERS[net]))]
    values = []
    with backbones.exact_arithmetic():
        for part in tensors.chunks(pixels=1 << 22):
            distance = part.test.new_zeros(len(part.test))
            activations = zip(
                _activations(network, part.test, scale, LAYERS[net]),
                _activations(network, part.reference, scale, LAYERS[net]),
                weights,
                strict=True,
            )
            for hidden, hidden_reference, weight in activations:
                squared = (_unit(hidden) - _unit(hidden_reference)) ** 2
                distance += (squared.mean((2, 3)) * weight.to(squared).flatten()).sum(1)
            values.append(distance)
        joined = tensors.xp.concatenate(values)
    distances: ImagesT = pair.values(backbones.as_callers(joined, pair))
    return distances


def why_undefined(
    test: Images, reference: Images, *, mask: Mask | None = None, net: Net = "alex", **_: object
) -> list[str]:
    """Return for each image why `lpips` is NaN; empty where it is defined."""
    pair = pair_images(test, reference, mask=mask)
    smallest = SMALLEST[net]
    reason = f"{TOO_SMALL} ({smallest} pixels for {net!r})"
    return pair.reasons((too_small(pair.cropped(), smallest), reason))


def _activations(
    network: nn.Sequential, images: Tensor, scale: float, layers: tuple[int, ...]
) -> Iterator[Tensor]:
    from torch import nn

    hidden = backbones.standardise(2 * backbones.as_rgb(images, scale) - 1, SHIFT, SCALE)
    for index, layer in enumerate(network):
        # Rectified out of place: the caller still holds what was yielded before.
        hidden = hidden.relu() if isinstance(layer, nn.ReLU) else layer(hidden)
        if index in layers:
            yield hidden
        if index == layers[-1]:
            return


def _unit(hidden: Tensor) -> Tensor:
    """Scale the channels of each pixel to unit length."""
    return hidden / ((hidden**2).sum(1, keepdim=True).sqrt() + STABILITY)


@lru_cache(maxsize=3)
def _published(net: Net) -> Mapping[str, Tensor]:
    from msibench import weights

    return weights.read_state_dict(weights.require(f"lpips-{net}"))
