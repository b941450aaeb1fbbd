"""What LCRN minimises: fidelity to the magnified ion image plus the edge perceptual loss."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from msibench.training.fitting import Network
from msibench.training.ions import ScaledIons, magnify
from msibench_lcrn.config import LcrnConfig

EDGE_KERNELS: dict[str, tuple[tuple[tuple[float, ...], ...], ...]] = {
    "laplacian8": (((-1, -1, -1), (-1, 8, -1), (-1, -1, -1)),),
    "laplacian4": (((0, -1, 0), (-1, 4, -1), (0, -1, 0)),),
    "sobel": (((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)), ((-1, -2, -1), (0, 0, 0), (1, 2, 1))),
}
LUMA = (0.299, 0.587, 0.114)
"""Rec. 601, as OpenCV turns RGB to grey."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of the fine grid, and the larger one that its pixels depend on."""

    rows: range
    columns: range
    halo: int
    shape: tuple[int, int]

    def around(self, margin: int) -> tuple[slice, slice]:
        """Return the rectangle with `margin` pixels more on every side that is not the border."""
        height, width = self.shape
        return (
            slice(max(self.rows.start - margin, 0), min(self.rows.stop + margin, height)),
            slice(max(self.columns.start - margin, 0), min(self.columns.stop + margin, width)),
        )


def cut(shape: tuple[int, int], tile: int, halo: int, step: int = 1) -> list[Tile]:
    """Cut the grid into near-equal rectangles of at most `tile` pixels along each edge.

    With `step` the cuts fall between blocks of so many pixels.
    """

    def pieces(length: int) -> list[range]:
        blocks = length // step
        count = math.ceil(length / max(tile, step))
        ends = [round(blocks * index / count) * step for index in range(count + 1)]
        return [range(first, last) for first, last in itertools.pairwise(ends)]

    return [Tile(r, c, halo, shape) for r in pieces(shape[0]) for c in pieces(shape[1])]


def edge_reference(guide: NDArray[np.float32], how: str) -> NDArray[np.float32]:
    """Return the image whose edges the output is held to, ``(channel, row, column)``."""
    if how == "each":
        return guide
    weights = (
        LUMA if how == "grey" and guide.shape[0] == 3 else (1 / guide.shape[0],) * guide.shape[0]
    )
    return np.tensordot(np.asarray(weights, np.float32), guide, 1)[None].astype(np.float32)


