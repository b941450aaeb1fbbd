"""How much detail an image has in its finest octaves, and how it falls from one to the next."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench.degradation import area_mean
from msibench.image import MSImage

Floats = NDArray[np.float64]

FALL = (0.5, 1.0)
"""Range of the signal's detail in an octave over that in the one above: smooth structure, and that of
natural images [1]_.

References
----------
.. [1] Field, J. Opt. Soc. Am. A 4 (1987) 2379-2394.
"""


def finest_octaves(section: MSImage) -> Floats:
    """Return the energy per pixel in two octaves, ``(2, channel)``.

    Of each ion image less the means of its blocks of 2 x 2, and of those less theirs.
    """
    found = np.zeros((2, section.channels))
    for channel, one in enumerate(section.values):
        image = np.nan_to_num(np.asarray(one, dtype=np.float64))
        for octave in found:
            rows, columns = (side // 2 * 2 for side in image.shape)
            mean = area_mean(image[:rows, :columns], 2)
            octave[channel] = mean_square(image[:rows, :columns] - repeated(mean, 2))
            image = mean
    return found


def signal_in(octaves: Floats, noise: Floats) -> Floats:
    """Return the energy of the signal in the two finest octaves, ``(2, channel)``, without that of white noise.

    Three quarters of white noise are unseen in blocks of 2 x 2, and of those a quarter is left in their means.
    """
    return np.stack(
        [np.maximum(octaves[0] - 0.75 * noise, 0.0), np.maximum(octaves[1] - 0.75 * noise / 4, 0.0)]
    )


def fall_of(signal: Floats) -> Floats:
    """Return how much smaller the signal's detail is in an octave than in the one above, ``(channel,)``, in `FALL`.

    The mean of an ion's own and of the median of all ions, since an ion alone tells little.
    """
    first, second = signal
    fall = np.clip(over(first, second), *FALL)
    common = float(np.nanmedian(fall)) if np.isfinite(fall).any() else 1.0
    return np.where(np.isfinite(fall), (fall + common) / 2, common)


def repeated(coarse: NDArray[np.floating], factor: int) -> Floats:
    """Return every pixel repeated ``factor x factor`` times."""
    return np.asarray(coarse, dtype=np.float64).repeat(factor, -2).repeat(factor, -1)


def mean_square(image: Floats) -> float:
    """Return the energy per pixel."""
    return float(np.vdot(image, image)) / image.size


def over(energies: Floats, whole: Floats) -> Floats:
    """Return a share; NaN where there is nothing to share."""
    return np.divide(energies, whole, out=np.full_like(energies, np.nan), where=whole > 0)
