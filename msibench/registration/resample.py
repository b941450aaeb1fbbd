"""Bring the guide onto the grid of the ion images; the measured truth is never interpolated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from msibench.errors import RegistrationError
from msibench.image import GuideImage
from msibench.registration.affine import Affine
from msibench.registration.transform import Composite, Transform, pixel_centres

MAX_SAMPLES_PER_EDGE = 8
POINTS_AT_ONCE = 2_000_000


def resample(
    guide: GuideImage,
    transform: Transform,
    shape: tuple[int, int],
    *,
    pixel_size_um: float = float("nan"),
    fill: float | None = None,
) -> GuideImage:
    """Resample a guide onto the fixed grid.

    Where the guide is finer, each fixed pixel becomes the mean over its own footprint in the guide
    (as many samples per edge as it covers guide pixels), so that nothing aliases; where it is
    coarser, it is interpolated linearly.

    Parameters
    ----------
    guide
        On its own grid.
    transform
        From fixed to guide pixels.
    shape
        ``(row, column)`` of the fixed grid.
    pixel_size_um
        Of the fixed grid, for the record.
    fill
        Value where the guide does not reach; None: white for an optical guide of three channels,
        else 0.

    Returns
    -------
    The guide on the fixed grid. Its mask is True where at least half of a pixel's footprint lies on
    the known part of the guide.

    Raises
    ------
    RegistrationError
        If the transform yields NaN, or no pixel of the grid lies on the guide.
    """
    if min(shape) < 1:
        raise RegistrationError(f"the fixed grid must hold a pixel, got (row, column) = {shape}")
    guide, transform = _coarsen(guide, transform, shape)
    samples = min(
        MAX_SAMPLES_PER_EDGE, max(1, int(np.ceil(guide_pixels_across(transform, shape) - 1e-6)))
    )
    if fill is None:
        fill = 1.0 if guide.kind == "optical" and guide.values.shape[0] == 3 else 0.0
    known = np.ones(guide.shape) if guide.mask is None else guide.mask.astype(np.float64)
    layers = [*(channel * known for channel in guide.values), known]
    totals = np.zeros((len(layers), *shape))
    rows_at_once = max(1, POINTS_AT_ONCE // shape[1])
    for top in range(0, shape[0], rows_at_once):
        rows = slice(top, min(top + rows_at_once, shape[0]))
        _add_footprints(totals[:, rows], layers, transform, (top, 0), samples)
    totals /= samples**2
    cover = totals[-1]
    if not (cover > 0).any():
        raise RegistrationError("no pixel of the fixed grid lies on the guide; check the transform")
    values = np.divide(totals[:-1], cover, out=np.full_like(totals[:-1], fill), where=cover > 1e-9)
    mask = cover >= 0.5 - 1e-9
    values[:, ~mask] = fill
    return replace(
        guide,
        values=np.clip(values, 0.0, 1.0).astype(np.float32),
        pixel_size_um=pixel_size_um,
        mask=None if mask.all() else mask,
    )


def guide_pixels_across(transform: Transform, shape: tuple[int, int]) -> float:
    """Return how many guide pixels lie along the edge of a fixed one, in the median over the grid.

    Raises
    ------
    RegistrationError
        If the transform yields NaN.
    """
    rows = np.linspace(0, shape[0] - 1, 3)
    columns = np.linspace(0, shape[1] - 1, 3)
    points = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    stretch = np.linalg.norm(transform.jacobian(points), axis=-2)  # length of each edge's image
    if not np.isfinite(stretch).all():
        raise RegistrationError("the transform yields NaN on the fixed grid")
    return float(np.median(stretch.max(axis=-1)))


def _coarsen(
    guide: GuideImage, transform: Transform, shape: tuple[int, int]
) -> tuple[GuideImage, Transform]:
    """Bin a guide that is much finer than the grid, so that few samples a pixel are enough."""
    factor = int(guide_pixels_across(transform, shape) // MAX_SAMPLES_PER_EDGE)
    if factor < 2 or min(guide.shape) < factor:
        return guide, transform
    binned = _binned(guide.values, factor)
    mask = guide.mask
    if mask is not None:
        mask = np.asarray(_binned(mask.astype(np.float64), factor) >= 0.5)
    shrink = Affine(np.eye(2) / factor, np.full(2, (1 / factor - 1) / 2))
    return replace(guide, values=binned.astype(np.float32), mask=mask), Composite(transform, shrink)


def _binned(values: NDArray[np.floating], factor: int) -> NDArray[np.float64]:
    rows, columns = (side // factor for side in values.shape[-2:])
    whole = values[..., : rows * factor, : columns * factor]
    blocks = whole.reshape(*values.shape[:-2], rows, factor, columns, factor)
    return np.asarray(blocks.mean(axis=(-3, -1), dtype=np.float64))


def _add_footprints(
    totals: NDArray[np.float64],
    layers: list[NDArray[np.float64]],
    transform: Transform,
    corner: tuple[int, int],
    samples: int,
) -> None:
    """Add the samples of every pixel's footprint; the map counts as linear within one pixel."""
    points = pixel_centres((totals.shape[1], totals.shape[2])) + np.asarray(
        corner, dtype=np.float64
    )
    centres = transform(points)
    if not np.isfinite(centres).all():
        raise RegistrationError("the transform yields NaN on the fixed grid")
    edges = transform.jacobian(points) if samples > 1 else None
    offsets = (np.arange(samples) + 0.5) / samples - 0.5
    for down in offsets:
        for across in offsets:
            where = centres
            if edges is not None:
                where = centres + edges[..., 0] * down + edges[..., 1] * across
            for layer, total in zip(layers, totals, strict=True):
                total += ndimage.map_coordinates(
                    # half a pixel beyond the outermost centres still lies on the guide
                    layer,
                    [where[..., 0], where[..., 1]],
                    order=1,
                    mode="nearest",
                ) * _inside(where, layer.shape)


def _inside(where: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    row, column = where[..., 0], where[..., 1]
    return (row >= -0.5) & (row <= shape[0] - 0.5) & (column >= -0.5) & (column <= shape[1] - 0.5)
