"""Intensities are float32: values beyond its range are rejected, not changed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench.errors import DataError

LARGEST = float(np.finfo(np.float32).max)


def refuse_infinite(values: NDArray[np.generic], source: str) -> None:
    """Raise if an intensity is infinite or beyond the largest float32 number; NaN is not measured.

    Raises
    ------
    DataError
        Naming how many there are.
    """
    if values.dtype.kind != "f" or values.size == 0:
        return
    # fmax and fmin pass over NaN
    if (
        max(float(np.fmax.reduce(values, axis=None)), -float(np.fmin.reduce(values, axis=None)))
        <= LARGEST
    ):
        return
    count = int(np.count_nonzero(np.abs(values.astype(np.float64)) > LARGEST))
    if count:
        raise DataError(
            f"{source}: {count} intensities are infinite or larger than {LARGEST:.3g}, the largest "
            "float32 number; divide by a constant, or write NaN where nothing was measured."
        )
