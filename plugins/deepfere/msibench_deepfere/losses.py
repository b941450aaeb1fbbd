"""DeepFERE's three losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from msibench_deepfere.downsampling import downsample

WINDOW = 16
"""Edge of the windows that the correlation loss looks at, in fine pixels."""
BACKGROUND = 0.05
"""A pixel whose reference channels sum to less takes no part in the correlation loss."""


def consistency(image: Tensor, low: Tensor, factor: int, known: Tensor | None = None) -> Tensor:
    """Mean square difference between the down-sampled image and the measured one.

    Parameters
    ----------
    image
        ``(B, channel, row*factor, column*factor)``.
    low
        ``(B, channel, row, column)``.
    factor
        Fine pixels per coarse one.
    known
        1 where `low` was measured, 0 elsewhere; None: everywhere.
    """
    difference = (downsample(image, factor) - low).square()
    if known is None:
        return difference.mean()
    return (difference * known).sum() / known.sum().clamp(min=1)


def mapping_loss(mapped: Tensor, low: Tensor, factor: int, known: Tensor | None = None) -> Tensor:
    """Hold the mapped stain to the measured image."""
    return consistency(mapped, low, factor, known)


def reconstruction_loss(
    output: Tensor, low: Tensor, factor: int, known: Tensor | None = None
) -> Tensor:
    """Hold both halves of the fusion network's output to the measured image."""
    fused, revised = output.chunk(2, 1)
    return consistency(fused, low, factor, known) + consistency(revised, low, factor, known)


def window_origins(
    rng: np.random.RandomState, shape: tuple[int, int], count: int
) -> list[tuple[int, int]]:
    """Draw the upper left corners of windows, row before column."""
    rows, columns = shape
    return [
        (int(rng.randint(0, max(rows - WINDOW, 1))), int(rng.randint(0, max(columns - WINDOW, 1))))
        for _ in range(count)
    ]


def squared_distances(pixels: Tensor) -> Tensor:
    """Return pairwise squared distances, ``(window, pixel, channel) -> (window, pixel, pixel)``."""
    lengths = pixels.square().sum(2)
    distances = lengths[:, :, None] + lengths[:, None, :]
    distances -= 2 * pixels @ pixels.transpose(1, 2)
    return distances


def windows_of(image: Tensor, origins: list[tuple[int, int]]) -> Tensor:
    """Cut windows out of ``(1, channel, row, column)`` as ``(window, pixel, channel)``."""
    cut = [image[0, :, i : i + WINDOW, j : j + WINDOW].flatten(1).T for i, j in origins]
    return torch.stack(cut)


def correlation_loss(fused: Tensor, reference: Tensor, origins: list[tuple[int, int]]) -> Tensor:
    """Compare which pixels are alike in the fused image and in the reference.

    In every window, the squared colour distances between all pairs of pixels of one image are
    compared with those of the other, mean absolute difference; pairs with a background pixel of the
    reference count as equal. The sum over windows is divided by a fifth of their number.

    Parameters
    ----------
    fused
        ``(1, channel, row, column)``.
    reference
        ``(1, any channels, row, column)``; no gradient flows into it.
    origins
        Upper left corners of the windows.
    """
    loss: Tensor = _Correlation.apply(fused, reference.detach(), origins)
    return loss


class _Correlation(torch.autograd.Function):
    """The loss and its gradient in closed form: of all pairs, only the sign of their difference is kept.

    On a CPU the pairs of one window are worked out at a time, so that they stay in the cache.
    """

    @staticmethod
    def forward(
        ctx: Any, fused: Tensor, reference: Tensor, origins: list[tuple[int, int]]
    ) -> Tensor:
        ours, theirs = windows_of(fused, origins), windows_of(reference, origins)
        signs = ours.new_empty(len(origins), WINDOW**2, WINDOW**2)
        means = ours.new_empty(len(origins))
        at_a_time = 1 if fused.device.type == "cpu" else len(origins)
        for first in range(0, len(origins), at_a_time):
            few = slice(first, first + at_a_time)
            foreground = (theirs[few].sum(2) >= BACKGROUND).to(theirs.dtype)
            both = foreground[:, :, None] * foreground[:, None, :]
            difference = squared_distances(ours[few]).mul_(both)
            difference -= squared_distances(theirs[few]).mul_(both)
            torch.sign(difference, out=signs[few])
            torch.mean(difference.abs_(), (1, 2), out=means[few])
        ctx.windows, ctx.signs, ctx.origins, ctx.shape = ours, signs, origins, fused.shape
        return means.sum() / (len(origins) / 5)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        pairs = ctx.signs * (upstream / (len(ctx.origins) / 5) / WINDOW**4)
        # Reshaped to itself as `matmul` does: of a single channel, the strides decide in which order BLAS adds.
        turned = ctx.windows.transpose(1, 2)
        pixels, twice = turned.reshape(turned.shape).transpose(1, 2), 2 * ctx.windows
        lengths = (pairs.sum(2) + pairs.sum(1))[:, :, None] * twice
        products = (pairs @ pixels).mul_(2) + (twice.transpose(1, 2) @ pairs).transpose(1, 2)
        total = upstream.new_zeros(ctx.shape)
        for (i, j), window in reversed(list(zip(ctx.origins, lengths - products, strict=True))):
            total[0, :, i : i + WINDOW, j : j + WINDOW] += window.T.unflatten(1, (WINDOW, -1))
        return total, None, None
