"""Normalisation and intensity transforms as explicit, recorded steps.

METASPACE's order is kept: normalise first, then clip hot spots, then sqrt or log. Each function takes
an image, or the result of an earlier step, and returns the image with the record of every step so
far; a normalisation after a clip or a non-linear step is rejected, because the ratio of a clipped
intensity to the total ion count is meaningless.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.errors import ConfigurationError, MissingDataError
from msibench.image import MSImage

Normalisation = Literal["tic", "rms", "median"]
NORMALISATIONS: tuple[Normalisation, ...] = ("tic", "rms", "median")


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step that changed intensities."""

    name: str
    """``"normalise"``, ``"clip"``, ``"sqrt"`` or ``"log"``."""
    parameters: tuple[tuple[str, object], ...] = ()
    """Names and values, ready for JSON."""

    def definition(self) -> dict[str, object]:
        """Return name and parameters, ready for JSON."""
        return {"step": self.name, **dict(self.parameters)}


class Transformed(NamedTuple):
    """An image and the steps that made it, oldest first."""

    image: MSImage
    steps: tuple[StepRecord, ...]


def spectrum_norm(intensities: ArrayLike, kind: Normalisation) -> float:
    """Norm of one whole spectrum, the number that its pixel is divided by.

    Parameters
    ----------
    intensities
        Every intensity of the spectrum, ``(peak,)``. On centroided data the "total ion count" is
        the sum of the peaks only.
    kind
        ``"tic"`` sum, ``"rms"`` root of the mean square, ``"median"`` of the intensities above 0.

    Returns
    -------
    0 for a spectrum without intensity.
    """
    _check_kind(kind)
    values = np.asarray(intensities, dtype=np.float64)
    if kind == "tic":
        return float(values.sum())
    if kind == "rms":
        return float(np.sqrt(np.mean(values**2))) if values.size else 0.0
    positive = values[values > 0]
    return float(np.median(positive)) if positive.size else 0.0


def normalise(
    image: MSImage | Transformed, kind: Normalisation, norm: NDArray[np.floating] | None
) -> Transformed:
    """Divide every pixel by the norm of its whole spectrum.

    Parameters
    ----------
    image
        Ion images as measured; never clipped, log or already normalised ones.
    kind
        What `norm` holds: ``"tic"``, ``"rms"`` or ``"median"``.
    norm
        Norm of each pixel's whole spectrum, ``(row, column)``, e.g. ``reader.tic()``. It cannot be
        computed from a few ion images, so it is never guessed.

    Returns
    -------
    Intensities times ``median(norm) / norm`` (median over tissue pixels with a norm above 0), so that
    they keep the size of the input's; 0 where the norm is 0 or unknown. The unit is
    ``"arbitrary"``.

    Raises
    ------
    MissingDataError
        If `norm` is None: the image is not returned unnormalised.
    ConfigurationError
        If the shape differs, a norm is negative or infinite, or the image was clipped, transformed,
        scaled or normalised before.
    """
    _check_kind(kind)
    stack, steps = _unpack(image)
    if norm is None:
        raise MissingDataError(
            f"{kind} normalisation needs the {kind} of every whole spectrum, (row, column); none "
            "was given. Read it from the section's file (reader.tic()), or leave out the step"
        )
    if steps or stack.unit == "scaled":
        done = ", ".join(step.name for step in steps) or "scaling to [0, 1]"
        raise ConfigurationError(
            f"normalise first: {kind} normalisation was asked for after {done}; the order is "
            "normalise, clip, then sqrt or log"
        )
    weights = np.asarray(norm, dtype=np.float64)
    if weights.shape != stack.shape:
        raise ConfigurationError(
            f"the {kind} image must be (row, column) = {stack.shape}, got {weights.shape}"
        )
    if np.any(weights < 0) or np.any(np.isinf(weights)):
        raise ConfigurationError(f"the {kind} image holds negative or infinite values")
    known = weights > 0  # False for NaN, too: a pixel without a spectrum
    tissue = known if stack.mask is None else known & stack.mask
    if not tissue.any():
        raise ConfigurationError(f"the {kind} image is zero in every tissue pixel")
    level = float(np.median(weights[tissue]))
    gain = np.divide(level, weights, out=np.zeros_like(weights), where=known)
    values = np.where(known, stack.values * gain, 0.0).astype(np.float32)
    record = StepRecord("normalise", (("kind", kind), ("level", level)))
    return Transformed(replace(stack, values=values, unit="arbitrary"), (record,))


