"""One adapter for all single-image super-resolution networks that spandrel knows.

spandrel (MIT) recognises some forty architectures by the names in a checkpoint and says what each
demands; this file respects that. It never runs a checkpoint's code: files are read by
`msibench.weights.read_state_dict`, which takes tensors and nothing else, and not by spandrel.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msibench import Problem
from msibench.errors import ConfigurationError
from msibench.training.pretrained import Loaded, PretrainedMethod
from msibench.training.tile_plan import InputNeeds
from msibench.weights import UnsafeWeightsError, read_state_dict
from msibench_spandrel.msi import MSI_FILES

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor


class Spandrel(PretrainedMethod):
    """Super-resolution with whatever network a checkpoint holds.

    With ``bin = true`` a network for a multiple of the factor serves too: its image is averaged, over 2 x 2
    pixels where a network for x4 makes x2.
    """

    own_keys = frozenset({"bin"})
    files = MSI_FILES

    def load(self, path: Path, problem: Problem) -> Loaded:
        """Recognise and read a checkpoint, and refuse what is not super-resolution.

        For a factor other than the problem's, `upscale` returns a `Skip` that says so.

        Raises
        ------
        ConfigurationError
            If the network serves another purpose, or has other than 1 or 3 channels.
        UnsafeWeightsError
            If loading could run code.
        """
        descriptor = read_checkpoint(path)
        name = descriptor.architecture.name
        if descriptor.purpose != "SR":
            raise ConfigurationError(
                f"{path.name} is a {name} network for {descriptor.purpose}, not for super-resolution "
                "of images in general"
            )
        channels = descriptor.input_channels
        if channels not in (1, 3) or descriptor.output_channels not in (1, 3):
            raise ConfigurationError(
                f"{path.name} maps {channels} channels to {descriptor.output_channels}; an ion image "
                "needs a network of 1 or 3"
            )
        needs = descriptor.size_requirements
        tiling = descriptor.tiling.name.lower()
        bins = bins_of(self.config, descriptor.scale, problem.factor)
        input_needs = InputNeeds(
            factor=descriptor.scale // bins,
            channels=channels,
            multiple_of=max(1, needs.multiple_of),
            minimum=max(1, needs.minimum),
            # spandrel's "discouraged": a tile may look different from the whole.
            local=tiling == "supported",
            tileable=tiling != "internal" and not needs.square,
        )
        about = {
            "architecture": name,
            "architecture_id": str(descriptor.architecture.id),
            "architecture_tags": list(descriptor.tags),
            "tiling": tiling,
            "requires_square": needs.square,
        }
        network: nn.Module = descriptor.model
        if needs.square:
            network = _Square(network, descriptor.scale)
        return Loaded(_Binned(network, bins) if bins > 1 else network, input_needs, about)


def bins_of(config: Mapping[str, Any], scale: int, factor: int) -> int:
    """Return over how many pixels along an edge the image of a network for x`scale` is averaged."""
    return scale // factor if config.get("bin", False) and scale % factor == 0 else 1


def read_checkpoint(path: Path) -> ImageModelDescriptor[Any]:
    """Read a checkpoint with spandrel, without its TorchScript path.

    Raises
    ------
    UnsafeWeightsError
        If the file is TorchScript, or holds more than tensors.
    ConfigurationError
        If spandrel does not know the architecture, or the network does not map images to images.
    """
    from spandrel import ImageModelDescriptor, UnsupportedModelError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the architectures, as they are built
            descriptor = _recognised(_state_dict(read_state_dict(path)))
    except UnsupportedModelError as error:
        raise ConfigurationError(
            f"spandrel does not recognise the architecture of {path.name}"
        ) from error
    except (
        KeyError,
        ValueError,
        TypeError,
        RuntimeError,
        AttributeError,
        MemoryError,
        IndexError,
    ) as error:
        if isinstance(error, UnsafeWeightsError):
            raise
        raise ConfigurationError(f"{path.name} does not load into its network: {error}") from error
    if not isinstance(descriptor, ImageModelDescriptor):
        raise ConfigurationError(
            f"{path.name} is a {descriptor.architecture.name} network that needs more than an image"
        )
    descriptor.model.eval()
    return descriptor


def _recognised(state: dict[str, Any]) -> Any:
    """Build the network of a state dict; ``model.`` may be a wrapper's prefix, or its own."""
    from spandrel import ModelLoader, UnsupportedModelError

    loader = ModelLoader(device="cpu")
    try:
        return loader.load_from_state_dict(state)
    except UnsupportedModelError:
        if not state or not all(name.startswith("model.") for name in state):
            raise
        return _recognised({name.removeprefix("model."): state[name] for name in state})


def _state_dict(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors of a checkpoint under the names that spandrel expects."""
    from spandrel import canonicalize_state_dict

    tensors = canonicalize_state_dict(dict(state))
    names = {name: str(name).replace("_orig_mod.", "") for name in tensors}
    return dict(canonicalize_state_dict({names[name]: tensors[name] for name in tensors}))


class _Binned(nn.Module):
    """Average the network's image over squares of pixels."""

    def __init__(self, network: nn.Module, bins: int) -> None:
        super().__init__()
        self.network, self.bins = network, bins

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.network(x), self.bins)


class _Square(nn.Module):
    """Mirror the shorter side until the image is square, and crop the result."""

    def __init__(self, network: nn.Module, factor: int) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.shape[-2:]
        side = max(rows, columns)
        index = [_mirrored(length, side, x.device) for length in (rows, columns)]
        fine: Tensor = self.network(x[..., index[0], :][..., index[1]])
        return fine[..., : rows * self.factor, : columns * self.factor]


def _mirrored(length: int, side: int, device: torch.device) -> Tensor:
    """Return which pixel comes at each position when ``length`` pixels are mirrored up to ``side``."""
    period = max(1, 2 * (length - 1))
    place = torch.arange(side, device=device) % period
    return torch.minimum(place, period - place).clamp(max=length - 1)
