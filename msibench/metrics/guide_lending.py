"""What a guide may lend to an image: worked out once for all images that it is compared with.

Two ways of lending are laid out (`msibench.metrics.guide_leakage`): the guide's unseen parts in tiles, for a
ridge regression, and in patches, to be sought near their place. What does not depend on the images is done
here: the parts themselves, and the eigenvectors of their Gram matrices, in which a ridge of any strength is
a division. What a small section's guides lend is kept for the next prediction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from msibench.metrics.arrays import Floats
from msibench.metrics.detail import Splitter
from msibench.metrics.kept import Kept, digest_of_arrays

REACH = 2
"""Pixels by which guide and truth may be shifted against the prediction, along each axis."""
TILE = 16
"""Fine pixels along a tile in which the guide is fitted anew, at least: paint may change its sign."""
BAND = 128
"""Rows that are processed together, so that a large image needs little memory."""
LEAST_TISSUE = 0.25
"""Share of a tile that must lie inside the mask."""
PATCH = 8
"""Fine pixels along a patch that is compared with the guide near it."""
SEARCH = 4
"""Pixels by which a patch is sought in the guide, along each axis."""
MOST_SOUGHT = 1 << 20
"""Pixels in which patches are sought: of a larger image every k-th band of rows."""
AT_ONCE = 1 << 22
"""Values of shifted guides that are held at a time."""
KEPT_BYTES = 256 << 20
"""Of what all guides lend that are kept."""

Shifts = tuple[tuple[int, int], ...]
ALL_SHIFTS: Shifts = tuple(
    (a, b) for a in range(-REACH, REACH + 1) for b in range(-REACH, REACH + 1)
)
FAR_SHIFTS: Shifts = tuple((a, b) for a in (-REACH, 0, REACH) for b in (-REACH, 0, REACH))
NEAR_SHIFTS: Shifts = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
SOUGHT_SHIFTS: Shifts = tuple(
    (a, b) for a in range(-SEARCH, SEARCH + 1) for b in range(-SEARCH, SEARCH + 1)
)

Part = TypeVar("Part", "Tiles", "Patches")
Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Where and how guides are compared with images."""

    mask: NDArray[np.bool_]
    """``(row, column)``."""
    split: Splitter
    factor: int

    @property
    def tile(self) -> int:
        """Fine pixels along a tile: whole coarse pixels, two at least."""
        return max(TILE // self.factor, 2) * self.factor

    def bands(self) -> list[slice]:
        """Return the bands of whole tiles, from the top."""
        rows, step = len(self.mask), max(BAND // self.tile, 1) * self.tile
        return [slice(top, min(top + step, rows)) for top in range(0, rows, step)]

    def bands_sought(self) -> tuple[list[slice], float]:
        """Return bands of whole patches and coarse pixels, and the share of the mask that they hold."""
        rows, columns = self.mask.shape
        whole = math.lcm(PATCH, self.factor)
        step = max(BAND // whole, 1) * whole
        every = max(-(-rows * columns // MOST_SOUGHT), 1)
        bands = [slice(top, min(top + step, rows)) for top in range(0, rows, step)][::every]
        inside = sum(int(self.mask[band].sum()) for band in bands)
        return bands, inside / max(int(self.mask.sum()), 1) or 1.0

    def halves(self, band: slice) -> NDArray[np.bool_]:
        """Return the pixels of each half of the coarse pixels, a checkerboard, inside the mask.

        ``(tile, 2, pixel)``; none of a tile that is hardly in the mask.
        """
        rows, columns = (np.arange(side) // self.factor for side in self.mask.shape)
        odd = (rows[band, None] + columns[None, :]) % 2 == 1
        inside = self.mask[band]
        halves = in_tiles(np.stack([inside & ~odd, inside & odd]), self.tile).swapaxes(0, 1)
        enough = halves.sum(axis=(1, 2)) >= max(LEAST_TISSUE * self.tile**2, 16)
        return np.asarray(halves & enough[:, None, None])


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """One guide's features in the tiles of one band, each half in the eigenvectors of its own Gram matrix."""

    features: Floats
    """``(tile, feature, pixel)``; a pixel's features are those of its half."""
    powers: Floats
    """Eigenvalues of each half's Gram matrix, ``(tile, 2, feature)``."""
    turned: Floats
    """Brings weights of the first half to the second half's eigenvectors, ``(tile, feature, feature)``."""


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """One guide's shifted details in patches of one band, some of the shifts."""

    band: slice
    shown: Floats
    """Of unit energy, or 0 where next to nothing is shown, ``(patch, pixel, shift)``."""
    seen: NDArray[np.bool_]
    """Where some of these shifts show anything, ``(patch,)``."""


def tiles_of(colours: Sequence[Floats], judged: Judged) -> Iterator[Tiles]:
    """Yield what a guide lends to a regression, band by band."""
    for band, features in _features(colours, judged):
        halves = judged.halves(band)
        laid = in_tiles(features, judged.tile).swapaxes(0, 1)
        turned, powers = [], []
        for half in (0, 1):
            own = laid * halves[:, half, None]
            power, vectors = np.linalg.eigh(own @ own.swapaxes(1, 2))
            turned.append(vectors.swapaxes(1, 2))
            powers.append(power)
        first, second = (vectors @ laid for vectors in turned)
        yield Tiles(
            np.where(halves[:, 1, None], second, np.where(halves[:, 0, None], first, 0.0)),
            np.stack(powers, axis=1),
            turned[1] @ turned[0].swapaxes(1, 2),
        )


def patches_of(colours: Sequence[Floats], judged: Judged) -> Iterator[Patches]:
    """Yield what a guide lends to a search, band by band, and in each a few shifts at a time."""
    for band in judged.bands_sought()[0]:
        inside = judged.mask[band].astype(np.float64)
        kept = patches_kept(inside)
        details = _moved_details(colours, band, judged) if kept.any() else iter(())
        together = max(AT_ONCE // inside.size, 1)
        while some := [detail * inside for detail in islice(details, together)]:
            every = in_patches(np.stack(some))  # (shift, patch, pixel)
            energy = (every * every).sum(axis=2)
            usable = energy > 1e-4 * np.maximum(energy.mean(axis=1, keepdims=True), 1e-300)
            size = np.sqrt(energy, out=np.ones_like(energy), where=usable)
            shown = np.where(usable[..., None], every / size[..., None], 0.0)[:, kept]
            lines = np.ascontiguousarray(shown.transpose(1, 2, 0))
            yield Patches(band, lines, usable[:, kept].any(axis=0))


def patches_kept(inside: Floats) -> NDArray[np.bool_]:
    """Return which whole patches lie at least half inside the mask, ``(patch,)``."""
    return np.asarray(in_patches(inside).sum(axis=-1) >= PATCH * PATCH / 2)


def in_tiles(images: NDArray[Value], tile: int) -> NDArray[Value]:
    """Cut ``(image, row, column)`` into tiles, ``(image, tile, pixel)``, row by row; zeros beyond the border."""
    rows, columns = (-(-side // tile) for side in images.shape[1:])
    far = [
        (0, count * tile - side)
        for count, side in zip((rows, columns), images.shape[1:], strict=True)
    ]
    whole = np.pad(images, ((0, 0), *far)) if any(after for _, after in far) else images
    cut = whole.reshape(len(images), rows, tile, columns, tile)
    return cut.swapaxes(2, 3).reshape(len(images), rows * columns, tile * tile)


def in_patches(images: Floats) -> Floats:
    """Cut ``(..., row, column)`` into whole patches, ``(..., patch, pixel)``; what is left over is left out."""
    rows, columns = (side // PATCH for side in images.shape[-2:])
    cut = images[..., : rows * PATCH, : columns * PATCH].reshape(
        *images.shape[:-2], rows, PATCH, columns, PATCH
    )
    return cut.swapaxes(-3, -2).reshape(*images.shape[:-2], rows * columns, PATCH * PATCH)


def shifted(image: Floats, shifts: Shifts) -> list[Floats]:
    """Return an image moved by whole pixels, edge pixels repeated."""
    rows, columns = image.shape
    padded = np.pad(image, REACH, mode="edge")
    return [
        padded[REACH + row : REACH + row + rows, REACH + column : REACH + column + columns]
        for row, column in shifts
    ]


def of_unit_power(images: Floats) -> Floats:
    """Scale each image to a mean square of 1; one that is no more than rounding becomes 0."""
    size = np.sqrt((images**2).mean(axis=(1, 2), keepdims=True))
    return np.asarray(
        np.divide(images, size, out=np.zeros_like(images), where=size > 1e-9 * size.max())
    )


def _features(colours: Sequence[Floats], judged: Judged) -> Iterator[tuple[slice, Floats]]:
    """Yield bands of rows, and the unseen part of what the guide may lend them, each of unit power."""
    from scipy.ndimage import sobel

    for band in judged.bands():
        outer = slice(
            max(band.start - judged.tile, 0), min(band.stop + judged.tile, len(judged.mask))
        )
        cut = [colour[outer] for colour in colours]
        edges = np.hypot(sobel(cut[0], 0), sobel(cut[0], 1))
        moved = [*shifted(cut[0], ALL_SHIFTS), *shifted(edges, FAR_SHIFTS)]
        for colour in cut[1:]:
            moved += shifted(colour, FAR_SHIFTS)
        inner = slice(band.start - outer.start, band.stop - outer.start)
        yield band, of_unit_power(judged.split(np.stack(moved))[1][:, inner])


def _moved_details(colours: Sequence[Floats], band: slice, judged: Judged) -> Iterator[Floats]:
    """Yield the unseen part of a guide's first colour at each of `SOUGHT_SHIFTS`, and of others nearby."""
    rows, columns = colours[0].shape
    margin = -(-SEARCH // judged.factor) * judged.factor
    outer = slice(max(band.start - margin, 0), min(band.stop + margin, rows))
    inner = slice(band.start - outer.start, band.stop - outer.start)
    for number, colour in enumerate(colours):
        padded = np.pad(colour, SEARCH, mode="edge")
        for row, column in NEAR_SHIFTS if number else SOUGHT_SHIFTS:
            moved = padded[
                SEARCH + row + outer.start : SEARCH + row + outer.stop,
                SEARCH + column : SEARCH + column + columns,
            ]
            yield judged.split(moved)[1][inner]


def kept_for_the_next(
    what: str, colours: Sequence[Floats], judged: Judged, make: Callable[[], Iterable[Part]]
) -> Iterable[Part]:
    """Return what `make` gives; of small sections it is kept, and the same guide gets it again.

    Parameters
    ----------
    what
        Names the way of lending.
    """
    pixels, owner = colours[0].size, getattr(judged.split, "__self__", judged.split)
    if not _has_value(owner) or pixels * 8 * len(SOUGHT_SHIFTS) * len(colours) > _kept.room // 8:
        return make()
    arrays = (*colours, judged.mask)
    shapes = tuple(array.shape for array in arrays)
    name: str = getattr(judged.split, "__name__", "")
    key = (what, shapes, digest_of_arrays(arrays), owner, name, judged.factor)
    return _kept.get(key, lambda: list(make()))


def _has_value(owner: object) -> bool:
    """Whether something can be a key: protocols of the same steps are equal."""
    try:
        hash(owner)
    except TypeError:
        return False
    return True


_kept = Kept(KEPT_BYTES)
