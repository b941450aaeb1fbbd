"""Ion images through a super-resolution network: scaling, channels, tiles, batches, and back.

What the published pipelines do (an 8-bit grey image, three equal channels), adapted to
measurements: floating point, every ion on its own scale, units restored, and many ions in one batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from msibench.training.freed_memory import keep_freed_memory
from msibench.training.tile_batches import Arithmetic, TileBatches, TileCuts
from msibench.training.tile_plan import InputNeeds, Scaling, TileOptions, pad_to, plan_tiles

_PERCENTILE = 99.9


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
        ``(channel, row, column)``; NaN: not measured.
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
    keep_freed_memory()
    scaled, offset, gain = to_unit_range(low, options.scaling)
    if options.quantise8:
        scaled = quantise8(scaled)
    rows, columns = low.shape[1:]
    padded = pad_to(scaled, needs)
    plan = plan_tiles(padded.shape[1], padded.shape[2], needs, options)
    runner = TileBatches(network, needs, options.batch, device, precision)
    fine = np.zeros((len(low), rows * needs.factor, columns * needs.factor), dtype=np.float32)
    if len(plan) == 1:
        for first, part in runner.run(padded):
            fine[first : first + len(part)] = part[:, : fine.shape[1], : fine.shape[2]]
    else:
        # One ion image is put together at a time: its tiles come one after the other.
        total = np.zeros([side * needs.factor for side in padded.shape[1:]], np.float32)
        for first, part in runner.run(TileCuts(padded, plan)):
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
    network returns.
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


# --- the network --------------------------------------------------------------------------------
