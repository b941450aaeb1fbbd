"""Token maps of all branches over a whole section, and their values at any fine pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from msibench_smsdl_net.network import Branch, MultiBranchViT

TILES_AT_A_TIME = 32
TABLE_BYTES = 1 << 28
"""Features of all fine pixels are worked out once where they take no more than this."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenMap:
    """Features on a regular lattice."""

    values: Tensor
    """``(dim, row, column)``."""
    first: float
    """Fine pixel, along both axes, of the first token."""
    spacing: float
    """Fine pixels between tokens."""

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the features at fine pixels, bilinear, ``(pixel, dim)``."""
        height, width = self.values.shape[-2:]
        y = ((rows - self.first) / self.spacing * 2 + 1) / height - 1
        x = ((columns - self.first) / self.spacing * 2 + 1) / width - 1
        grid = torch.stack((x, y), -1)[None, None].to(self.values.dtype)
        sampled = F.grid_sample(self.values[None], grid, padding_mode="border", align_corners=False)
        return sampled[0, :, 0].T


class DenseFeatures:
    """Features of every fine pixel: all branches joined, and the colours.

    Parameters
    ----------
    maps
        Of the branches.
    colours
        ``(3, row, column)``.
    """

    def __init__(self, maps: tuple[TokenMap, ...], colours: Tensor) -> None:
        self.maps, self.colours = maps, colours
        rows, columns = colours.shape[-2:]
        self._table: Tensor | None = None
        # Every ion reads the same pixels hundreds of times: looked up, not interpolated again.
        if rows * columns * self.count * colours.element_size() <= TABLE_BYTES:
            every = torch.arange(rows * columns, device=colours.device)
            self._table = self._interpolated(every // columns, every % columns)

    @property
    def count(self) -> int:
        """Features of one pixel."""
        return sum(int(tokens.values.shape[0]) for tokens in self.maps) + self.colours.shape[0]

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return ``(pixel, count)`` at fine pixels given by int64 rows and columns."""
        if self._table is None:
            return self._interpolated(rows, columns)
        return self._table.index_select(0, rows * self.colours.shape[-1] + columns)

    def _interpolated(self, rows: Tensor, columns: Tensor) -> Tensor:
        colours = self.colours[:, rows, columns].T
        return torch.cat([*(tokens.at(rows, columns) for tokens in self.maps), colours], 1)


def token_maps(vit: MultiBranchViT, image: Tensor, shifts: int) -> tuple[TokenMap, ...]:
    """Run every branch over the image, tile by tile, in ``shifts x shifts`` shifted passes.

    Every map is standardised feature by feature, so that no branch dominates.

    Parameters
    ----------
    vit
        Trained on crops of ``vit.crop`` pixels: the tiles have the same size.
    image
        ``(3, row, column)``.
    shifts
        Passes along each axis; tokens stand ``patch / shifts`` pixels apart.
    """
    maps = []
    for branch in vit.branches:
        assert isinstance(branch, Branch)
        values = _tokens(branch, vit.crop, image, shifts)
        flat = values.flatten(1)
        spread = flat.std(1, unbiased=False).clamp(min=1e-6)
        values = (values - flat.mean(1)[:, None, None]) / spread[:, None, None]
        maps.append(TokenMap(values, (branch.patch - 1) / 2, branch.patch / shifts))
    return tuple(maps)


def _tokens(branch: Branch, crop: int, image: Tensor, shifts: int) -> Tensor:
    rows, columns = image.shape[-2:]
    down, across = (-(-side // crop) for side in (rows, columns))
    step, per_tile = branch.patch // shifts, crop // branch.patch
    far = (shifts - 1) * step
    bottom, right = down * crop + far - rows, across * crop + far - columns
    padded = F.pad(image[None], (0, right, 0, bottom), mode="replicate")[0]
    dim = branch.embed.out_channels
    lattice = image.new_empty(dim, down * per_tile, shifts, across * per_tile, shifts)
    for i in range(shifts):
        for j in range(shifts):
            shifted = padded[
                :, i * step : i * step + down * crop, j * step : j * step + across * crop
            ]
            tiles = shifted.reshape(3, down, crop, across, crop).permute(1, 3, 0, 2, 4)
            tiles = tiles.reshape(down * across, 3, crop, crop)
            with torch.no_grad():
                tokens = torch.cat(
                    [branch(some)[1] for some in torch.split(tiles, TILES_AT_A_TIME)]
                )
            tokens = tokens.reshape(down, across, dim, per_tile, per_tile).permute(2, 0, 3, 1, 4)
            lattice[:, :, i, :, j] = tokens.reshape(dim, down * per_tile, across * per_tile)
    whole = lattice.reshape(dim, down * per_tile * shifts, across * per_tile * shifts)
    # Tokens wholly beyond the image know nothing of it.
    inside = [-(-side // step) for side in (rows, columns)]
    return whole[:, : max(inside[0], 1), : max(inside[1], 1)].contiguous()
