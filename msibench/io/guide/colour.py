"""From the samples of an image file to a guide: channels in [0, 1], and where they are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench.image import GuideImage
from msibench.io.samples import PixelSamples, additive


def guide_from_pixels(
    pixels: NDArray[np.generic],
    samples: PixelSamples,
    pixel_size_um: float,
    *,
    source: str,
    names: tuple[str, ...] = (),
) -> GuideImage:
    """Make a guide of ``(row, column, sample)``.

    Transparent pixels become white, and leave the mask where they are less than half opaque. Pixels
    that are NaN become 0 and leave the mask.

    Parameters
    ----------
    pixels, samples
        PixelSamples as stored, and what they mean.
    pixel_size_um
        Of the guide.
    source
        Named in messages.
    names
        Channel names that the file gives; taken when there is one per channel.

    Raises
    ------
    DataError
        If the samples are of a type or number that is not an image.
    """
    light, opacity = additive(pixels, samples, source)
    mask: NDArray[np.bool_] | None = None
    unknown = np.logical_or.reduce(np.isnan(light), axis=-1)
    if unknown.any():
        mask = np.logical_not(unknown)
        light = np.where(unknown[..., None], np.float32(0), light)
    if opacity is not None:
        light = light * opacity[..., None] + (1 - opacity[..., None])
        opaque = opacity >= 0.5
        if not opaque.all():
            mask = opaque if mask is None else mask & opaque
    values = np.ascontiguousarray(np.moveaxis(light, -1, 0), dtype=np.float32)
    np.clip(values, 0.0, 1.0, out=values)
    return GuideImage(
        values,
        pixel_size_um=pixel_size_um,
        channel_names=_names(values.shape[0], names),
        mask=mask,
    )


def _names(channels: int, names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) == channels:
        return names
    if channels == 1:
        return ("grey",)
    if channels == 3:
        return ("red", "green", "blue")
    return tuple(f"channel {index}" for index in range(channels))
