"""Perceptual loss of Johnson et al. (2016): distance between features of VGG16."""

from __future__ import annotations

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

Layer = Literal["relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"]

LAYERS = {"relu1_2": 3, "relu2_2": 8, "relu3_3": 15, "relu4_3": 22, "relu5_3": 29}
"""Position in torchvision's numbering."""
SMALLEST = {"relu1_2": 1, "relu2_2": 2, "relu3_3": 4, "relu4_3": 8, "relu5_3": 16}
"""Shortest side that leaves the layer a pixel."""
TOO_SMALL = "the image is smaller than the network needs"


def perceptual_loss(
    test: ImagesT,
    reference: ImagesT,
    *,
    data_range: float = 1.0,
    mask: Mask | None = None,
    dtype: Precision = "float64",
    layer: Layer = "relu3_3",
    features: nn.Sequential | None = None,
) -> ImagesT:
    """Mean squared difference of VGG16 features; 0 for identical images, lower is better.

    Parameters
    ----------
    test, reference
        Grey images ``(..., row, column)``, numpy arrays or torch tensors; repeated over three
        colours and standardised as for ImageNet.
    data_range
        Distance between the smallest and the largest possible intensity; the network sees 0..1.
    mask
        bool ``(row, column)``: both images are cut to its bounding box and are 0 outside of it.
    dtype
        Precision to compute in.
    layer
        Whose output is compared; ``relu3_3`` is what Johnson et al. use for super-resolution.
    features
        VGG16's convolutional layers in torchvision's numbering, instead of the pretrained ones.

    Returns
    -------
    One float64 value per image, ``(...)``: ``Σ(difference²) / (channels rows columns)`` of the layer;
    NaN for images with NaN or too small for the layer (4 pixels for ``relu3_3``).

    Raises
    ------
    MissingWeightsError
        If VGG16's weights are not on this machine.

    References
    ----------
    .. [1] Johnson, Alahi and Fei-Fei, ECCV (2016) 694-711, equation 2.
    """
    if layer not in LAYERS:
        raise ValueError(f"layer must be one of {', '.join(LAYERS)}; got {layer!r}")
    scale = 1 / check_data_range(data_range)
    pair = pair_images(test, reference, mask=mask, dtype=dtype)
    whole = pair.cropped()
    if min(whole.shape) < SMALLEST[layer] or not len(whole.test):
        return pair.undefined()  # type: ignore[no-any-return]
    tensors = backbones.as_tensors(whole)
    network = backbones.select_features("vgg16", features, tensors.test)[: LAYERS[layer] + 1]
    values = []
    with backbones.exact_arithmetic():
        for part in tensors.chunks(pixels=1 << 22):
            hidden, hidden_reference = (
                _activation(network, images, scale) for images in (part.test, part.reference)
            )
            values.append(((hidden - hidden_reference) ** 2).mean((1, 2, 3)))
        joined = tensors.xp.concatenate(values)
    losses: ImagesT = pair.values(backbones.as_callers(joined, pair))
    return losses


def why_undefined(
    test: Images,
    reference: Images,
    *,
    mask: Mask | None = None,
    layer: Layer = "relu3_3",
    **_: object,
) -> list[str]:
    """Return for each image why `perceptual_loss` is NaN; empty where it is defined."""
    pair = pair_images(test, reference, mask=mask)
    reason = f"{TOO_SMALL} ({SMALLEST[layer]} pixels for {layer})"
    return pair.reasons((too_small(pair.cropped(), SMALLEST[layer]), reason))


def _activation(network: nn.Module, images: Tensor, scale: float) -> Tensor:
    rgb = backbones.as_rgb(images, scale)
    hidden = backbones.standardise(rgb, backbones.IMAGENET_MEAN, backbones.IMAGENET_SD)
    activation: Tensor = network(hidden)
    return activation
