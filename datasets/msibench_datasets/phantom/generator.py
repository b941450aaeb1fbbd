"""The phantom: one seed in, one synthetic section with its whole truth out.

An organ is drawn as maps in [0, 1] (outline, three layers, a ridge, vessels, spots, cells, tubules).
Ion images are mixtures of these maps times a brightness, then Poisson counts. The guide is a stained
image of the same maps by Beer-Lambert absorption, **plus** structures without any chemical
counterpart (folds, stain blotches, empty vessels), which `Phantom.uncharted` gives away. The second
modality has its own few mixtures and its own counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Map = NDArray[np.float64]

HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
EOSIN = np.array([0.07, 0.99, 0.11])
"""Absorption of red, green and blue light (Ruifrok and Johnston 2001)."""

CHANNELS: tuple[tuple[float, str], ...] = (
    (301.1410, "smooth gradient"),
    (417.2402, "cortex layer"),
    (524.3711, "medulla layer"),
    (616.1773, "pelvis, sharp boundary"),
    (673.5285, "isolated spots"),
    (703.5748, "vessels"),
    (734.5694, "tubules, periodic"),
    (760.5851, "anti-correlated pair, first"),
    (782.5670, "anti-correlated pair, second"),
    (798.5410, "cells"),
    (810.6007, "sparse, shot-noise limited"),
    (844.6425, "rim"),
    (863.5644, "matrix, off tissue"),
    (888.6240, "cortex and gradient"),
)
"""m/z labels and what each ion image shows."""

BRIGHTNESS = np.array([1.0, 1.0, 0.8, 1.5, 1.2, 0.9, 0.8, 0.7, 0.7, 1.0, 0.012, 0.6, 0.25, 2.5])
SECOND_MZ = np.array([184.0733, 253.2173, 369.3516, 478.3291])


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A synthetic section and all that is known of it."""

    counts: NDArray[np.float32]
    """Ion counts, ``(channel, row, column)``."""
    expected: NDArray[np.float32]
    """Expected counts (the noise-free signal), same shape."""
    mz: NDArray[np.float64]
    mask: NDArray[np.bool_]
    guide: NDArray[np.float32]
    """Stained optical image, RGB in [0, 1], ``(3, row, column)``."""
    uncharted: NDArray[np.float32]
    """Where the guide shows what no ion image has, ``(row, column)`` in [0, 1]."""
    second: NDArray[np.float32]
    """Second modality, counts, ``(4, row, column)``."""
    second_mz: NDArray[np.float64]
    guide_to_section: NDArray[np.float64]
    """2 x 3: where in the guide a section pixel ``(row, column, 1)`` lies."""


def make_phantom(
    *,
    seed: int,
    shape: tuple[int, int] = (128, 160),
    counts: float = 60.0,
    rotation_deg: float = 0.0,
    shift_px: tuple[float, float] = (0.0, 0.0),
) -> Phantom:
    """Make one synthetic section.

    Parameters
    ----------
    seed
        Another seed is another animal: other outline, vessels, spots and counts.
    shape
        ``(row, column)`` of the fine grid, each at least 48.
    counts
        Expected ion counts of a bright pixel in a bright channel; fewer means noisier.
    rotation_deg, shift_px
        Known misregistration of the guide: rotation about the centre, then shift (row, column).

    Raises
    ------
    ValueError
        If the grid is too small to hold the anatomy, or `counts` is not positive.
    """
    if min(shape) < 48 or counts <= 0:
        raise ValueError(f"shape must be at least (48, 48) and counts > 0, got {shape}, {counts}")
    rng = np.random.default_rng([20251120, seed])
    anatomy = _anatomy(rng, shape)
    expected = BRIGHTNESS[:, None, None] * counts * _ion_maps(anatomy)
    uncharted = _uncharted(rng, shape, anatomy["tissue"])
    guide = _stain(rng, anatomy, uncharted)
    matrix = _about_centre(shape, rotation_deg, shift_px)
    if rotation_deg or any(shift_px):
        inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
        guide = np.stack(
            [
                ndimage.affine_transform(
                    band, inverse[:, :2], offset=inverse[:, 2], order=1, mode="nearest"
                )
                for band in guide
            ]
        )
    second = _second_modality(anatomy) * counts * 0.8
    return Phantom(
        counts=rng.poisson(expected).astype(np.float32),
        expected=expected.astype(np.float32),
        mz=np.array([mz for mz, _ in CHANNELS]),
        mask=anatomy["tissue"] > 0.5,
        guide=np.clip(guide, 0, 1).astype(np.float32),
        uncharted=uncharted.astype(np.float32),
        second=rng.poisson(second).astype(np.float32),
        second_mz=SECOND_MZ,
        guide_to_section=matrix,
    )


