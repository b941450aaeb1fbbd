"""The networks of the baselines: a three-layer CNN and a U-Net, from guide to one ion image.

Papers: SRCNN, Dong et al., IEEE TPAMI 38 (2016) 295-307 (three layers); Ulyanov et al., Deep Image Prior
(2018), whose skip network DeepFERE and the comparisons of Zou et al. (2025) build on (U-Net).
Tensors are ``(batch, channel, row, column)``; any number of rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ThreeLayerCNN(nn.Module):
    """Three convolutions with ReLU between them.

    Parameters
    ----------
    inputs
        Channels of the guide.
    channels
        Filters of the first two layers.
    kernels
        Odd kernel sizes of the three layers.
    """

    def __init__(self, inputs: int, channels: Sequence[int], kernels: Sequence[int]) -> None:
        super().__init__()
        first, second = channels
        widths = (inputs, first, second, 1)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, k, padding=k // 2)
            for a, b, k in zip(widths[:-1], widths[1:], kernels, strict=True)
        )
        self.radius = sum(k // 2 for k in kernels)

    def forward(self, guide: Tensor) -> Tensor:
        """Return one ion image on the grid of the guide."""
        x = guide
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        result: Tensor = self.layers[-1](x)
        return result


class UNet(nn.Module):
    """A skip network: stride-2 convolutions down, bilinear steps up, narrow skips between.

    Parameters
    ----------
    inputs
        Channels of the guide.
    channels
        Filters of each scale.
    skip
        Channels of each skip.
    depth
        Number of stride-2 steps.
    kernel
        Odd kernel size.
    """

    def __init__(self, inputs: int, channels: int, skip: int, depth: int, kernel: int = 3) -> None:
        super().__init__()
        pad = kernel // 2
        widths = (inputs, *(channels,) * depth)
        self.down = nn.ModuleList(
            nn.Conv2d(w, channels, kernel, stride=2, padding=pad) for w in widths[:-1]
        )
        self.inner = nn.ModuleList(
            nn.Conv2d(channels, channels, kernel, padding=pad) for _ in range(depth)
        )
        self.skips = nn.ModuleList(nn.Conv2d(w, skip, 1) for w in widths[:-1])
        self.up = nn.ModuleList(
            nn.Conv2d(channels + skip, channels, kernel, padding=pad) for _ in range(depth)
        )
        self.last = nn.Conv2d(channels, 1, 1)
        self.depth = depth
        self.radius = 2**depth * (pad + 2)

    def forward(self, guide: Tensor) -> Tensor:
        """Return one ion image on the grid of the guide."""
        rows, columns = guide.shape[-2:]
        step = 2**self.depth
        x = F.pad(guide, (0, -columns % step, 0, -rows % step), mode="replicate")
        skips = []
        for down, inner, skip in zip(self.down, self.inner, self.skips, strict=True):
            skips.append(F.leaky_relu(skip(x), 0.2))
            x = F.leaky_relu(inner(F.leaky_relu(down(x), 0.2)), 0.2)
        for up, side in zip(self.up[::-1], skips[::-1], strict=True):
            wide = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = F.leaky_relu(up(torch.cat((wide, side), -3)), 0.2)
        result: Tensor = self.last(x)[..., :rows, :columns]
        return result
