"""Ion images through a super-resolution network: scaling, channels, tiles, batches, and back.

What the published pipelines do (an 8-bit grey image, three equal channels) with what a measurement
deserves: floating point, every ion on its own scale, units restored, and many ions in one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from msibench.contracts.progress import tell_progress
from msibench.errors import ConfigurationError

Scaling = Literal["minmax", "max", "percentile"]
Arithmetic = Literal["float32", "bfloat16", "float16"]

_PERCENTILE = 99.9
_CPU_PIXELS = 4096


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


def upscale_ions(
    network: nn.Module | Callable[[Tensor], Tensor],
    low: NDArray[np.float32],
    needs: InputNeeds,
    options: TileOptions,
    *,
    device: str = "cpu",
    precision: Arithmetic = "float32",
) -> tuple[NDArray[np.float32], dict[str, object]]:
    """Bring every ion image onto the finer grid.

    Parameters
    ----------
    network
        Maps ``(tile, channels, row, column)`` in [0, 1] to the same `factor` times finer.
    low
        ``(channel, row, column)``; NaN counts as nothing measured.
    needs
        What the network demands.
    options
        Tiling, batch, scaling.
    device
        ``"cpu"`` or ``"cuda"``; a module is expected to be there already.
    precision
        Arithmetic; below float32 by autocast.

    Returns
    -------
    The fine images ``(channel, row*factor, column*factor)`` in the unit of `low`, never negative, and
    what happened: tiles, batch, halvings, for the record.

    Raises
    ------
    ConfigurationError
        If the network answers with another size than its factor promises.
    torch.OutOfMemoryError
        If a single tile does not fit; a smaller ``tile`` may.
    """
    scaled, offset, gain = to_unit_range(low, options.scaling)
    if options.quantise8:
        scaled = quantise8(scaled)
    rows, columns = low.shape[1:]
    padded = pad_to(scaled, needs)
    plan = plan_tiles(padded.shape[1], padded.shape[2], needs, options)
    runner = _Batches(network, needs, options.batch, device, precision)
    fine = np.zeros((len(low), rows * needs.factor, columns * needs.factor), dtype=np.float32)
    if len(plan) == 1:
        for first, part in runner.run(padded):
            fine[first : first + len(part)] = part[:, : fine.shape[1], : fine.shape[2]]
    else:
        # One ion image is put together at a time: its tiles come one after the other.
        total = np.zeros([side * needs.factor for side in padded.shape[1:]], np.float32)
        for first, part in runner.run(_Cuts(padded, plan)):
            for index, image in enumerate(part, start=first):
                ion, tile = divmod(index, len(plan))
                plan[tile].add(total, image, needs.factor)
                if tile == len(plan) - 1:
                    fine[ion] = total[: fine.shape[1], : fine.shape[2]]
                    total[:] = 0
    if options.quantise8:
        fine = quantise8(fine)
    fine *= gain[:, None, None]
    fine += offset[:, None, None]
    np.maximum(fine, 0.0, out=fine)
    report: dict[str, object] = {
        **asdict(options),
        "tiles_per_image": len(plan),
        "tiling_changes_result": len(plan) > 1 and not needs.local,
        "batch_used": runner.batch,
        "out_of_memory_halvings": runner.halvings,
        "precision": precision,
        "device": device,
    }
    return fine, report


# --- intensity ----------------------------------------------------------------------------------


def to_unit_range(
    low: NDArray[np.float32], scaling: Scaling
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return ions in [0, 1] with the offset and gain per ion that undo the scaling.

    A constant image becomes zeros with gain 0: it comes back as the same constant whatever the
    network says.
    """
    known = np.nan_to_num(low, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32, copy=False)
    flat = known.reshape(len(known), -1)
    bottom = flat.min(axis=1) if scaling == "minmax" else np.zeros(len(flat), np.float32)
    if scaling == "percentile":
        top = np.percentile(flat, _PERCENTILE, axis=1).astype(np.float32)
        top = np.where(top > 0, top, flat.max(axis=1))  # sparse ions: their percentile is zero
    else:
        top = flat.max(axis=1)
    gain = np.maximum(top - bottom, 0.0).astype(np.float32)
    divisor = np.where(gain > 0, gain, 1.0).astype(np.float32)
    scaled = (known - bottom[:, None, None]) / divisor[:, None, None]
    return np.clip(scaled, 0.0, 1.0), bottom.astype(np.float32), gain