class LcrnObjective:
    """MSE to the ion image, and MSE between edges of output and guide.

    The first compares with the bilinearly magnified ion image, over pixels whose coarse intensity is known,
    or, with ``fidelity = "footprint"``, means over coarse pixels with what was measured there; the second
    is a mean over the pixels that have all eight neighbours.
    """

    terms = ("total", "mse", "edge")

    def __init__(
        self,
        ions: ScaledIons,
        guide: NDArray[np.float32],
        factor: int,
        config: LcrnConfig,
        radius: int,
        device: torch.device,
    ) -> None:
        self._ions, self._factor, self._config, self._device = ions, factor, config, device
        shape = guide.shape[1], guide.shape[2]
        self._footprint = config.fidelity == "footprint"
        step = factor if self._footprint else 1
        self.tiles = cut(shape, config.tile, radius + 1, step)
        # On a GPU one pass over the whole image is fastest, and shapes that change would recompile.
        if device.type == "cuda" and shape[0] * shape[1] <= config.tile**2 * 128:
            self.tiles = cut(shape, max(shape), radius + 1)
        self.guide = torch.from_numpy(guide)[None].to(device)
        if device.type == "cuda":
            self.guide = self.guide.contiguous(memory_format=torch.channels_last)
        kernels = torch.tensor(EDGE_KERNELS[config.edge_kernel], dtype=torch.float32)
        self._edge_of = kernels[:, None].to(device)
        reference = torch.from_numpy(edge_reference(guide, config.guide_to_edges)).to(device)
        self._sharp = self._edges(reference[:, None])  # (guide channel, kernel, row-2, column-2)
        self._edge_pixels = max(1, self._sharp.shape[-1] * self._sharp.shape[-2])
        self._shape = shape
        self._targets = [self._target(tile) for tile in self.tiles]
        known = sum((weight.sum((-2, -1)) for _, weight in self._targets), torch.zeros(1))
        self._known = known.clamp(min=1).to(device)

    @property
    def parts(self) -> int:
        """How many tiles the image is cut into."""
        return len(self.tiles)

    @property
    def example(self) -> Tensor:
        """An input as large as the largest part."""
        crops = [self.guide[(..., *tile.around(tile.halo))] for tile in self.tiles]
        return max(crops, key=torch.numel)

    def _target(self, tile: Tile) -> tuple[Tensor, Tensor]:
        every = slice(0, self._ions.values.shape[0])
        if self._footprint:
            inside = (
                every,
                slice(tile.rows.start // self._factor, tile.rows.stop // self._factor),
                slice(tile.columns.start // self._factor, tile.columns.stop // self._factor),
            )
            measured = np.ascontiguousarray(self._ions.values[inside], dtype=np.float32)
            return torch.from_numpy(measured), torch.from_numpy(
                self._ions.known[inside].astype(np.float32)
            )
        values, weight = magnify(self._ions, every, self._factor, tile.rows, tile.columns)
        return torch.from_numpy(values), torch.from_numpy(weight)

    def _edges(self, images: Tensor) -> Tensor:
        """``(B, 1, row, column)`` -> ``(B, kernel, row - 2, column - 2)``."""
        if min(images.shape[-2:]) < 3:
            return images.new_zeros(images.shape[0], self._edge_of.shape[0], 0, 0)
        return F.conv2d(images, self._edge_of)

    def __call__(self, network: Network, ions: Tensor, part: int) -> Tensor:
        """Return what this tile adds to ``(total, mse, edge)``, ``(ion, 3)``."""
        tile = self.tiles[part]
        seen_rows, seen_columns = tile.around(tile.halo)
        output = network(self.guide[..., seen_rows, seen_columns])[:, 0, 0].float()
        chosen = ions.to("cpu")
        target, weight = (x[chosen].to(self._device) for x in self._targets[part])
        top, left = tile.rows.start - seen_rows.start, tile.columns.start - seen_columns.start
        own = output[:, top : top + len(tile.rows), left : left + len(tile.columns)]
        if self._footprint:
            own = F.avg_pool2d(own, self._factor)
        mse = (weight * (own - target).square()).sum((-2, -1)) / self._known[ions]
        edge = self._edge_loss(output, tile, seen_rows.start, seen_columns.start)
        total = self._config.mse_weight * mse + self._config.edge_weight * edge
        return torch.stack((total, mse, edge), 1)

    def _edge_loss(self, output: Tensor, tile: Tile, first_row: int, first_column: int) -> Tensor:
        """Return this tile's share of the edge loss, over its pixels that are not on the border."""
        height, width = self._shape
        rows = range(max(tile.rows.start, 1), min(tile.rows.stop, height - 1))
        columns = range(max(tile.columns.start, 1), min(tile.columns.stop, width - 1))
        if not rows or not columns:
            return output.new_zeros(output.shape[0])
        patch = output[
            :,
            rows.start - 1 - first_row : rows.stop + 1 - first_row,
            columns.start - 1 - first_column : columns.stop + 1 - first_column,
        ]
        edges = self._edges(patch[:, None])[:, None]  # (ion, 1, kernel, row, column)
        sharp = self._sharp[
            ..., rows.start - 1 : rows.stop - 1, columns.start - 1 : columns.stop - 1
        ]
        difference = (edges - sharp).square().mean((1, 2))
        return difference.sum((-2, -1)) / self._edge_pixels
