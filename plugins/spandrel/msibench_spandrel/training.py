"""How ``msibench finetune`` gets a trainable network of any architecture that spandrel knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from msibench.errors import ConfigurationError, MissingWeightsError
from msibench_spandrel.method import bins_of, read_checkpoint


def network_for_training(
    config: Mapping[str, Any], *, factor: int, weights: Mapping[str, Path] | None
) -> nn.Module:
    """Return the network of a checkpoint, in single precision, every parameter of it trainable.

    Images whose sides the architecture cannot take are mirrored up to the next ones that it can, and the
    result is cut.

    Parameters
    ----------
    config
        As for inference; ``bin`` averages the network's image.
    factor
        Fine pixels per coarse pixel; must be the checkpoint's.
    weights
        The file to start from.

    Raises
    ------
    MissingWeightsError
        If there is none: what spandrel knows of an architecture it reads off a checkpoint.
    ConfigurationError
        If the network is of another factor, no super-resolution, or takes square images alone.
    """
    if not weights:
        raise MissingWeightsError(
            "a spandrel network is trained from its checkpoint: without --from-scratch, and with its file "
            "at hand"
        )
    path = next(iter(weights.values()))
    descriptor = read_checkpoint(path)
    name, needs = descriptor.architecture.name, descriptor.size_requirements
    if descriptor.purpose != "SR" or descriptor.input_channels not in (1, 3):
        raise ConfigurationError(
            f"{path.name} is a {name} network for {descriptor.purpose} of {descriptor.input_channels} "
            "channels; super-resolution of 1 or 3 can be fine-tuned"
        )
    bins = bins_of(config, descriptor.scale, factor)
    if descriptor.scale // bins != factor:
        raise ConfigurationError(
            f"{path.name} is a {name} for x{descriptor.scale}; --factor asks for x{factor}"
        )
    if needs.square:
        raise ConfigurationError(f"{name} takes square images alone and cannot be fine-tuned here")
    network: nn.Module = descriptor.model.float()
    network.requires_grad_(True)
    _fit_sizes(network, descriptor.scale, max(1, needs.multiple_of), max(1, needs.minimum))
    if bins > 1:
        network.register_forward_hook(lambda _, __, fine: F.avg_pool2d(fine, bins))
    return network.train()


def _fit_sizes(network: nn.Module, factor: int, multiple: int, minimum: int) -> None:
    """Let a network take any size, without a module around it that would rename its parameters."""
    if multiple == 1 and minimum == 1:
        return
    sizes: list[tuple[int, int]] = []

    def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        low, *rest = inputs
        rows, columns = low.shape[-2:]
        sizes.append((rows, columns))
        down, right = (max(-side % multiple, minimum - side) for side in (rows, columns))
        down, right = (
            short + (-(side + short)) % multiple for short, side in ((down, rows), (right, columns))
        )
        mode = "reflect" if down < rows and right < columns else "replicate"
        return (F.pad(low, (0, right, 0, down), mode=mode), *rest)

    def after(_: nn.Module, __: tuple[Tensor, ...], fine: Tensor) -> Tensor:
        rows, columns = sizes.pop()
        return fine[..., : rows * factor, : columns * factor]

    network.register_forward_pre_hook(before)
    network.register_forward_hook(after)
