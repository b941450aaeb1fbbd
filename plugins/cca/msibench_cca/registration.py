"""Step 5: rigid registration by gradient descent through PyTorch's grid sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msibench_cca.maps import Maps

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rigid:
    """Rotation about the centre, then a shift; the same on every grid over the same area."""

    angle_deg: float
    shift: tuple[float, float]
    """Down and across, as a share of half the height and half the width."""
    loss: float
    """Mean squared difference of the images, scaled to [0, 1], at the end."""
    start_loss: float
    """The same before registration."""


def register_rigid(moving: Floats, fixed: Floats, *, steps: int, rate: float) -> Rigid:
    """Find the rigid motion that makes `moving` look like `fixed`, both ``(row, column)`` on one grid.

    Angle and shift are the parameters, mean squared difference the loss, Adam the optimiser. Both images
    are scaled to [0, 1] and smoothed at first (a quarter of the steps each at 4, 2, 1, 0 pixels), so that
    a distant match is found. The identity is kept where nothing better is found.
    """
    import torch

    start = torch.zeros(3, dtype=torch.float64)
    images = [_unit(moving), _unit(fixed)]
    with torch.no_grad():
        before = _mismatch(start, *(torch.from_numpy(x) for x in images)).item()
    best, lowest = start.clone(), before
    for smooth in (4.0, 2.0, 1.0, 0.0):
        mover, target = (torch.from_numpy(_blurred(x, smooth)) for x in images)
        motion = best.clone().requires_grad_()
        optimiser = torch.optim.Adam([motion], lr=rate)
        for _ in range(max(steps // 4, 1)):
            optimiser.zero_grad()
            loss = _mismatch(motion, mover, target)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.no_grad():
            final = motion.detach()
            now = _mismatch(final, *(torch.from_numpy(x) for x in images)).item()
        if now < lowest:
            best, lowest = final.clone(), now
    angle, down, across = best.tolist()
    return Rigid(float(np.rad2deg(angle)), (down, across), lowest, before)


def move(maps: Maps, rigid: Rigid) -> Maps:
    """Return the maps moved (bilinear), with pixels that come from outside unknown."""
    import torch

    motion = torch.tensor([np.deg2rad(rigid.angle_deg), *rigid.shift], dtype=torch.float64)
    known = maps.known.astype(np.float64)
    stack = np.concatenate([np.where(maps.known, maps.values, 0), known[None]])
    moved = _warp(motion, torch.from_numpy(stack)).numpy()
    share = moved[-1]
    values = np.where(share > 0.5, moved[:-1] / np.maximum(share, 0.5), 0)
    return Maps(values, share > 0.5, maps.spectra, maps.relative_error)


def _warp(motion: Tensor, images: Tensor) -> Tensor:
    """``(channel, row, column)`` -> the same, rotated and shifted."""
    import torch
    import torch.nn.functional as F

    rows, columns = images.shape[-2:]
    cos, sin = torch.cos(motion[0]), torch.sin(motion[0])
    # Normalised coordinates are not square: a rotation in pixels is a shear in them.
    theta = torch.stack(
        [
            torch.stack([cos, -sin * (rows / columns), motion[2]]),
            torch.stack([sin * (columns / rows), cos, motion[1]]),
        ]
    )
    grid = F.affine_grid(theta[None], [1, 1, rows, columns], align_corners=False)
    return F.grid_sample(images[None], grid, align_corners=False)[0]


def _mismatch(motion: Tensor, moving: Tensor, fixed: Tensor) -> Tensor:
    return (_warp(motion, moving[None])[0] - fixed).square().mean()


def _unit(image: Floats) -> Floats:
    low, high = float(image.min()), float(image.max())
    return np.asarray((image - low) / (high - low) if high > low else np.zeros_like(image))


def _blurred(image: Floats, sigma: float) -> Floats:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(image, sigma) if sigma else image)
