"""Step 4: tissue masks, the section that two modalities share, crop, and resampling by area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from msibench.errors import DataError
from msibench_cca.maps import Maps

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


def tissue_mask(known: Bools, dilation: int) -> Bools:
    """Return where tissue is, ``(row, column)``: what was measured, dilated, without holes."""
    grown = ndimage.binary_dilation(known, iterations=dilation) if dilation else known
    return np.asarray(ndimage.binary_fill_holes(grown), dtype=bool)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One section of a slide: a connected piece of tissue."""

    rows: slice
    columns: slice
    """Bounding box of its measured pixels."""
    pixels: int
    """Measured pixels."""
    at: tuple[float, float]
    """Centre of the box as a share of the slide, (row, column)."""


def sections_of(mask: Bools, known: Bools) -> list[Piece]:
    """Return the sections on a slide, row by row as one reads: by their centre, top to bottom, left to right.

    The mask says what belongs together; a box is that of the measured pixels in a piece, so that dilation by
    pixels of different size does not put two modalities' boxes apart. Pieces of less than 5 % of the largest
    are debris and no sections.

    Raises
    ------
    DataError
        If the mask is empty.
    """
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if not count:
        raise DataError("there is no tissue: the mask is empty")
    labels = np.where(known, labels, 0)
    pixels = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    pieces = []
    for label, box in enumerate(ndimage.find_objects(labels, count), start=1):
        if box is None or pixels[label - 1] < 0.05 * pixels.max():
            continue
        centre = [(side.start + side.stop) / 2 / n for side, n in zip(box, mask.shape, strict=True)]
        pieces.append(Piece(box[0], box[1], int(pixels[label - 1]), (centre[0], centre[1])))
    # Centres closer than a tenth of the slide stand in one row.
    return sorted(pieces, key=lambda piece: (round(piece.at[0] * 10), piece.at[1]))


def same_section(slides: Sequence[Sequence[Piece]], wanted: str | int = "largest") -> list[Piece]:
    """Return the chosen section of every slide.

    Parameters
    ----------
    slides
        Sections of each modality's slide, the coarse one first.
    wanted
        ``"largest"`` of the coarse modality, or the number of a section of it, from 1 (`sections_of` says in
        which order). In every other modality it is the section whose box, as a share of the slide, overlaps
        that one most; on slides of which each shows one section it is that.

    Raises
    ------
    DataError
        If there is no such section, or a modality shows none where the coarse one has it.
    """
    first = slides[0]
    if wanted == "largest":
        chosen = max(first, key=lambda piece: piece.pixels)
    elif str(wanted).isdecimal() and 1 <= int(wanted) <= len(first):
        chosen = first[int(wanted) - 1]
    else:
        raise DataError(
            f"section must be 'largest' or a number from 1 to {len(first)}, the sections of the coarse "
            f"modality, got {wanted!r}"
        )
    found = [chosen]
    for number, slide in enumerate(slides[1:], start=1):
        if len(slide) == len(first) == 1:
            found.append(slide[0])
            continue
        place = _extent(first)[first.index(chosen)]
        shares = [_overlap(place, other) for other in _extent(slide)]
        best = int(np.argmax(shares))
        if shares[best] <= 0:
            raise DataError(
                f"finer modality {number} has no section where the coarse one's lies; it has "
                f"{len(slide)}: crop the files to one section each"
            )
        found.append(slide[best])
    return found


def _extent(slide: Sequence[Piece]) -> list[tuple[float, float, float, float]]:
    """Return boxes as shares of the box around all sections: top, left, bottom, right.

    Slides may be scanned with other margins; the sections on them keep their places to one another.
    """
    top, left = (min(getattr(p, side).start for p in slide) for side in ("rows", "columns"))
    bottom, right = (max(getattr(p, side).stop for p in slide) for side in ("rows", "columns"))
    height, width = bottom - top, right - left
    return [
        (
            (p.rows.start - top) / height,
            (p.columns.start - left) / width,
            (p.rows.stop - top) / height,
            (p.columns.stop - left) / width,
        )
        for p in slide
    ]


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> float:
    """Return the shared area of two boxes over their joint area."""
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    if height <= 0 or width <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return height * width / (areas - height * width)


def area_weights(fine: int, coarse: int) -> Floats:
    """Return the share of each fine pixel of a line in each coarse one, ``(coarse, fine)``; rows sum to 1.

    Both lines cover the same stretch; their lengths need not divide. Anti-aliased by construction.
    """
    edges = np.arange(coarse + 1) * (fine / coarse)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(fine)
    overlap = np.minimum(high, pixel + 1) - np.maximum(low, pixel)
    shares = np.maximum(overlap, 0)
    return np.asarray(shares / shares.sum(1, keepdims=True))


def resample(maps: Maps, shape: tuple[int, int]) -> tuple[Floats, Bools]:
    """Return maps on a coarser grid over the same area, and where at least half is known.

    Each coarse pixel is the mean of the known area in it.
    """
    down, across = (area_weights(f, c) for f, c in zip(maps.shape, shape, strict=True))
    share = down @ maps.known.astype(np.float64) @ across.T
    values = down @ np.where(maps.known, maps.values, 0) @ across.T
    return values / np.maximum(share, 1e-12), share >= 0.5
