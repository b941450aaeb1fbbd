"""Test and reference images side by side, as every full-reference metric takes them.

One code serves numpy and torch: `ImagePair.xp` is whichever library does the work. Tensors stay on
their device (those in a processor's memory are lent to numpy, without a copy, and values come back as
tensors), and ``import msibench.metrics`` needs neither torch nor scipy.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from torch import Tensor

ImagesT = TypeVar("ImagesT", NDArray[Any], "Tensor")
"""Images ``(..., row, column)``: a numpy array or a torch tensor, and values of the same kind out."""

Images: TypeAlias = "NDArray[Any] | Tensor"
"""The same, where no values of their kind are returned."""

Mask: TypeAlias = "ArrayLike | Tensor"
"""Pixels to evaluate, bool ``(row, column)``."""

Precision = Literal["float64", "float32"]
"""Arithmetic of a metric; values are float64 either way."""

HOST_TENSORS_AS_ARRAYS = True
"""Let numpy work on tensors in a processor's memory, which it does faster; torch has the others."""

BYTES_A_PIXEL = 512
"""Device memory that one pixel of a batch may take, temporaries of the largest metric included."""

NOT_FINITE = "a pixel is NaN or infinite"
NO_PIXEL = "no pixel to evaluate: the image or the mask is empty"


