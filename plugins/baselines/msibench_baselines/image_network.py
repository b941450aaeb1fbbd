"""A network per ion, fitted from the guide with plain mean squared error.

As published it is fitted to the bilinearly magnified ion image, which has nothing finer than the coarse pixels:
with every epoch the network comes nearer to bilinear interpolation. Told the coarse pixels themselves, through
their footprint, it is free to take what is finer from the guide.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from msibench import Problem, Skip
from msibench.errors import ConfigurationError
from msibench.training.fitting import FitSettings, IonFits, Network, fit_ions
from msibench.training.ions import magnify
from msibench.training.kept_curves import six_digits
from msibench.training.threads import one_thread_each, ordered_map
from msibench_baselines.network import ThreeLayerCNN, UNet
from msibench_baselines.section import Section

Rectangle = tuple[slice, slice]


class ImageNetworkFusion:
    """Fit one network per ion image to the section itself; the guide is its only input.

    Parameters
    ----------
    network
        ``"cnn3"`` or ``"unet"``.
    channels
        ``cnn3``: filters of the first two layers; ``unet``: filters of each scale and of the skips.
    kernels
        Kernel sizes: three for ``cnn3``, one for ``unet``.
    depth
        Scales of ``unet``; not used by ``cnn3``.
    epochs, learning_rate
        Of Adam; one epoch is one step on the whole image.
    rises
        Stop an ion once its loss has risen so often; None: never.
    tile
        Fine pixels along an edge of the parts that the image is cut into. ``cnn3`` does not depend on
        it; ``unet`` sees a margin around each part, the larger the better.
    target
        ``"magnified"``: the output is held to the bilinearly magnified ion image, as published;
        ``"footprint"``: its mean over each coarse pixel is held to what was measured there.
    """

    def __init__(
        self,
        *,
        network: Literal["cnn3", "unet"],
        channels: Sequence[int],
        kernels: Sequence[int],
        depth: int,
        epochs: int,
        learning_rate: float,
        rises: int | None,
        tile: int,
        target: Literal["magnified", "footprint"],
    ) -> None:
        expected = {"cnn3": 3, "unet": 1}
        if network not in expected or len(kernels) != expected[network] or len(channels) != 2:
            raise ConfigurationError(
                "expected network cnn3 with two channels and three kernels, or unet with two channels "
                f"and one kernel; got {network!r}, {list(channels)}, {list(kernels)}"
            )
        if any(kernel % 2 == 0 for kernel in kernels) or tile < 16:
            raise ConfigurationError(
                f"kernels must be odd and tile at least 16, got {list(kernels)} and {tile}"
            )
        self.network, self.channels, self.kernels = network, tuple(channels), tuple(kernels)
        if target not in ("magnified", "footprint"):
            raise ConfigurationError(f"target must be magnified or footprint, got {target!r}")
        self.depth, self.tile, self.target = depth, tile, target
        self.settings = FitSettings(epochs=epochs, learning_rate=learning_rate, rises=rises)
        self._report: dict[str, object] = {}

    def upscale(self, problem: Problem) -> NDArray[np.float32] | Skip:
        """Return ``(channel, row*factor, column*factor)`` in the unit of ``problem.low``."""
        section = Section.of(problem)
        if isinstance(section, Skip):
            return section
        device = torch.device(problem.device)
        inputs = len(section.guide)
        kind = FootprintMSE if self.target == "footprint" else MagnifiedMSE
        objective = kind(section, self.tile, self._build(inputs).radius, device)
        which = section.ions.with_signal
        # Every ion starts from the same network, so that fitting it alone changes nothing.
        with one_thread_each():
            torch.manual_seed(problem.seed)
            first = self._build(inputs).state_dict()

        def build() -> nn.Module:
            module = self._build(inputs)
            module.load_state_dict(first)
            return module

        fits = fit_ions(
            build,
            objective,
            which,
            replace(self.settings, device=problem.device),
            seed=problem.seed,
            example=objective.example,
        )
        self._report = {
            "channels": list(which),
            "epochs": fits.epochs.tolist(),
            "final_mse": six_digits(
                fits.curves[ion, epochs - 1, 0] for ion, epochs in enumerate(fits.epochs)
            ),
            "parts": objective.parts,
        }
        painted = np.zeros((problem.low.channels, *problem.fine_shape), dtype=np.float32)
        _paint(painted, fits, which, objective)
        return section.restore(painted)

    def report(self) -> Mapping[str, object]:
        """Return epochs and final losses of the last call of `upscale`."""
        return self._report

    def _build(self, inputs: int) -> ThreeLayerCNN | UNet:
        if self.network == "cnn3":
            return ThreeLayerCNN(inputs, self.channels, self.kernels)
        width, skip = self.channels
        return UNet(inputs, width, skip, self.depth, self.kernels[0])


class GuideObjective:
    """What a network is fitted to, tile by tile: it sees the guide around a tile and its loss is that of the tile."""

    terms = ("mse",)

    def __init__(
        self, section: Section, tiles: Sequence[Rectangle], radius: int, device: torch.device
    ) -> None:
        self.device = device
        # Standardised on the tissue: the first layer need not learn how bright the slide is.
        self.guide = torch.from_numpy(section.standardised_guide())[None].to(device)
        rows, columns = section.guide.shape[1:]
        self.tiles = [_Tile(own, (rows, columns), radius) for own in tiles]
        self._targets = [self._target(section, tile) for tile in self.tiles]
        known = torch.stack([weight.sum((-2, -1)) for _, weight in self._targets]).sum(0)
        self._known = known.clamp(min=1).to(device)

    @property
    def parts(self) -> int:
        """How many tiles the image is cut into."""
        return len(self.tiles)

    @property
    def example(self) -> Tensor:
        """An input as large as the largest part."""
        return max((self.guide[(..., *tile.seen)] for tile in self.tiles), key=torch.numel)

    def __call__(self, network: Network, ions: Tensor, part: int) -> Tensor:
        """Return what this tile adds to the loss, ``(ion, 1)``."""
        tile = self.tiles[part]
        output = tile.crop(network(self.guide[(..., *tile.seen)])[:, 0, 0].float())
        chosen = ions.to("cpu")
        target, weight = (x[chosen].to(self.device) for x in self._targets[part])
        error = (weight * (self._compared(output) - target).square()).sum((-2, -1))
        return (error / self._known[ions])[:, None]

    def _target(self, section: Section, tile: _Tile) -> tuple[Tensor, Tensor]:
        """Return a tile's values and weights, ``(ion, row, column)``."""
        raise NotImplementedError

    def _compared(self, output: Tensor) -> Tensor:
        """Return the part of the output that lies on the target."""
        raise NotImplementedError


