"""From the samples of an image file to channels in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msibench.errors import DataError
from msibench.image import GuideImage
from msibench.io.data_warning import warn_about_data


@dataclass(frozen=True, slots=True)
class ColourFacts:
    """What the samples of a pixel mean."""

    model: Literal["additive", "cmyk", "white-is-zero"] = "additive"
    """``"additive"``: grey, RGB or fluorescence channels."""
    alpha: bool = False
    """Whether the last sample is opacity."""
    premultiplied: bool = False
    """Whether the colours were already multiplied by the opacity."""
    full_scale: float | None = None
    """Sample value that means 1; None: the largest of the integer type, 1 for floats."""
    names: tuple[str, ...] = ()
    """Channel names that the file gives."""


def guide_from_pixels(
    pixels: NDArray[np.generic], facts: ColourFacts, pixel_size_um: float, *, source: str
) -> GuideImage:
    """Make a guide of ``(row, column, sample)``.

    Transparent pixels become white, and leave the mask where they are less than half opaque. Pixels
    that are NaN become 0 and leave the mask.

    Raises
    ------
    DataError
        If the samples are of a type or number that is no image.
    """
    samples = _unit_range(pixels, facts.full_scale, source)
    mask: NDArray[np.bool_] | None = None
    unknown = np.logical_or.reduce(np.isnan(samples), axis=-1)
    if unknown.any():
        mask = np.logical_not(unknown)
        samples = np.where(unknown[..., None], np.float32(0), samples)
    if facts.alpha:
        alpha = samples[..., -1:]
        colours = samples[..., :-1]
        samples = (colours if facts.premultiplied else colours * alpha) + (1 - alpha)
        opaque = np.asarray(alpha[..., 0] >= 0.5)
        if not opaque.all():
            mask = opaque if mask is None else mask & opaque
    if facts.model == "cmyk":
        if samples.shape[-1] < 4:
            raise DataError(f"{source}: expected 4 inks of CMYK, got {samples.shape[-1]} samples")
        samples = (1 - samples[..., :3]) * (1 - samples[..., 3:4])
    elif facts.model == "white-is-zero":
        samples = 1 - samples
    values = np.ascontiguousarray(np.moveaxis(samples, -1, 0), dtype=np.float32)
    np.clip(values, 0.0, 1.0, out=values)
    return GuideImage(
        values,
        pixel_size_um=pixel_size_um,
        channel_names=_names(values.shape[0], facts),
        mask=mask,
    )


def _unit_range(
    pixels: NDArray[np.generic], full_scale: float | None, source: str
) -> NDArray[np.float32]:
    if pixels.dtype == np.bool_:
        return pixels.astype(np.float32)
    if np.issubdtype(pixels.dtype, np.integer):
        top = float(np.iinfo(pixels.dtype).max) if full_scale is None else full_scale  # type: ignore[type-var]
        return (pixels.astype(np.float64) / top).astype(np.float32)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise DataError(f"{source}: samples of type {pixels.dtype} are no image")
    values = pixels.astype(np.float32)
    finite = values[np.isfinite(values)]
    if finite.size and (finite.min() < 0 or finite.max() > 1):
        top = float(finite.max())
        warn_about_data(
            f"{source}: floating-point samples from {float(finite.min()):g} to {top:g}; expected "
            "[0, 1]. Negative values are set to 0 and the rest is divided by the largest"
        )
        values = (np.maximum(values, 0) / (top if top > 0 else 1.0)).astype(np.float32)
    return np.where(np.isinf(values), np.float32(np.nan), values)


def _names(channels: int, facts: ColourFacts) -> tuple[str, ...]:
    if len(facts.names) == channels:
        return facts.names
    if channels == 1:
        return ("grey",)
    if channels == 3:
        return ("red", "green", "blue")
    return tuple(f"channel {index}" for index in range(channels))
