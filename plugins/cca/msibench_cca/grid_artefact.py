"""Step 3: the pattern that a scanning instrument repeats in every tile is removed.

For each m/z the image is cut into square tiles, their mean is tiled over the image and subtracted.
Negative results become 0, so that the factorisation can take them (the paper does not say).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from msibench.errors import ConfigurationError


def remove_grid(
    values: NDArray[np.float32],
    tile: int,
    *,
    keep_level: bool,
    known: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Remove the repeated pattern from ion images.

    Parameters
    ----------
    values
        ``(m/z, row, column)``.
    tile
        Edge of a tile in pixels; tiles start in the first row and column, the last may be cut.
    keep_level
        Subtract the mean tile's pattern only, not its mean.
    known
        Pixels that count, ``(row, column)``.

    Returns
    -------
    ``(m/z, row, column)`` float32, never negative.

    Raises
    ------
    ConfigurationError
        If the image holds fewer than two tiles: then the pattern is the image itself.
    """
    shape = values.shape[1:]
    position = _positions(np.argwhere(np.ones(shape, dtype=bool)), shape, tile)
    counts = np.ones(shape) if known is None else known.astype(np.float64)
    flat = np.where(counts > 0, values, 0).reshape(len(values), -1)
    norm = np.bincount(position, counts.ravel(), minlength=tile * tile)
    mean = np.stack(
        [np.bincount(position, image, minlength=tile * tile) for image in flat]
    ) / np.maximum(norm, 1)
    if keep_level:
        mean -= (mean * norm).sum(1, keepdims=True) / max(float(norm.sum()), 1.0)
    cleaned = values - mean[:, position].reshape(values.shape)
    return np.asarray(np.maximum(cleaned, 0), dtype=np.float32)


class WithoutGrid:
    """Rows of spectra with the repeated pattern taken out, block by block.

    A value that is 0 stays 0 (less than nothing would become 0 anyway, and with `keep_level` only
    measured signal is corrected), so sparse rows stay sparse.

    Parameters
    ----------
    rows
        A source of CSR row blocks, ``(pixel, m/z)``.
    pixels
        ``(row, column)`` of each row.
    shape
        Of the pixel grid.
    tile, keep_level
        As for `remove_grid`.
    """

    def __init__(
        self,
        rows: Any,
        pixels: NDArray[np.int64],
        shape: tuple[int, int],
        tile: int,
        *,
        keep_level: bool,
    ) -> None:
        self.rows = rows
        self.position = _positions(pixels, shape, tile)
        norm = np.bincount(self.position, minlength=tile * tile).astype(np.float64)
        total: Any = None
        start = 0
        for block in rows:
            where = self.position[start : start + block.shape[0]]
            start += block.shape[0]
            into = sparse.csr_array(
                (1 / norm[where], (where, np.arange(len(where)))), shape=(tile * tile, len(where))
            )
            part = into @ block
            total = part if total is None else total + part
        self.mean = sparse.csr_array(total)
        if keep_level:
            # Measured values are compared with the mean of their m/z over all pixels.
            level = np.asarray((self.mean * norm[:, None]).sum(0)).ravel() / norm.sum()
            self.mean = sparse.csr_array(self.mean - sparse.csr_array(self._where_any(level)))

    def __iter__(self) -> Iterator[Any]:
        start = 0
        for block in self.rows:
            where = self.position[start : start + block.shape[0]]
            start += block.shape[0]
            presence = block.copy()
            presence.data = np.ones_like(presence.data)
            cleaned = sparse.csr_array(block - presence.multiply(self.mean[where]))
            cleaned.data = np.maximum(cleaned.data, 0).astype(np.float32)
            cleaned.eliminate_zeros()
            yield cleaned

    def _where_any(self, level: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = np.zeros(self.mean.shape)
        rows[np.unique(self.position)] = level
        return rows


def _positions(pixels: NDArray[np.int64], shape: tuple[int, ...], tile: int) -> NDArray[np.int64]:
    """Return each pixel's place in its tile."""
    tiles = max(shape[0] // tile, 0) * max(shape[1] // tile, 0)
    if tiles < 2:
        raise ConfigurationError(
            f"grid_tile {tile} leaves {tiles} whole tiles on a grid of {shape[0]} x {shape[1]}; the "
            "repeated pattern shows only over two or more"
        )
    return (pixels[:, 0] % tile) * tile + pixels[:, 1] % tile
