"""A leaf cross-section as Zou et al. (2025) describe theirs: cells of four kinds, each with one concentration.

Epidermis (one layer of cells around the section), mesophyll (large cells), a vascular bundle (small cells of
different sizes) and two secretory cavities (empty, inside a rim). Cells are the nearest-seed regions of
scattered points; dark walls stand between them. The microscope image shows walls, and pigment that has nothing to do with the
ions; an ion has one concentration a cell, drawn about its tissue's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

Map = NDArray[np.float64]

TISSUES = ("outside", "epidermis", "mesophyll", "vascular bundle", "cavity rim", "cavity")
IONS: tuple[tuple[float, str, tuple[float, ...]], ...] = (
    (269.044, "flavonoid: epidermis and cavity rim", (0.0, 0.9, 0.25, 0.15, 0.8, 0.0)),
    (133.014, "acid: mesophyll", (0.0, 0.2, 0.8, 0.3, 0.2, 0.0)),
    (341.108, "sugar: vascular bundle", (0.0, 0.1, 0.25, 0.95, 0.1, 0.0)),
    (447.093, "glycoside: cells here and there", (0.0, 0.1, 0.1, 0.1, 0.1, 0.0)),
)
"""m/z label, what it shows, concentration in each tissue."""


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """A section and what is known of it."""

    counts: NDArray[np.float32]
    """``(ion, row, column)``."""
    expected: NDArray[np.float32]
    mz: NDArray[np.float64]
    mask: NDArray[np.bool_]
    guide: NDArray[np.float32]
    """Microscope image, RGB in [0, 1], ``(3, row, column)``."""


def make_leaf(*, seed: int, shape: tuple[int, int] = (2700, 980), counts: float = 40.0) -> Leaf:
    """Make one section.

    Parameters
    ----------
    seed
        Another seed is another leaf.
    shape
        ``(row, column)``, each at least 96; the section stands upright in it. A mesophyll cell is about
        ``row / 45`` pixels wide.
    counts
        Expected counts of a pixel at full concentration.
    """
    if min(shape) < 96 or counts <= 0:
        raise ValueError(f"shape must be at least (96, 96) and counts > 0, got {shape}, {counts}")
    rng = np.random.default_rng([20251127, seed])
    depth = _depth(rng, shape)
    cell = max(shape) / 45
    label, wall, tissue_of = _cells(rng, depth, cell)
    tissue = tissue_of[label]
    inside = (depth > 0) & (tissue != TISSUES.index("outside"))
    # Walls hold nothing, and neither do the cavities.
    open_cell = np.clip(wall / (0.08 * cell), 0, 1) * inside
    concentration = np.array([levels for *_, levels in IONS])[:, tissue_of]
    spread = rng.lognormal(0, 0.35, concentration.shape)
    few = rng.random(len(tissue_of)) < 0.12
    concentration[3] = np.where(few & (tissue_of > 0) & (tissue_of < 5), 0.9, concentration[3])
    expected = np.minimum(concentration * spread, 1.5)[:, label] * open_cell * counts
    light = _light(rng, label, open_cell, tissue, inside)
    return Leaf(
        counts=rng.poisson(expected).astype(np.float32),
        expected=expected.astype(np.float32),
        mz=np.array([mz for mz, *_ in IONS]),
        mask=inside,
        guide=light,
    )


def _depth(rng: np.random.Generator, shape: tuple[int, int]) -> Map:
    """Return pixels below the surface of the leaf; negative outside."""
    rows, columns = shape
    along = np.linspace(-1, 1, rows)
    bend = 0.06 * columns * np.sin(2 * along + rng.uniform(0, np.pi))
    half = 0.40 * columns * np.sqrt(np.clip(1 - (along / 0.97) ** 6, 0, 1))
    half *= 1 + 0.03 * np.sin(9 * along + rng.uniform(0, np.pi))
    across = np.abs(np.arange(columns)[None] - columns / 2 - bend[:, None])
    inside = across < half[:, None]
    return np.where(inside, ndimage.distance_transform_edt(inside), -1.0)


def _cells(
    rng: np.random.Generator, depth: Map, cell: float
) -> tuple[NDArray[np.intp], Map, NDArray[np.intp]]:
    """Return each pixel's cell, its distance to the nearest wall in pixels, and each cell's tissue."""
    rows, columns = depth.shape
    middle = np.array([rows / 2, columns / 2])
    cavities = [np.array([rows * (0.5 + side * 0.28), columns / 2]) for side in (-1, 1)]
    wide = 2.2 * cell

    def scattered(gap: float) -> NDArray[np.float64]:
        grid = np.mgrid[0:rows:gap, 0:columns:gap].reshape(2, -1).T
        return np.asarray(grid + rng.uniform(-0.35, 0.35, grid.shape) * gap)

    def at(points: NDArray[np.float64]) -> Map:
        place = np.clip(np.rint(points).astype(int), 0, np.array(depth.shape) - 1)
        return np.asarray(depth[place[:, 0], place[:, 1]])

    def away(points: NDArray[np.float64], centre: NDArray[np.float64]) -> Map:
        return np.asarray(np.hypot(*(points - centre).T))

    large, small = scattered(cell), scattered(0.45 * cell)
    rim = scattered(0.7 * cell)
    bundle = away(small, middle) < 2.5 * cell
    skin = (at(rim) > 0) & (at(rim) < 0.7 * cell)
    ring = np.min([np.abs(away(rim, centre) - wide) for centre in cavities], axis=0) < 0.35 * cell
    rest = (at(large) >= 0.9 * cell) & (away(large, middle) >= 2.9 * cell)
    rest &= np.min([away(large, centre) for centre in cavities], axis=0) > wide + 0.7 * cell
    outside = scattered(2 * cell)
    outside = outside[at(outside) < 0]
    kinds = (
        (outside, "outside"), (rim[skin], "epidermis"), (large[rest], "mesophyll"),
        (small[bundle], "vascular bundle"), (rim[ring & ~skin], "cavity rim"),
        (np.stack(cavities), "cavity"),
    )  # fmt: skip
    seeds = np.concatenate([points for points, _ in kinds])
    tissue = np.concatenate([np.full(len(points), TISSUES.index(name)) for points, name in kinds])
    pixels = np.indices(depth.shape, dtype=np.float32).reshape(2, -1).T
    found = cKDTree(seeds).query(pixels, k=2)
    distance, nearest = np.asarray(found[0]), np.asarray(found[1])
    wall = (distance[:, 1] - distance[:, 0]) / 2
    return nearest[:, 0].reshape(depth.shape), wall.reshape(depth.shape), tissue


def _light(
    rng: np.random.Generator,
    label: NDArray[np.intp],
    open_cell: Map,
    tissue: NDArray[np.intp],
    inside: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Return the microscope image: bright cells, dark walls, pigment that differs from cell to cell."""
    pigment = rng.uniform(0, 0.35, int(label.max()) + 1)[label]
    green = np.where(tissue == TISSUES.index("mesophyll"), 0.25, 0.08)
    lumen = tissue == TISSUES.index("cavity")
    bright = 0.35 + 0.55 * open_cell
    bands = np.stack(
        [bright * (1 - green - pigment), bright * (1 - 0.3 * pigment), bright * (1 - green)]
    )
    shown = np.where(inside & ~lumen, bands, 0.93)
    return np.clip(shown + rng.normal(0, 0.01, shown.shape), 0, 1).astype(np.float32)