def clip_hotspots(image: MSImage | Transformed, quantile: float = 0.99) -> Transformed:
    """Clip each ion image at a quantile of its pixels with signal, as METASPACE does for viewing.

    The quantile is taken over pixels above 1/256 of the ion image's maximum, so that zeros do not
    count. It is for viewing; no protocol scores on it.

    Parameters
    ----------
    image
        Ion images, normalised or not, before sqrt and log.
    quantile
        Share of those pixels that keeps its intensity, in (0, 1].

    Raises
    ------
    ConfigurationError
        If the quantile is outside (0, 1], or sqrt or log came before.
    """
    if not 0 < quantile <= 1:
        raise ConfigurationError(f"quantile must lie in (0, 1], got {quantile}")
    stack, steps = _unpack(image)
    _refuse_after(steps, "clip", ("clip", "sqrt", "log"))
    values = stack.values.copy()
    limits = []
    for channel in values:
        finite = channel[np.isfinite(channel)]
        peak = float(finite.max()) if finite.size else 0.0
        signal = finite[finite > peak / 256]
        limit = float(np.quantile(signal.astype(np.float64), quantile)) if peak > 0 else 0.0
        limits.append(limit)
        if peak > 0:
            np.minimum(channel, np.float32(limit), out=channel)
    record = StepRecord("clip", (("quantile", quantile), ("limits", tuple(limits))))
    return Transformed(replace(stack, values=values), (*steps, record))


def square_root(image: MSImage | Transformed) -> Transformed:
    """Square root, which makes the variance of counted ions even.

    Raises
    ------
    ConfigurationError
        If an intensity is negative, or sqrt or log came before.
    """
    stack, steps = _unpack(image)
    _refuse_after(steps, "sqrt", ("sqrt", "log"))
    _refuse_negative(stack, "sqrt")
    return _with(stack, np.sqrt(stack.values), (*steps, StepRecord("sqrt")))


def logarithm(image: MSImage | Transformed, offset: float = 1.0) -> Transformed:
    """``log(1 + intensity / offset)``: zero stays zero.

    Parameters
    ----------
    image
        Ion images, never negative.
    offset
        Intensity below which the scale is about linear.

    Raises
    ------
    ConfigurationError
        If `offset` is not positive, an intensity is negative, or sqrt or log came before.
    """
    if not 0 < offset < np.inf:
        raise ConfigurationError(f"offset must be a positive intensity, got {offset}")
    stack, steps = _unpack(image)
    _refuse_after(steps, "log", ("sqrt", "log"))
    _refuse_negative(stack, "log")
    record = StepRecord("log", (("offset", offset),))
    return _with(stack, np.log1p(stack.values / offset), (*steps, record))


def _unpack(image: MSImage | Transformed) -> tuple[MSImage, tuple[StepRecord, ...]]:
    return (image.image, image.steps) if isinstance(image, Transformed) else (image, ())


def _with(
    stack: MSImage, values: NDArray[np.floating], steps: tuple[StepRecord, ...]
) -> Transformed:
    changed = replace(stack, values=values.astype(np.float32), unit="arbitrary")
    return Transformed(changed, steps)


def _check_kind(kind: str) -> None:
    if kind not in NORMALISATIONS:
        raise ConfigurationError(
            f"no normalisation named {kind!r}; expected one of {', '.join(NORMALISATIONS)}"
        )


def _refuse_after(steps: Iterable[StepRecord], wanted: str, forbidden: tuple[str, ...]) -> None:
    for step in steps:
        if step.name in forbidden:
            raise ConfigurationError(
                f"{wanted} cannot follow {step.name}; the order is normalise, clip, then one of "
                "sqrt and log"
            )


def _refuse_negative(stack: MSImage, wanted: str) -> None:
    if np.any(stack.values < 0):
        raise ConfigurationError(
            f"{wanted} needs intensities that are never negative; the least is "
            f"{float(np.nanmin(stack.values)):g}. Is this a prediction? Clip it at zero first"
        )
