"""What a linear map may see of the guide at one fine pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from msibench.errors import ConfigurationError

Floats = NDArray[np.float32]


def _smooth(image: Floats, sigma: float) -> Floats:
    return np.asarray(ndimage.gaussian_filter(image, sigma, mode="nearest"), dtype=np.float32)


def _deviation(image: Floats, factor: int) -> Floats:
    mean = _smooth(image, factor / 2)
    return np.sqrt(np.maximum(_smooth(image * image, factor / 2) - mean * mean, 0))


FEATURES: Mapping[str, Callable[[Floats, int], Floats]] = {
    "colour": lambda image, factor: image,
    "smooth-half": lambda image, factor: _smooth(image, factor / 2),
    "smooth-one": lambda image, factor: _smooth(image, float(factor)),
    "gradient": lambda image, factor: np.asarray(
        ndimage.gaussian_gradient_magnitude(image, 1.0, mode="nearest"), dtype=np.float32
    ),
    "deviation": _deviation,
}
"""Name to function of one guide channel ``(row, column)`` and the factor."""


def guide_features(guide: Floats, factor: int, names: Sequence[str]) -> Floats:
    """Return the features of every guide channel.

    Parameters
    ----------
    guide
        ``(channel, row, column)`` in [0, 1].
    factor
        Fine pixels along an edge of a coarse one.
    names
        Keys of `FEATURES`.

    Returns
    -------
    ``(name * channel, row, column)`` float32.

    Raises
    ------
    ConfigurationError
        For a name that is not a feature, or none at all.
    """
    unknown = [name for name in names if name not in FEATURES]
    if unknown or not names:
        raise ConfigurationError(
            f"features must be some of {', '.join(FEATURES)}, got {list(names)}"
        )
    return np.stack([FEATURES[name](channel, factor) for name in names for channel in guide])