def _about_centre(shape: tuple[int, int], degrees: float, shift: tuple[float, float]) -> Map:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(shape) - 1) / 2
    offset = centre - turn @ centre + np.asarray(shift)
    return np.column_stack([turn, offset])


def _soft(distance: Map, width: float = 0.5) -> Map:
    """Turn a signed distance in pixels into 0..1 with an edge about one pixel wide."""
    return 1 / (1 + np.exp(-np.clip(distance / width, -30, 30)))


def _field(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Map:
    """Smooth random field in [0, 1] with structures about `scale` pixels wide."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), scale, mode="reflect")
    low, high = field.min(), field.max()
    return np.asarray((field - low) / (high - low))


def _curve(rng: np.random.Generator, shape: tuple[int, int], width: float) -> Map:
    """Draw one winding vessel as a soft band of `width` pixels."""
    rows, columns = shape
    point = rng.uniform([0.2 * rows, 0.2 * columns], [0.8 * rows, 0.8 * columns])
    heading = rng.uniform(0, 2 * np.pi)
    empty = np.ones(shape, dtype=bool)
    for _ in range(int(0.55 * max(shape)) * 2):
        heading += rng.normal(0, 0.12)
        point = point + 0.5 * np.array([np.sin(heading), np.cos(heading)])
        row, column = round(float(point[0])), round(float(point[1]))
        if not (0 <= row < rows and 0 <= column < columns):
            break
        empty[row, column] = False
    return _soft(width / 2 - ndimage.distance_transform_edt(empty))


def _spots(
    rng: np.random.Generator, allowed: NDArray[np.bool_], number: int, radius: tuple[float, float]
) -> Map:
    """Scatter soft discs over the allowed pixels."""
    grid = np.indices(allowed.shape)
    row, column = grid[0], grid[1]
    places = np.argwhere(allowed)
    spots = np.zeros(allowed.shape)
    if not len(places):
        return spots
    for y, x in places[rng.integers(len(places), size=number)].tolist():
        centre = np.array([y, x]) + rng.uniform(-0.5, 0.5, 2)
        size = rng.uniform(*radius)
        reach = int(np.ceil(size)) + 5
        box = (
            slice(max(0, y - reach), y + reach),
            slice(max(0, x - reach), x + reach),
        )
        distance = np.hypot(row[box] - centre[0], column[box] - centre[1])
        spots[box] = np.maximum(spots[box], _soft(size - distance))
    return spots


def _anatomy(rng: np.random.Generator, shape: tuple[int, int]) -> dict[str, Map]:
    """Draw the organ as maps in [0, 1]."""
    rows, columns = shape
    row, column = np.indices(shape, dtype=float)
    y = (row - (rows - 1) / 2) / (0.44 * rows)
    x = (column - (columns - 1) / 2) / (0.44 * columns)
    angle = np.arctan2(y, x)
    outline = 1 + sum(
        rng.uniform(-0.06, 0.06) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
        for k in range(2, 7)
    )
    depth = (1 - np.hypot(y, x) / outline) * 0.44 * min(shape)  # pixels below the surface
    wobble = (_field(rng, shape, 0.06 * min(shape)) - 0.5) * 0.10 * min(shape)
    tissue = _soft(depth)
    inner = depth + wobble
    cortex_depth, pelvis_depth = 0.14 * min(shape), 0.30 * min(shape)
    cortex = tissue * _soft(cortex_depth - inner)
    pelvis = _soft(inner - pelvis_depth)
    medulla = tissue * _soft(inner - cortex_depth) * (1 - pelvis)
    vessels = np.zeros(shape)
    for width in rng.uniform(1.2, 3.5, 6):
        vessels = np.maximum(vessels, _curve(rng, shape, float(width)))
    period = rng.uniform(5.0, 7.0)
    radius = np.hypot(row - rows / 2, column - columns / 2)
    tubules = 0.5 + 0.5 * np.cos(2 * np.pi * (angle * np.median(radius)) / period)
    return {
        "tissue": tissue,
        "cortex": cortex,
        "medulla": medulla,
        "pelvis": pelvis * tissue,
        "rim": np.exp(-0.5 * ((depth - 1.5) / 1.2) ** 2),
        "vessels": vessels * tissue,
        "tubules": tubules * medulla,
        "spots": _spots(rng, (cortex > 0.8) & (depth > 4), 45, (2.2, 4.0)),
        "cells": _spots(rng, tissue > 0.8, int(0.02 * rows * columns), (0.7, 1.3)),
        "gradient": tissue * (0.15 + 0.85 * (0.6 * column / columns + 0.4 * row / rows)),
        "domain": _field(rng, shape, 0.08 * min(shape)),
    }


def _ion_maps(a: dict[str, Map]) -> Map:
    """Mix the anatomy into the 14 ion images named in `CHANNELS`, each in [0, 1]."""
    domain = _soft((a["domain"] - 0.5) * 40)
    lumen = 1 - 0.9 * a["vessels"]
    maps = (
        a["gradient"],
        a["cortex"] * (0.55 + 0.45 * a["domain"]) * lumen,
        a["medulla"] * (0.5 + 0.5 * a["gradient"]) * lumen,
        a["pelvis"],
        a["spots"] * 0.95 + 0.05 * a["cortex"],
        a["vessels"],
        a["tubules"] * lumen,
        a["tissue"] * (0.08 + 0.92 * domain),
        a["tissue"] * (0.08 + 0.92 * (1 - domain)),
        a["cells"] * (0.4 + 0.6 * a["cortex"]) + 0.08 * a["tissue"],
        a["tissue"] * (0.2 + 0.8 * a["spots"]),
        a["rim"],
        1 - 0.85 * a["tissue"],
        0.6 * a["cortex"] + 0.4 * a["gradient"],
    )
    return np.clip(np.stack(maps), 0, None)


def _second_modality(a: dict[str, Map]) -> Map:
    """Four channels of another instrument: other mixtures of the same anatomy."""
    maps = (
        0.7 * a["tissue"] - 0.5 * a["pelvis"] + 0.3 * a["cells"],
        a["cortex"] + 0.6 * a["spots"],
        a["medulla"] * (0.4 + 0.6 * a["tubules"]) + 0.5 * a["rim"],
        a["vessels"] + 0.3 * a["pelvis"],
    )
    return np.clip(np.stack(maps), 0, None)


def _uncharted(rng: np.random.Generator, shape: tuple[int, int], tissue: Map) -> Map:
    """Draw folds, stain blotches and empty vessels that no ion image knows of."""
    drawn = np.zeros(shape)
    for width in (4.0, 3.0):  # folds
        drawn = np.maximum(drawn, _curve(rng, shape, width))
    for width in rng.uniform(1.0, 2.0, 3):  # vessels
        drawn = np.maximum(drawn, 0.8 * _curve(rng, shape, float(width)))
    return np.maximum(drawn, 0.7 * _spots(rng, tissue > 0.9, 8, (2.5, 5.0))) * tissue


def _stain(rng: np.random.Generator, a: dict[str, Map], uncharted: Map) -> Map:
    """Render the stained section: Beer-Lambert absorption of two stains on white light."""
    haematoxylin = 0.12 * a["tissue"] + 0.55 * a["cells"] + 0.35 * a["spots"]
    haematoxylin += 0.20 * a["cortex"] + 0.85 * uncharted
    eosin = 0.30 * a["tissue"] + 0.25 * a["medulla"] + 0.12 * a["tubules"] + 0.25 * a["rim"]
    eosin *= 1 - 0.8 * a["vessels"]
    eosin += 0.45 * uncharted
    haematoxylin *= 1 - 0.8 * a["vessels"]
    absorbed = (HAEMATOXYLIN[:, None, None] * haematoxylin + EOSIN[:, None, None] * eosin) * 1.6
    light = 0.97 * np.exp(-absorbed)
    return np.asarray(light + rng.normal(0, 0.008, light.shape))