def quantise8(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round [0, 1] to the 256 levels of an 8-bit image."""
    levels: NDArray[np.float32] = np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.float32)
    return levels / np.float32(255.0)


# --- tiles --------------------------------------------------------------------------------------


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


class _Cuts:
    """All tiles of all ions, ion after ion, cut out when they are asked for."""

    def __init__(self, ions: NDArray[np.float32], plan: tuple[Tile, ...]) -> None:
        self.ions, self.plan = ions, plan

    def __len__(self) -> int:
        return len(self.ions) * len(self.plan)

    def __getitem__(self, place: slice) -> NDArray[np.float32]:
        chosen = (divmod(index, len(self.plan)) for index in range(*place.indices(len(self))))
        return np.stack(
            [self.ions[ion, self.plan[tile].rows, self.plan[tile].columns] for ion, tile in chosen]
        )


# --- the network --------------------------------------------------------------------------------


class _Batches:
    """Runs grey images through a network in batches, smaller ones when memory runs out."""

    def __init__(
        self,
        network: nn.Module | Callable[[Tensor], Tensor],
        needs: InputNeeds,
        batch: int,
        device: str,
        precision: Arithmetic,
    ) -> None:
        self.network, self.needs = network, needs
        self.batch, self.halvings = batch, 0
        self.device, self.precision = torch.device(device), precision

    def run(self, images: NDArray[np.float32] | _Cuts) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (index of the first image, ``(image, row*factor, column*factor)``)."""
        if self.device.type == "cpu":
            self.batch = min(self.batch, max(1, _CPU_PIXELS // images[:1].size))
        first = 0
        while first < len(images):
            chunk = images[first : first + self.batch]
            try:
                fine = self._forward(chunk)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error) or len(chunk) == 1:
                    raise
                self.batch, self.halvings = max(1, len(chunk) // 2), self.halvings + 1
            else:
                yield first, fine
                first += len(chunk)
                tell_progress(first, len(images), "tiles")
                continue
            if self.device.type == "cuda":  # outside the handler, whose traceback holds the tensors
                torch.cuda.empty_cache()

    def _forward(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode(), arithmetic(self.device.type, self.precision):
            grey = torch.from_numpy(np.ascontiguousarray(chunk)).to(self.device)[:, None]
            fine = self.network(grey.expand(-1, self.needs.channels, -1, -1))
            result: NDArray[np.float32] = fine.float().mean(dim=1).cpu().numpy()
        expected = tuple(side * self.needs.factor for side in chunk.shape[1:])
        if result.shape[1:] != expected:
            raise ConfigurationError(
                f"the network should make {expected} of {chunk.shape[1:]} "
                f"(factor {self.needs.factor}), it made {result.shape[1:]}"
            )
        return result


@contextmanager
def arithmetic(device_type: str, precision: Arithmetic) -> Iterator[None]:
    """Compute in the declared precision; float32 means float32, without TF32 short cuts."""
    with ExitStack() as stack:
        if precision != "float32":
            stack.enter_context(torch.autocast(device_type, dtype=getattr(torch, precision)))
        elif device_type == "cuda":
            flags = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
            stack.enter_context(flags)
        yield


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "out of memory" in text
        or "can't allocate memory" in text
        or "not enough memory" in text
    )


def options_from(config: Mapping[str, Any]) -> TileOptions:
    """Return the tile options among a method's configuration; other keys are left alone."""
    names = TileOptions.__dataclass_fields__
    return TileOptions(**{name: value for name, value in config.items() if name in names})
