"""The ImageNet networks that perceptual metrics use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from msibench.metrics.pairs import ImagePair

if TYPE_CHECKING:
    from torch import Tensor, nn

Backbone = Literal["vgg16", "alexnet", "squeezenet"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SD = (0.229, 0.224, 0.225)


@lru_cache(maxsize=4)
def load_features(name: Backbone) -> nn.Sequential:
    """Return the convolutional layers of a pretrained network, in torchvision's numbering.

    Raises
    ------
    MissingWeightsError
        If the weights are not on this machine; the message says how to get them. Random weights are
        never used in their place.
    """
    import torch
    import torchvision

    from msibench import weights

    published = weights.read_state_dict(weights.require(name))
    builders = {"vgg16": "vgg16", "alexnet": "alexnet", "squeezenet": "squeezenet1_1"}
    with torch.device("meta"):  # no time and no memory for weights that are replaced at once
        features: nn.Sequential = getattr(torchvision.models, builders[name])(weights=None).features
    stem = "features."
    state = {key.removeprefix(stem): value for key, value in published.items() if stem in key}
    features.load_state_dict(state, assign=True)
    return features.eval().requires_grad_(False)


@lru_cache(maxsize=4)
def features_for(name: Backbone, device: str, dtype: str) -> nn.Sequential:
    """Return `load_features` on a device and in a precision; the pristine copy stays as it is."""
    import copy

    import torch

    return copy.deepcopy(load_features(name)).to(torch.device(device), getattr(torch, dtype))


def select_features(name: Backbone, given: nn.Sequential | None, like: Tensor) -> nn.Sequential:
    """Return the pretrained features, or a copy of `given`, where and in the precision of `like`."""
    import copy

    if given is None:
        return features_for(name, str(like.device), str(like.dtype).removeprefix("torch."))
    return copy.deepcopy(given).to(like.device, like.dtype).eval()


def as_tensors(pair: ImagePair) -> ImagePair:
    """Return the pair as torch tensors; numpy images are shared, not copied."""
    if pair.xp is not np:
        return pair
    import torch

    return replace(
        pair,
        test=torch.as_tensor(pair.test),
        reference=torch.as_tensor(pair.reference),
        usable=torch.as_tensor(pair.usable),
        xp=torch,
        as_tensor=False,
    )


def as_callers(values: Tensor, pair: ImagePair) -> Any:
    """Return values computed by torch as what `pair` holds: an array for arrays."""
    return values.cpu().numpy() if pair.xp is np else values


def as_rgb(images: Tensor, scale: float) -> Tensor:
    """Repeat grey images ``(image, row, column)``, brought to 0..1, over three colours."""
    return (images * scale)[:, None].expand(-1, 3, -1, -1)


def standardise(rgb: Tensor, mean: Sequence[float], deviation: Sequence[float]) -> Tensor:
    """Subtract the mean colour and divide by the colours' standard deviations."""
    shape = (1, 3, 1, 1)
    return (rgb - rgb.new_tensor(mean).reshape(shape)) / rgb.new_tensor(deviation).reshape(shape)


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Compute without gradients and without the shortened float32 of accelerators (TF32)."""
    import torch

    with (
        torch.no_grad(),
        torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ),
    ):
        yield