class MagnifiedMSE(GuideObjective):
    """Mean squared error to the bilinearly magnified ion image, over pixels that may be learned from.

    Its minimum is that image: whatever is finer than the coarse pixels counts as an error.
    """

    def __init__(self, section: Section, tile: int, radius: int, device: torch.device) -> None:
        rows, columns = section.guide.shape[1:]
        super().__init__(section, _cut((rows, columns), tile), radius, device)

    def _target(self, section: Section, tile: _Tile) -> tuple[Tensor, Tensor]:
        rows, columns = section.guide.shape[1:]
        values, weight = magnify(
            section.ions,
            slice(None),
            section.factor,
            range(rows)[tile.own[0]],
            range(columns)[tile.own[1]],
        )
        weight *= section.fine_usable()[tile.own]
        return torch.from_numpy(values), torch.from_numpy(weight)

    def _compared(self, output: Tensor) -> Tensor:
        return output


class FootprintMSE(GuideObjective):
    """Mean squared error between means over the coarse pixels' footprints and what was measured there.

    What is finer than the coarse pixels is left to the guide.
    """

    def __init__(self, section: Section, tile: int, radius: int, device: torch.device) -> None:
        self.factor = section.factor
        coarse = _cut(section.shape, max(1, tile // self.factor))
        tiles = [
            (
                slice(rows.start * self.factor, rows.stop * self.factor),
                slice(columns.start * self.factor, columns.stop * self.factor),
            )
            for rows, columns in coarse
        ]
        super().__init__(section, tiles, radius, device)

    def _target(self, section: Section, tile: _Tile) -> tuple[Tensor, Tensor]:
        rows, columns = (
            slice(own.start // self.factor, own.stop // self.factor) for own in tile.own
        )
        weight = (section.ions.known & section.usable)[:, rows, columns].astype(np.float32)
        values = np.ascontiguousarray(section.ions.values[:, rows, columns])
        return torch.from_numpy(values), torch.from_numpy(weight)

    def _compared(self, output: Tensor) -> Tensor:
        return F.avg_pool2d(output, self.factor)


class _Tile:
    """A rectangle of the fine grid and the larger one that a network sees for it."""

    def __init__(self, own: Rectangle, shape: tuple[int, int], margin: int) -> None:
        self.own = own
        self.seen: Rectangle = (
            slice(max(own[0].start - margin, 0), min(own[0].stop + margin, shape[0])),
            slice(max(own[1].start - margin, 0), min(own[1].stop + margin, shape[1])),
        )

    def crop(self, output: Tensor) -> Tensor:
        """Return the tile's own pixels of what the network made of the larger rectangle."""
        down, across = (o.start - s.start for o, s in zip(self.own, self.seen, strict=True))
        rows, columns = (o.stop - o.start for o in self.own)
        return output[..., down : down + rows, across : across + columns]


def _cut(shape: tuple[int, int], tile: int) -> list[Rectangle]:
    """Cut a grid into near-equal rectangles of at most `tile` pixels along each edge."""

    def pieces(length: int) -> list[slice]:
        count = math.ceil(length / tile)
        ends = [round(length * index / count) for index in range(count + 1)]
        return [slice(first, last) for first, last in itertools.pairwise(ends)]

    return [(rows, columns) for rows in pieces(shape[0]) for columns in pieces(shape[1])]


def _paint(
    painted: NDArray[np.float32], fits: IonFits, which: Sequence[int], objective: GuideObjective
) -> None:
    """Run every ion's network over the guide, tile by tile."""

    def fill(position: int) -> None:
        network = fits.network([position])
        for tile in objective.tiles:
            with torch.inference_mode():
                output = network(objective.guide[(..., *tile.seen)])[0, 0, 0].float()
            painted[which[position]][tile.own] = tile.crop(output).cpu().numpy()

    on_cpu = objective.device.type == "cpu"
    with one_thread_each() as threads, ordered_map(threads if on_cpu else 1) as spread:
        spread(fill, range(len(which)))
