"""How an image is cut into tiles that a network can take, and blended again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from msibench.errors import ConfigurationError

Scaling = Literal["minmax", "max", "percentile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputNeeds:
    """What a network demands of its input; properties of the architecture, not choices."""

    factor: int
    """Fine pixels along each edge of a coarse one."""
    channels: Literal[1, 3] = 3
    """Input and output channels; a grey image is replicated for three and the result averaged."""
    multiple_of: int = 1
    """Sides must be a multiple of this; tiles also start at multiples, so that windows fall alike."""
    minimum: int = 1
    """Shortest side that it can take."""
    local: bool = True
    """Far pixels do not matter, so tiling changes (next to) nothing; False for global scans."""
    tileable: bool = True
    """False: it tiles by itself or must see the whole image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileOptions:
    """What a user may choose; all of it is part of the method's key."""

    tile: int = 256
    """Longest side of a tile in coarse pixels; 0: never tile."""
    overlap: int = 32
    """Coarse pixels that neighbouring tiles share; blended linearly over the middle half of them."""
    batch: int = 16
    """Tiles that go through the network at once, at most; fewer where memory runs out, and on a
    processor no more than 4096 pixels' worth, beyond which its caches make each image slower."""
    scaling: Scaling = "minmax"
    """How each ion image comes into [0, 1]: its minimum and maximum, its maximum alone, or the
    99.9th percentile with what lies above clipped (the loss that published pipelines accept)."""
    quantise8: bool = False
    """Round to 256 grey levels before and after the network, as the published pipelines do."""

    def __post_init__(self) -> None:
        if self.batch < 1 or self.tile < 0 or self.overlap < 0:
            raise ConfigurationError(
                f"tile and overlap must be at least 0 and batch at least 1, got {self.tile}, "
                f"{self.overlap} and {self.batch}"
            )
        if self.tile and self.overlap >= self.tile:
            raise ConfigurationError(
                f"overlap ({self.overlap} px) must be smaller than tile ({self.tile} px)"
            )
        if self.scaling not in ("minmax", "max", "percentile"):
            raise ConfigurationError(
                f"scaling must be minmax, max or percentile, got {self.scaling!r}"
            )


def pad_to(images: NDArray[np.float32], needs: InputNeeds) -> NDArray[np.float32]:
    """Mirror the right and lower border until both sides fit the network; any size, even one pixel."""
    grow = [_ceil(max(side, needs.minimum), needs.multiple_of) - side for side in images.shape[1:]]
    if not any(grow):
        return images
    return np.pad(images, ((0, 0), (0, grow[0]), (0, grow[1])), mode="reflect")


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One rectangle of the coarse grid, and how much its fine pixels count."""

    rows: slice
    columns: slice
    row_weight: NDArray[np.float32]
    """One per coarse row and factor: ``(row*factor,)``."""
    column_weight: NDArray[np.float32]

    def add(self, total: NDArray[np.float32], image: NDArray[np.float32], factor: int) -> None:
        """Add the weighted fine tile to the whole fine image."""
        weight = self.row_weight[:, None] * self.column_weight
        rows = slice(self.rows.start * factor, self.rows.stop * factor)
        columns = slice(self.columns.start * factor, self.columns.stop * factor)
        total[rows, columns] += weight * image


def plan_tiles(
    rows: int, columns: int, needs: InputNeeds, options: TileOptions
) -> tuple[Tile, ...]:
    """Cut a padded image into equal tiles whose weights add up to one at every fine pixel."""
    if not options.tile or not needs.tileable:
        spans = ([(0, rows)], [(0, columns)])
    else:
        spans = (
            _spans(rows, needs, options),
            _spans(columns, needs, options),
        )
    row_weights = _weights(spans[0], rows, needs.factor)
    column_weights = _weights(spans[1], columns, needs.factor)
    return tuple(
        Tile(slice(*row), slice(*column), row_weight, column_weight)
        for row, row_weight in zip(spans[0], row_weights, strict=True)
        for column, column_weight in zip(spans[1], column_weights, strict=True)
    )


def _spans(length: int, needs: InputNeeds, options: TileOptions) -> list[tuple[int, int]]:
    """Return equally long, evenly spread, aligned intervals that cover ``range(length)``."""
    step = needs.multiple_of
    tile = max(_ceil(max(options.tile, needs.minimum), step), step)
    if length <= tile:
        return [(0, length)]
    overlap = min(options.overlap, tile - step)
    count = -(-(length - overlap) // (tile - overlap))
    while True:
        starts = [(length - tile) * i // (count - 1) // step * step for i in range(count)]
        starts[-1] = length - tile  # both are multiples of step
        gaps = [later - earlier for earlier, later in pairwise(starts)]
        if max(gaps) <= tile - overlap or min(gaps) <= step:
            return [(start, start + tile) for start in dict.fromkeys(starts)]
        count += 1


def _weights(spans: list[tuple[int, int]], length: int, factor: int) -> list[NDArray[np.float32]]:
    """Return one ramp per interval on the fine grid; together they are one everywhere.

    In the overlap of two neighbours the outer quarters belong to one alone: the pixels at a tile's
    very border, which have seen least of their surroundings, do not count.
    """
    place = (np.arange(length * factor) + 0.5) / factor
    ramps = np.zeros((len(spans), length * factor))
    for index, (start, stop) in enumerate(spans):
        ramp = np.ones(length * factor)
        if index > 0:
            ramp *= _rise(place, start, spans[index - 1][1])
        if index < len(spans) - 1:
            ramp *= _rise(-place, -stop, -spans[index + 1][0])
        ramp[(place < start) | (place > stop)] = 0.0
        ramps[index] = ramp
    ramps /= ramps.sum(axis=0)
    return [
        ramps[index, start * factor : stop * factor].astype(np.float32)
        for index, (start, stop) in enumerate(spans)
    ]


def _rise(place: NDArray[np.float64], first: float, last: float) -> NDArray[np.float64]:
    """Go from 0 to 1 over the middle half of ``[first, last]``; a step where they meet."""
    if last <= first:
        return np.ones_like(place)
    quarter = (last - first) / 4
    return np.clip((place - first - quarter) / (2 * quarter), 0.0, 1.0)


def _ceil(value: int, step: int) -> int:
    return -(-value // step) * step


def options_from(config: Mapping[str, Any]) -> TileOptions:
    """Return the tile options among a method's configuration; other keys are left alone."""
    names = TileOptions.__dataclass_fields__
    return TileOptions(**{name: value for name, value in config.items() if name in names})
