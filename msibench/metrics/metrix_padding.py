"""How MeTriX MuX brings an image to a size that its wavelet metrics accept."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

MULTIPLE = 32
SMALLEST = 128


def pad_like_metrix(images: Any) -> Any:
    """Extend to multiples of 32 of at least 128 pixels, as ``preprocess_metrix_mux`` does.

    Edges are mirrored without repeating the edge pixel; where the image is too small for that, its far
    edge is repeated; the corners are filled with one pixel each, the second from the corner. An odd
    remainder goes to the top and to the left.

    Parameters
    ----------
    images
        ``(..., row, column)``, numpy or torch.

    Returns
    -------
    The same images, or larger ones with these in the middle.
    """
    rows, columns = (int(side) for side in images.shape[-2:])
    above, vertical = _indices(rows)
    left, horizontal = _indices(columns)
    if len(vertical) == rows and len(horizontal) == columns:
        return images
    padded = images[..., vertical, :][..., horizontal]
    second_row, second_column = min(rows, 2) - 1, min(columns, 2) - 1
    for corner_rows, row in (
        (slice(0, above), second_row),
        (slice(above + rows, None), rows - 1 - second_row),
    ):
        for corner_columns, column in (
            (slice(0, left), second_column),
            (slice(left + columns, None), columns - 1 - second_column),
        ):
            padded[..., corner_rows, corner_columns] = images[..., row, column][..., None, None]
    return padded


@lru_cache(maxsize=64)
def _indices(side: int) -> tuple[int, NDArray[np.int64]]:
    """Return the padding before the image, and which pixel of it each padded one copies."""
    padded = max(SMALLEST, MULTIPLE * -(-side // MULTIPLE))
    before = (padded - side + 1) // 2
    after = padded - side - before
    first = np.minimum(side - 1, np.arange(before, 0, -1))
    last = side - 1 - np.minimum(side - 1, np.arange(1, after + 1))
    return before, np.concatenate([first, np.arange(side), last])
