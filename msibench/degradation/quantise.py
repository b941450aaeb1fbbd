"""Eight bits, the precision of the image files that super-resolution networks were trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVELS = 255


def quantise8(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Clip to [0, 1] and round to the nearest of 256 levels, halves upwards as image writers do.

    Parameters
    ----------
    values
        Scaled intensities, any shape.

    Returns
    -------
    Multiples of 1/255 in [0, 1].
    """
    clipped = np.clip(np.asarray(values, dtype=np.float64), 0.0, 1.0)
    return np.floor(clipped * LEVELS + 0.5) / LEVELS
