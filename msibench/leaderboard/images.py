"""Ion images of a stored problem as 8-bit grey PNG, all of one ion on one common scale."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.metric import Intervals
from msibench.errors import IntegrityError
from msibench.image import GuideImage
from msibench.results.arrays import read_arrays
from msibench.results.files import sha256_of
from msibench.results.problems import Staged, load_staged
from msibench.results.schema import CellRecord
from msibench.results.store import PREDICTION, Store
from msibench.results.told_intervals import intervals_of

TOP_QUANTILE = 0.999
"""Colours end at this quantile of the truth (of the low image where there is no truth)."""
_PNG_LEVEL = 6


GAP = 4
"""Zeros in a row between pixels off the tissue that hold something, up to which they count as measured."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class IonScale:
    """The colour scale of one ion."""

    top: float
    """Scaled intensity at the bright end; the dark end is 0."""
    intensity: float
    """The same in the section's own unit."""
    clipped: float
    """Share of the truth's pixels that are brighter than the bright end."""

    def levels(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Return an image as levels 0..255; NaN is 0."""
        finite = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0)
        return np.rint(np.clip(finite / self.top, 0.0, 1.0) * 255.0).astype(np.uint8)


@dataclass(frozen=True, eq=False, kw_only=True)
class SectionImages:
    """A staged problem as a page shows it: what is seen, the truth, and every prediction of it."""

    store: Store
    problem_key: str
    records: dict[str, CellRecord]
    """Method → its cell; the lowest seed where there are several."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Method → why its prediction cannot be read; filled while reading."""

    @cached_property
    def staged(self) -> Staged:
        """The problem.

        Raises
        ------
        IntegrityError
            If its file is missing or damaged.
        """
        return load_staged(self.store.problem_folder(self.problem_key), digest="")

    @property
    def low(self) -> NDArray[np.float32]:
        """Coarse images, ``(channel, row, column)``."""
        return self.staged.low.values

    @property
    def truth(self) -> NDArray[np.float32] | None:
        """Fine images, ``(channel, row, column)``; None where they were not measured."""
        return None if self.staged.truth is None else self.staged.truth.values

    @property
    def pixel_size_um(self) -> float:
        """Of the fine images; NaN where there are none or it is unknown."""
        return float("nan") if self.staged.truth is None else self.staged.truth.pixel_size_um

    def prediction(self, method: str) -> NDArray[np.float32] | None:
        """Return a method's images, ``(channel, row, column)``; None where they cannot be read."""
        path = self.store.cell_folder(self.records[method].key) / PREDICTION
        if not path.is_file():
            self.damaged[method] = "its prediction is not in the store"
            return None
        try:
            if sha256_of(path) != self.records[method].files.get(PREDICTION):
                raise IntegrityError("its prediction was changed after it was scored")
            arrays, _ = read_arrays(path, ("prediction",), lazily=("prediction",))
        except IntegrityError as error:
            self.damaged[method] = str(error).replace(str(self.store.root), "the store")
            return None
        found = arrays["prediction"]
        if found.ndim != 3 or len(found) != len(self.low):
            self.damaged[method] = f"its prediction has shape {found.shape}"
            return None
        return found

    def intervals(self, method: str) -> Intervals:
        """Return the intervals beside a prediction: by the method, and by the harness."""
        path = self.store.cell_folder(self.records[method].key) / PREDICTION
        try:
            return intervals_of(path)
        except IntegrityError as error:
            self.damaged[method] = str(error).replace(str(self.store.root), "the store")
            return Intervals()

    @cached_property
    def low_absent(self) -> NDArray[np.bool_]:
        """Pixels of the coarse images that were not measured, ``(row, column)``."""
        return _absent(self.low, self.staged.low.mask)

    @cached_property
    def absent(self) -> NDArray[np.bool_]:
        """Pixels of the fine grid that were not measured, ``(row, column)``.

        Without a truth: those below a coarse pixel that was not, on a grid that may be the coarse one.
        """
        truth = self.truth
        return self.low_absent if truth is None else _absent(truth, self.staged.mask)

    def absent_on(self, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
        """Return the pixels of a grid that were not measured; None where all of them were.

        Also None for a grid that is not a multiple of the truth's, which no prediction has.
        """
        absent = self.low_absent if shape == self.low.shape[1:] else self.absent
        if not absent.any() or any(f % a for f, a in zip(shape, absent.shape, strict=True)):
            return None
        rows, columns = (f // a for f, a in zip(shape, absent.shape, strict=True))
        return absent.repeat(rows, axis=0).repeat(columns, axis=1)

    def scale(self, channel: int) -> IonScale:
        """Return the common scale of one ion."""
        truth = self.truth
        base = self.low[channel] if truth is None else truth[channel]
        finite = base[np.isfinite(base)].astype(np.float64)
        top = float(np.quantile(finite, TOP_QUANTILE)) if finite.size else 0.0
        if top <= 0:
            top = float(finite.max(initial=0.0))
        if top <= 0:
            top = 1.0
        unit = self.staged.scale
        per_one = float(unit[channel]) if channel < len(unit) else 1.0
        clipped = float((finite > top * (1 + 1e-6)).mean()) if finite.size else 0.0
        return IonScale(top=top, intensity=top * per_one, clipped=clipped)


def _absent(stack: Any, mask: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Return the pixels that were not measured: NaN, or outside the mask and zero in every ion image.

    A zero between pixels off the tissue that hold something was measured: gaps of up to `GAP` pixels are.
    """
    from scipy.ndimage import binary_closing

    missing = np.zeros(stack.shape[1:], dtype=np.bool_)
    empty = np.zeros_like(missing) if mask is None else ~mask
    for channel in range(len(stack)):
        values = np.asarray(stack[channel])
        missing |= np.isnan(values)
        empty &= (values == 0) | np.isnan(values)
    if mask is not None and (~empty & ~mask).any():
        held = np.pad(~empty, GAP, mode="symmetric")
        closed = binary_closing(held, np.ones((GAP + 1, GAP + 1), np.bool_))
        empty &= ~closed[GAP:-GAP, GAP:-GAP]
    return missing | empty


def structure(section: SectionImages, channel: int) -> float:
    """Return how much of an ion image is structure rather than noise, at most 1.

    The correlation of neighbouring pixels of the truth (the low image where there is none), on the
    tissue where a mask says which that is; 0 where it is constant.
    """
    image = section.low[channel] if section.truth is None else section.truth[channel]
    return neighbour_correlation(image, section.staged.mask)


def neighbour_correlation(image: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> float:
    """Return the correlation of horizontally neighbouring pixels of one ion image, ``(row, column)``.

    On the pixels of `mask` where it has the image's shape; 0 where the image is constant.
    """
    usable = np.isfinite(image)
    if mask is not None and mask.shape == image.shape:
        usable &= mask
    both = usable[:, 1:] & usable[:, :-1]
    first, second = (side[both].astype(np.float64) for side in (image[:, 1:], image[:, :-1]))
    if first.size < 2 or not np.ptp(first) or not np.ptp(second):
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def guide_name(guide: GuideImage) -> str:
    """Return what a guide is, as far as it states that: it need not be an optical image.

    Examples
    --------
    >>> guide_name(GuideImage(np.zeros((1, 2, 2)), channel_names=("TIC",)))
    'one channel, TIC'
    """
    count = len(guide.values)
    told = [name for name in guide.channel_names if name]
    if {name.lower() for name in told} == {"red", "green", "blue"} or (count == 3 and not told):
        return "RGB image"
    what = "one channel" if count == 1 else f"{count} channels"
    if guide.kind == "msi":
        what = "ion image" if count == 1 else f"{count} ion images"
    return f"{what}, {', '.join(told)}" if 0 < len(told) <= 4 else what


def guide_png(guide: NDArray[np.float32]) -> bytes:
    """Return a guide as PNG: three channels as colours, another number as their grey mean."""
    values = np.clip(np.nan_to_num(guide.astype(np.float64)), 0.0, None)
    top = values.max(initial=0.0)
    levels = np.rint(values / (top if top > 1 else 1.0) * 255.0).astype(np.uint8)
    if len(levels) == 3:
        return png(np.moveaxis(levels, 0, -1))
    return png(np.rint(levels.mean(axis=0)).astype(np.uint8))


def png(levels: NDArray[np.uint8]) -> bytes:
    """Return a PNG of ``(row, column)`` grey levels, 2 samples with opacity behind them, or 3 of RGB.

    Every row is stored as its difference to the row above; the same levels give the same bytes.
    """
    rows, columns = levels.shape[:2]
    samples = 1 if levels.ndim == 2 else levels.shape[2]
    flat = levels.reshape(rows, -1)
    above = np.vstack([np.zeros_like(flat[:1]), flat[:-1]])
    filtered = np.hstack([np.full((rows, 1), 2, np.uint8), flat - above])
    kind = {1: 0, 2: 4, 3: 2}[samples]
    header = struct.pack(">IIBBBBB", columns, rows, 8, kind, 0, 0, 0)
    body = zlib.compress(filtered.tobytes(), _PNG_LEVEL)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    )


def data_url(content: bytes) -> str:
    """Return a PNG as a data address."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def spread_order(ranked: list[int]) -> list[int]:
    """Order a ranked list so that every beginning of it spans the range: ends, middle, quarters.

    Examples
    --------
    >>> spread_order([10, 11, 12, 13, 14])
    [10, 14, 12, 11, 13]
    """
    if not ranked:
        return []
    last = len(ranked) - 1
    places = [0, last]
    step = 1
    while step <= 2 * len(ranked):
        step *= 2
        places += [round(last * odd / step) for odd in range(1, step, 2)]
    return [ranked[place] for place in dict.fromkeys(places)]