@dataclass(frozen=True, slots=True, eq=False)
class ImagePair:
    """Images to compare, ``(image, row, column)``, with the bad ones neutralised and remembered."""

    test: Any
    """Floating point; all zero where the image is unusable."""
    reference: Any
    """Likewise."""
    mask: Any | None
    """Pixels to evaluate, bool ``(row, column)``; None for all of them."""
    usable: Any
    """bool ``(image,)``: finite wherever it is evaluated, and with a pixel to evaluate."""
    batch: tuple[int, ...]
    """Shape of the values to return."""
    xp: ModuleType
    """numpy or torch."""
    as_tensor: bool = False
    """Whether to give back a tensor though numpy did the work."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(row, column)``."""
        return int(self.test.shape[-2]), int(self.test.shape[-1])

    def evaluated(self, pixels: Any) -> Any:
        """Return the evaluated pixels of ``(image, row, column)``, one line per image."""
        if self.mask is not None:
            return pixels[:, self.mask]
        rows, columns = self.shape
        return pixels.reshape(len(pixels), rows * columns)

    def mean(self, pixels: Any) -> Any:
        """Return the mean over the evaluated pixels of ``(image, row, column)``, one per image."""
        chosen = self.evaluated(pixels)
        return chosen.mean(-1) if chosen.shape[-1] else self.to_float64(self.usable) * float("nan")

    def constant(self, images: Any) -> Any:
        """Return which images have one value only in the evaluated pixels, bool ``(image,)``."""
        pixels = self.evaluated(images)
        return (pixels == pixels[:, :1]).all(-1) if pixels.shape[-1] else self.usable

    def identical(self) -> Any:
        """Return which pairs agree in every evaluated pixel, bool ``(image,)``."""
        return self.evaluated(self.test == self.reference).all(-1)

    def cropped(self) -> ImagePair:
        """Cut to the mask's bounding box with zeros outside the mask, in both images alike.

        For metrics that transform the whole image and cannot leave single pixels out.
        """
        if self.mask is None or not bool(self.mask.any()):
            return self
        rows, columns = self.mask.any(1), self.mask.any(0)
        box = (slice(None), _extent(rows), _extent(columns))
        inside = self.mask[box[1:]]
        zero = self.xp.zeros_like(self.test[:1, :1, :1])
        return replace(
            self,
            test=self.xp.where(inside, self.test[box], zero),
            reference=self.xp.where(inside, self.reference[box], zero),
            mask=None,
        )

    def on_host(self) -> bool:
        """Whether the images are in a processor's memory rather than an accelerator's."""
        return self.xp is np or self.test.device.type == "cpu"

    def chunks(self, pixels: int) -> Iterator[ImagePair]:
        """Yield the pairs in groups of about `pixels` pixels, so that temporaries stay small.

        A processor works best image by image, inside its cache; an accelerator wants many at once,
        as far as its free memory goes.
        """
        rows, columns = self.shape
        step = 1 if self.on_host() else max(1, self._room(pixels) // max(1, rows * columns))
        for start in range(0, len(self.test), step):
            part = slice(start, start + step)
            yield replace(
                self,
                test=self.test[part],
                reference=self.reference[part],
                usable=self.usable[part],
            )

    def _room(self, pixels: int) -> int:
        """Return how many of `pixels` pixels the device has memory for, temporaries included."""
        if self.test.device.type != "cuda":
            return pixels
        free, _ = sys.modules["torch"].cuda.mem_get_info(self.test.device)
        return min(pixels, max(1 << 20, int(free) // BYTES_A_PIXEL))

    def values(self, values: Any) -> Any:
        """Shape one value per image as the caller's batch; NaN where it is not finite."""
        values = self.to_float64(values)
        values = self.xp.where(
            self.usable & self.xp.isfinite(values), values, self.xp.full_like(values, float("nan"))
        )
        shaped = values.reshape(self.batch)
        return sys.modules["torch"].as_tensor(shaped) if self.as_tensor else shaped

    def undefined(self) -> Any:
        """Return NaN for every image, in the caller's batch shape."""
        return self.values(self.to_float64(self.usable) * float("nan"))

    def to_float64(self, values: Any) -> Any:
        """Return `values` in double precision."""
        return values.astype(np.float64) if self.xp is np else values.double()

    def reasons(self, *findings: tuple[Any, str]) -> list[str]:
        """Return one sentence per image, empty where its value stands.

        Parameters
        ----------
        findings
            ``(bool (image,), sentence)``; the first that holds is the one to report.
        """
        reasons = [""] * len(self.test)
        empty = self.mask is not None and not bool(self.mask.any())
        nothing = NO_PIXEL if empty or 0 in self.shape else NOT_FINITE
        for found, sentence in ((~self.usable, nothing), *findings):
            for index, holds in enumerate(found.tolist()):
                if holds and not reasons[index]:
                    reasons[index] = sentence
        return reasons


def pair_images(
    test: Any, reference: Any, *, mask: Any = None, dtype: Precision = "float64"
) -> ImagePair:
    """Bring two stacks of images into the form that metrics compute on.

    Parameters
    ----------
    test, reference
        ``(..., row, column)``, real numbers of any type, both numpy or both torch.
    mask
        Pixels to evaluate, bool ``(row, column)``. NaN outside of it is not a fault: such pixels count
        as 0 in both images. What numpy's masked arrays hide is left out as well.
    dtype
        Precision to compute in.

    Raises
    ------
    TypeError
        If one is a tensor and the other is not, or pixels are not real numbers.
    ValueError
        If the shapes differ, are not images, `mask` does not lie on their grid, or masked arrays
        hide other pixels in one image than in the next.
    """
    if dtype not in ("float64", "float32"):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {dtype!r}")
    shown = [seen for images in (test, reference) if (seen := _shown(images)) is not None]
    xp = _library_of(test, reference)
    test, reference = (_as_real(images, name, xp, dtype)
                       for images, name in ((test, "test"), (reference, "reference")))  # fmt: skip
    if test.shape != reference.shape or test.ndim < 2:
        raise ValueError(
            "test and reference must be images (..., row, column) of one shape, got "
            f"{tuple(test.shape)} and {tuple(reference.shape)}"
        )
    if xp is not np and test.device != reference.device:
        raise ValueError(
            f"test is on {test.device}, reference on {reference.device}; move one with .to()"
        )
    as_tensor = xp is not np and HOST_TENSORS_AS_ARRAYS and test.device.type == "cpu"
    if as_tensor:
        mask = mask.cpu().numpy() if isinstance(mask, xp.Tensor) else mask
        xp, test, reference = np, test.numpy(), reference.numpy()
    batch, grid = tuple(test.shape[:-2]), tuple(test.shape[-2:])
    count = int(np.prod(batch, dtype=np.int64))
    test, reference = test.reshape(count, *grid), reference.reshape(count, *grid)
    mask = _as_mask(mask, grid, xp, test)
    for seen in shown:
        mask = seen if mask is None else mask & seen
    finite = xp.isfinite(test) & xp.isfinite(reference)
    zero = xp.zeros_like(test[:1, :1, :1]) if count and 0 not in grid else test
    if mask is not None and not bool(finite.all()):
        outside = ~finite & ~mask
        test, reference = (xp.where(outside, zero, images) for images in (test, reference))
        finite = finite | outside
    usable = finite.reshape(count, grid[0] * grid[1]).all(-1)
    if 0 in grid or (mask is not None and not bool(mask.any())):
        usable = xp.zeros_like(usable)
    if not bool(usable.all()):
        keep = usable[:, None, None]
        test, reference = (xp.where(keep, images, zero) for images in (test, reference))
    return ImagePair(test, reference, mask, usable, batch, xp, as_tensor)


def check_data_range(data_range: float) -> float:
    """Return `data_range`, or raise ValueError where it is not a positive number."""
    if not (np.isfinite(data_range) and data_range > 0):
        raise ValueError(
            f"data_range must be the positive distance between the darkest and the brightest "
            f"possible value (1.0 for images scaled to 0..1), got {data_range!r}"
        )
    return float(data_range)


def too_small(pair: ImagePair, side: int) -> Any:
    """Return bool ``(image,)``: whether an edge is shorter than `side` pixels."""
    return pair.xp.ones_like(pair.usable) if min(pair.shape) < side else ~pair.usable


def _library_of(test: Any, reference: Any) -> Any:
    torch = sys.modules.get("torch")
    tensors = [torch is not None and isinstance(images, torch.Tensor)
               for images in (test, reference)]  # fmt: skip
    if all(tensors):
        return torch
    if any(tensors):
        raise TypeError(
            "test and reference must both be numpy arrays or both be torch tensors; got "
            f"{type(test).__name__} and {type(reference).__name__}"
        )
    return np


def _shown(images: Any) -> Any:
    """Return the pixels that a masked array shows, bool ``(row, column)``; None where it hides none."""
    if not isinstance(images, np.ma.MaskedArray) or not np.ma.is_masked(images):
        return None
    hidden = np.ma.getmaskarray(images)
    each = hidden.reshape(-1, *hidden.shape[-2:])
    if (each != each[:1]).any():
        raise ValueError(
            "a masked array must mask the same pixels of every image, because one mask is used for all; "
            "give the images one by one, or plain arrays and mask="
        )
    return ~each[0]


def _as_real(images: Any, name: str, xp: ModuleType, dtype: Precision) -> Any:
    if xp is not np:
        if images.is_complex():
            raise TypeError(f"{name} must hold real numbers, got {images.dtype}")
        return images.detach().to(getattr(xp, dtype))
    array = np.asarray(images)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got {array.dtype}")
    if np.ma.is_masked(images):
        return images.astype(dtype).filled(np.nan)
    return array.astype(dtype, copy=False)


def _as_mask(mask: Any, grid: tuple[int, ...], xp: ModuleType, like: Any) -> Any:
    if mask is None:
        return None
    is_tensor = xp is not np and isinstance(mask, xp.Tensor)
    kind = mask.dtype if is_tensor else np.asarray(mask).dtype
    if kind != (xp.bool if is_tensor else np.bool_) or tuple(np.shape(mask)) != grid:
        raise ValueError(
            f"mask must be bool (row, column) = {grid}, got {kind} {tuple(np.shape(mask))}"
        )
    return np.asarray(mask) if xp is np else xp.as_tensor(mask, device=like.device)


def _extent(line: Any) -> slice:
    marked = [index for index, value in enumerate(line.tolist()) if value]
    return slice(marked[0], marked[-1] + 1)
