"""A multi-branch vision transformer and the regression on its tokens.

Work: Lin, Yang, Ge, Chinese Medical Equipment Journal 46(4), 2025, 1-8 (SMSDL-Net). Only the abstract
is public - a multi-branch ViT learns hierarchical features of the histology by itself, a regression
network predicts the MSI from them - so this is a reimplementation from the abstract, written anew.
Each branch sees the image through patches of another size; their class tokens are joined for the
self-distillation, their token maps for the regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Pre-norm self-attention and MLP."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.project = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.widen, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, token, dim)`` -> the same."""
        batch, tokens, dim = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, token, dim of a head)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        x = x + self.project(mixed)
        result: Tensor = x + self.narrow(F.gelu(self.widen(self.norm2(x))))
        return result


class Branch(nn.Module):
    """A vision transformer on patches of one size."""

    def __init__(self, patch: int, grid: int, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        self.patch = patch
        self.embed = nn.Conv2d(3, dim, patch, stride=patch)
        self.class_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.position = nn.Parameter(torch.randn(1, dim, grid, grid) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, 3, row, column)`` -> class ``(B, dim)``, map ``(B, dim, row/patch, column/patch)``."""
        x = self.embed(image)
        rows, columns = x.shape[-2:]
        # A crop of another size than the global one reads the same map of positions, interpolated.
        x = x + F.interpolate(
            self.position, size=(rows, columns), mode="bilinear", align_corners=False
        )
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        tokens = x[:, 1:].transpose(1, 2).reshape(len(x), -1, rows, columns)
        return x[:, 0], tokens


class MultiBranchViT(nn.Module):
    """One branch per patch size, side by side.

    Parameters
    ----------
    patch_sizes
        In pixels.
    crop
        Edge of the crops that the map of positions is laid out for, a multiple of every patch.
    dim, depth, heads
        Of every branch.
    """

    def __init__(
        self, patch_sizes: Sequence[int], crop: int, dim: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.crop = crop
        self.branches = nn.ModuleList(
            Branch(patch, crop // patch, dim, depth, heads) for patch in patch_sizes
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the joined class tokens, ``(B, branch * dim)``."""
        return torch.cat([branch(image)[0] for branch in self.branches], 1)


class PrototypeHead(nn.Module):
    """Projection to prototypes of unit length (DINO; Caron et al. 2021, section 3.1)."""

    def __init__(
        self, before: int, prototypes: int, hidden: int = 128, bottleneck: int = 64
    ) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(before, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.prototypes = nn.Parameter(torch.randn(prototypes, bottleneck))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, before)`` -> cosines ``(B, prototypes)``."""
        return F.normalize(self.mlp(x), dim=1) @ F.normalize(self.prototypes, dim=1).T


class Regression(nn.Module):
    """From the features of one fine pixel to the intensity of one ion, never negative."""

    def __init__(self, features: int, hidden: Sequence[int]) -> None:
        super().__init__()
        widths = [features, *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, features: Tensor) -> Tensor:
        """``(pixel, features)`` -> ``(pixel,)``."""
        return F.softplus(self.layers(features)[:, 0])
