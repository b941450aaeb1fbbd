"""The arrays that methods, data sets, metrics and readers exchange.

Axis order is ``(channel, row, column)`` everywhere; m/z in Da, pixel sizes in micrometres.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, eq=False)
class MSImage:
    """Ion images of one tissue section on a regular pixel grid."""

    values: NDArray[np.float32]
    """Intensities, ``(channel, row, column)``, in `unit`; never negative when measured. Where the
    harness handles a section too large for memory, a stack that stays in its file and gives arrays
    when it is indexed (`msibench.io.stored_stack`); methods always get arrays."""
    mz: NDArray[np.float64]
    """Centre of each channel on the m/z axis in Da, ``(channel,)``, in the order that was asked for;
    NaN for a channel that is not an ion image (an embedding) or whose m/z is not on record."""
    pixel_size_um: float = float("nan")
    """Edge length of one square pixel in micrometres; NaN when the file does not say."""
    mask: NDArray[np.bool_] | None = None
    """Tissue, ``(row, column)``; None when unknown: every pixel counts."""
    ppm: float | None = None
    """Half-width of the m/z window, parts per million; None when it is not on record."""
    unit: str = "arbitrary"
    """Unit of the intensities: ``"counts"``, ``"arbitrary"``, ``"scaled"`` (0..1 of a stated range)."""
    isolation: str = ""
    """How the method that made the images was kept from everything but its input, where a method made
    them in this process (``"not isolated"``); empty for what was measured or read."""

    def __post_init__(self) -> None:
        stored = getattr(self.values, "stays_in_file", False)
        values = self.values if stored else unmasked(self.values)
        if not stored:
            object.__setattr__(self, "values", values)
        if values.ndim != 3:
            raise ValueError(
                "values must be (channel, row, column): expected 3 axes, "
                f"got shape {values.shape}; add the channel axis with values[None]"
            )
        if values.dtype != np.float32:
            object.__setattr__(self, "values", np.asarray(values, dtype=np.float32))
        mz = np.atleast_1d(np.asarray(self.mz, dtype=np.float64))
        object.__setattr__(self, "mz", mz)
        if mz.shape != (values.shape[0],):
            raise ValueError(
                f"mz must hold one value per channel: expected shape ({values.shape[0]},), "
                f"got {mz.shape}"
            )
        if self.mask is not None:
            mask = np.asarray(self.mask)
            if mask.dtype != np.bool_ or mask.shape != values.shape[1:]:
                raise ValueError(
                    f"mask must be bool (row, column) = {values.shape[1:]}, "
                    f"got {mask.dtype} {mask.shape}"
                )

    @property
    def shape(self) -> tuple[int, int]:
        """``(row, column)``."""
        return self.values.shape[1], self.values.shape[2]

    @property
    def channels(self) -> int:
        """How many ion images the stack holds."""
        return int(self.values.shape[0])

    def channel_names(self) -> tuple[str, ...]:
        """Return one name per channel: ``"m/z 798.5410"``, or ``"channel 3"`` where m/z is NaN."""
        return tuple(
            f"channel {index}" if np.isnan(mz) else f"m/z {mz:.4f}"
            for index, mz in enumerate(self.mz)
        )

    def present(self) -> list[int]:
        """Return the channels in which anything is measured: an intensity above 0 somewhere."""
        return [channel for channel, image in enumerate(self.values) if (image > 0).any()]

    def select(self, channels: Sequence[int] | slice) -> MSImage:
        """Return the stack with these channels only, in this order."""
        return replace(self, values=self.values[channels], mz=self.mz[channels])

    def crop(self, rows: slice, columns: slice) -> MSImage:
        """Return the rectangle ``rows x columns`` of every ion image, mask included."""
        mask = None if self.mask is None else self.mask[rows, columns]
        return replace(self, values=self.values[:, rows, columns], mask=mask)

    def __repr__(self) -> str:
        size = "unknown size" if np.isnan(self.pixel_size_um) else f"{self.pixel_size_um:g} µm"
        rows, columns = self.shape
        isolation = f", {self.isolation}" * bool(self.isolation)
        return (
            f"<MSImage: {self.channels} ion image{'s' * (self.channels != 1)} of {rows} x {columns} "
            f"pixels of {size}, unit {self.unit}{isolation}>"
        )

    def plot(self, **options: Any) -> Figure:
        """Draw the ion images with scale bars; see `msibench.library.show.plot`."""
        from msibench.library.show import plot

        return plot(self, **options)

    def _repr_html_(self) -> str:
        from msibench.library.show import image_html

        return image_html(self)


@dataclass(frozen=True, slots=True, eq=False)
class GuideImage:
    """An image on the fine grid of a section that a fusion method may look at."""

    values: NDArray[np.float32]
    """``(channel, row, column)`` in [0, 1]; RGB for a stained optical image."""
    pixel_size_um: float = float("nan")
    """Edge length of one pixel in micrometres: that of the fine grid."""
    channel_names: tuple[str, ...] = ()
    """One name per channel, e.g. ``("red", "green", "blue")``."""
    mask: NDArray[np.bool_] | None = None
    """Where the guide is known, ``(row, column)``; None: everywhere."""
    kind: str = "optical"
    """``"optical"`` or ``"msi"``."""

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float32)
        if values.ndim != 3:
            raise ValueError(
                f"a guide must be (channel, row, column): expected 3 axes, got {values.shape}"
            )
        object.__setattr__(self, "values", values)

    @property
    def shape(self) -> tuple[int, int]:
        """``(row, column)``."""
        return self.values.shape[1], self.values.shape[2]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Problem:
    """What a method sees of one section; never the truth."""

    low: MSImage
    """The ion images to bring onto the finer grid."""
    factor: int
    """Fine pixels along each edge of a coarse one."""
    guide: GuideImage | None = None
    """Co-registered optical image on the fine grid (task ``guided``)."""
    second: MSImage | None = None
    """Second MSI modality on the fine grid (task ``cross-modality``)."""
    middle: MSImage | None = None
    """A modality between `low` and `second`, on its own grid, for methods that go in two stages."""
    device: str = "cpu"
    """``"cpu"`` or ``"cuda"``; the runner has already chosen the GPU."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic that a network may use."""
    seed: int = 0
    """Every random number of a method comes from this seed."""
    protocol: str = ""
    """Name of the protocol that made `low`, e.g. ``"area-x4@1"``; empty for a user's own section."""
    scratch: Path | None = None
    """A folder of the method's own for the time of the run; None: use memory."""

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise ValueError(f"factor must be a whole number of at least 1, got {self.factor}")
        for name in ("guide", "second"):
            image: GuideImage | MSImage | None = getattr(self, name)
            if image is not None and image.shape != self.fine_shape:
                raise ValueError(
                    f"{name} must lie on the fine grid {self.fine_shape} (low {self.low.shape} x "
                    f"factor {self.factor}), got {image.shape}; resample it first"
                )

    @property
    def fine_shape(self) -> tuple[int, int]:
        """``(row, column)`` of the prediction."""
        rows, columns = self.low.shape
        return rows * self.factor, columns * self.factor

    def _repr_html_(self) -> str:
        from msibench.library.show import problem_html

        return problem_html(self)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pair:
    """One training section: the coarse ion images, the fine ones, and the guide if there is one."""

    low: MSImage
    high: MSImage
    factor: int
    guide: GuideImage | None = None
    section: str = ""
    """Name of the section, so that a split by section can be kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """The result of a method with an uncertainty of its own: an image and a range of plausible values."""

    prediction: NDArray[np.float32]
    """``(channel, row, column)``: what its `upscale` gives for the same problem."""
    lower: NDArray[np.float32]
    upper: NDArray[np.float32]

    @classmethod
    def from_deviation(
        cls, prediction: NDArray[np.float32], deviation: NDArray[np.floating], *, level: float
    ) -> Interval:
        """Make the interval of a normal distribution with this standard deviation; not below 0."""
        from statistics import NormalDist

        reach = NormalDist().inv_cdf((1 + level) / 2) * np.asarray(deviation, dtype=np.float32)
        lower = np.where(prediction < 0, prediction - reach, np.maximum(prediction - reach, 0))
        return cls(prediction, lower.astype(np.float32), (prediction + reach).astype(np.float32))


@dataclass(frozen=True, slots=True)
class Skip:
    """Not applicable, with the reason: a value that a method may return instead of an image."""

    reason: str


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a method that learns may take."""

    name: str = "quick"
    """``"paper"`` (as published) or ``"quick"`` (stated, small)."""
    iterations: int | None = None
    """Upper limit on optimiser steps; None: the method's own."""
    seconds: float | None = field(default=None)
    """Upper limit on wall time; None: no limit. A limit in seconds makes results depend on the host."""


def as_stack(values: ArrayLike, mz: ArrayLike | None = None, **fields: object) -> MSImage:
    """Make an MSImage from one image or a stack, with NaN where no m/z is given.

    Parameters
    ----------
    values
        ``(row, column)`` or ``(channel, row, column)``.
    mz
        One m/z per channel.
    fields
        Further fields of MSImage.
    """
    stack = np.asarray(unmasked(values), dtype=np.float32)
    stack = stack[None] if stack.ndim == 2 else stack
    axis = np.full(stack.shape[0], np.nan) if mz is None else np.asarray(mz, dtype=np.float64)
    return MSImage(stack, axis, **fields)  # type: ignore[arg-type]


def unmasked(values: ArrayLike) -> NDArray[Any]:
    """Return an array; what a masked array of numpy hides is not measured: NaN."""
    # without the module, which takes its time to load, nothing is masked
    if "numpy.ma" in sys.modules and np.ma.is_masked(values):
        return np.asarray(np.ma.filled(np.ma.asarray(values).astype(np.float64), np.nan))
    return np.asarray(values)
