"""Select the channels of a stack for the requested m/z."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from msibench.errors import ConfigurationError
from msibench.image import MSImage
from msibench.io.mz_windows import mz_windows


def choose_channels(image: MSImage, mz: ArrayLike | None, ppm: float, source: str) -> MSImage:
    """Return one channel per requested m/z, in that order: the nearest within `ppm`.

    A stack that has no m/z gets the ones given, when there is one per channel.

    Raises
    ------
    ConfigurationError
        No channel lies within `ppm` of an m/z, or the numbers do not match.
    """
    if mz is None:
        return image
    wanted = mz_windows(mz, ppm).mz
    if np.isnan(image.mz).all():
        if wanted.size != image.channels:
            raise ConfigurationError(
                f"{source} does not say which m/z its {image.channels} channels have; give one m/z "
                f"per channel, in their order (got {wanted.size}), or none."
            )
        return replace(image, mz=wanted)
    known = np.flatnonzero(np.isfinite(image.mz))
    nearest = known[np.argmin(np.abs(image.mz[known][None] - wanted[:, None]), axis=1)]
    far = np.abs(image.mz[nearest] - wanted) > ppm * 1e-6 * wanted
    if far.any():
        at = int(np.argmax(far))
        raise ConfigurationError(
            f"{source} has no channel within {ppm:g} ppm of m/z {wanted[at]:.4f}; the nearest is "
            f"m/z {image.mz[nearest[at]]:.4f}. It has {image.channels} channels from m/z "
            f"{image.mz[known].min():.4f} to {image.mz[known].max():.4f}; widen --ppm or choose "
            "among them."
        )
    chosen = [int(index) for index in nearest]
    return image if chosen == list(range(image.channels)) else image.select(chosen)
