"""From a method to the network that can be trained, and what is put around it.

A plugin whose method can be trained has a module ``msibench_<name>.training`` with

``network_for_training(config, *, factor, weights) -> torch.nn.Module``
    `config` is the method's resolved configuration, `weights` a mapping from file name to path, or
    None to start from scratch. The module maps ``(image, channel, row, column)`` in [0, 1] to the
    same on the fine grid, and its ``state_dict()`` is what the method loads.
``objective_for_training(config, *, factor, weights) -> Objective``
    Only for methods whose loss is not a distance between images (ResShift).

Without that module, the stable ``msibench_<name>.network.build_network(state_dict)`` is used; then
training starts from the method's weights.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msibench.contracts.method import MethodSpec
from msibench.errors import ConfigurationError, MissingWeightsError
from msibench.training.objective import Objective
from msibench.weights import bare_state_dict, read_state_dict

SkipConnection = Literal["none", "bicubic"]


class OnInterpolation(nn.Module):
    """``bicubic(low) + network(low)``: the network learns only what interpolation cannot give.

    Keys a = -0.75, pixel centres at half pixels, as ``torch.nn.functional.interpolate`` does it. The
    state dict is the inner network's own, so an ordinary loader reads it.
    """

    def __init__(self, network: nn.Module, factor: int) -> None:
        super().__init__()
        self.network = network
        self.factor = factor

    def forward(self, low: Tensor) -> Tensor:
        """Return the image on the fine grid."""
        residual: Tensor = self.network(low)
        return _bicubic(low, self.factor) + residual


class BackProjected(nn.Module):
    """``x + A⁺(low - A x)`` for the area mean A: each fine pixel gets what its coarse pixel lacks.

    The image keeps the network's detail, and averaged back it is its input: all that can be wrong with it
    is detail. The state dict is the inner network's own.
    """

    def __init__(self, network: nn.Module, factor: int) -> None:
        super().__init__()
        self.network = network
        self.factor = factor

    def forward(self, low: Tensor) -> Tensor:
        """Return the image on the fine grid."""
        fine: Tensor = self.network(low)
        residual = low - F.avg_pool2d(fine, self.factor)
        magnified: Tensor = F.interpolate(residual, scale_factor=self.factor, mode="nearest")
        return fine + magnified


class OneChannel(nn.Module):
    """Feed grey images to a network of several channels and average what comes out."""

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.network = network
        self.channels = channels

    def forward(self, low: Tensor) -> Tensor:
        """Return ``(image, 1, row, column)``."""
        fine: Tensor = self.network(low.expand(-1, self.channels, -1, -1))
        return fine.mean(dim=1, keepdim=True)


def _bicubic(low: Tensor, factor: int) -> Tensor:
    fine: Tensor = F.interpolate(low, scale_factor=factor, mode="bicubic", align_corners=False)
    return fine


def around(
    network: nn.Module, *, factor: int, skip: SkipConnection = "none", back_project: bool = False
) -> nn.Module:
    """Return `network` as a map from one grey channel to one grey channel.

    Parameters
    ----------
    network
        Of one or three input channels, as its first weight shows.
    factor
        Fine pixels per coarse pixel.
    skip
        ``"bicubic"`` adds the interpolated image to the network's output.
    back_project
        Bring the image back to its input last (`BackProjected`).
    """
    if skip not in ("none", "bicubic"):
        raise ConfigurationError(f"skip must be none or bicubic, got {skip!r}")
    channels = input_channels(network)
    whole = network if channels == 1 else OneChannel(network, channels)
    whole = OnInterpolation(whole, factor) if skip == "bicubic" else whole
    return BackProjected(whole, factor) if back_project else whole


@torch.no_grad()
def start_at_zero(layer: nn.Module) -> None:
    """Make a layer's output zero: a network with ``skip = "bicubic"`` then starts at interpolation."""
    for parameter in layer.parameters():
        parameter.zero_()


def inner(network: nn.Module) -> nn.Module:
    """Return the plugin's network inside what `around` and DDP put around it."""
    while True:
        if isinstance(network, OnInterpolation | OneChannel | BackProjected):
            network = network.network
        elif isinstance(network, nn.parallel.DistributedDataParallel):
            network = network.module
        else:
            return network


def input_channels(network: nn.Module) -> int:
    """Return how many channels `network` reads: ``in_channels`` if it says so, else its first conv's."""
    stated = getattr(network, "in_channels", None)
    if isinstance(stated, int):
        return stated
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            # A network that unshuffles pixels first sees channels x 4 or x 16; grey or RGB all the same.
            return next(
                (c for c in (1, 3) if layer.in_channels in (c, 4 * c, 16 * c)), layer.in_channels
            )
    return 1


def require_factor(name: str, network: nn.Module, factor: int, patch: int) -> None:
    """Raise unless a plugin's network brings `patch` x `patch` coarse pixels to `factor` times finer ones.

    Raises
    ------
    ConfigurationError
        The message names the factor that the network has.
    """
    training = network.training
    low = torch.zeros(1, input_channels(network), patch, patch)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        made = network.eval()(low).shape[-1]
    network.train(training)
    if made != patch * factor:
        raise ConfigurationError(
            f"{name} has a network for factor {made / patch:g}, and --factor asks for {factor}; train it with "
            f"--factor {made / patch:g}, or another method (`msibench list methods` shows their factors)"
        )


def network_for(
    spec: MethodSpec,
    *,
    factor: int,
    weights: Mapping[str, Path] | None,
    config: Mapping[str, object] | None = None,
) -> nn.Module:
    """Return the trainable network of a method.

    Raises
    ------
    ConfigurationError
        If the method has nothing that can be trained.
    MissingWeightsError
        If it can only be trained from its weights and there are none.
    """
    resolved = {**spec.config, **(config or {})}
    package = _package(spec)
    training = _submodule(package, "training")
    maker = getattr(training, "network_for_training", None)
    if maker is not None:
        made: nn.Module = maker(resolved, factor=factor, weights=weights)
        return made
    build = getattr(_submodule(package, "network"), "build_network", None)
    if build is None:
        if not package:
            raise ConfigurationError(
                f"method {spec.name!r} cannot be trained: it is a single file, and a network to train "
                "comes from a plugin; make one with: msibench new method NAME"
            )
        raise ConfigurationError(
            f"method {spec.name!r} cannot be trained: {package} has neither "
            "training.network_for_training nor network.build_network"
        )
    if not weights:
        raise MissingWeightsError(
            f"{spec.name} is trained from its weights, and none were given; get them with "
            f"`msibench weights fetch {spec.name}` or name a file with --weights PATH"
        )
    built: nn.Module = build(bare_state_dict(read_state_dict(next(iter(weights.values())))))
    return built


def objective_for(
    spec: MethodSpec,
    *,
    factor: int,
    weights: Mapping[str, Path] | None,
    config: Mapping[str, object] | None = None,
) -> Objective | None:
    """Return the method's own objective, or None for a distance between images."""
    maker = getattr(_submodule(_package(spec), "training"), "objective_for_training", None)
    if maker is None:
        return None
    made: Objective = maker({**spec.config, **(config or {})}, factor=factor, weights=weights)
    return made


def _package(spec: MethodSpec) -> str:
    module = spec.target.rpartition(":")[0]
    return "" if module.endswith(".py") else module.rpartition(".")[0]


def _submodule(package: str, name: str) -> ModuleType | None:
    if not package or importlib.util.find_spec(package) is None:
        return None
    if importlib.util.find_spec(f"{package}.{name}") is None:
        return None
    return importlib.import_module(f"{package}.{name}")
