"""Read one section of the prostate set: the instrument's table, and what is tissue in it.

A table has one column for each element of each ablated line (so ``4 * rows`` columns after the time)
and one row for each scan along a line: three lines of header, then numbers in thousand counts per
second.
"""

import csv
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from msibench.datasets import Card, MZSet, Section, find_file, open_unpacked
from msibench.errors import DataError
from msibench.image import GuideImage, MSImage
from msibench.io.tissue import estimate_tissue

HEADER_LINES = 3


def read(card: Card, section: str, mz_set: MZSet) -> Section:
    """Return the four element maps; P31 as a guide too, where it is not among the maps asked for.

    The guide is P31 divided by its 99.9 % quantile, on the grid of the maps themselves.
    """
    elements = dict(zip(card.parameters["elements"], card.parameters["element_mz"], strict=True))
    values = _element_maps(card, section, tuple(elements))
    image = MSImage(
        values,
        np.array(list(elements.values())),
        pixel_size_um=card.pixel_size_um,
        mask=outline(values),
        ppm=mz_set.ppm,
        unit=card.unit,
    )
    shown = str(card.parameters["guide"])
    asked = mz_set.mz or tuple(elements.values())
    if any(abs(elements[shown] - mz) <= mz_set.ppm * 1e-6 * mz for mz in asked):
        note = f"{shown} is among the maps to be magnified, so it is not a guide here"
        return Section(dataset=card.name, name=section, image=image, notes=(note,))
    guide = values[list(elements).index(shown)]
    scaled = np.clip(guide / max(float(np.quantile(guide, 0.999)), 1e-9), 0, 1)
    return Section(
        dataset=card.name,
        name=section,
        image=image,
        guide=GuideImage(
            scaled[None], pixel_size_um=card.pixel_size_um, channel_names=(shown,), kind="msi"
        ),
        notes=(f"the guide is the map of {shown}, measured by the same laser shots",),
    )


def _element_maps(card: Card, section: str, elements: Sequence[str]) -> NDArray[np.float32]:
    """Return ``(element, line, scan)`` in thousand counts per second."""
    (file,) = card.files_of(section)
    with open_unpacked(find_file(card, file)) as stream:
        lines = list(csv.reader(stream))
    header = lines[:HEADER_LINES]
    wanted = [name.replace(":", "") for name in header[-1][1:]] if len(header) == 3 else []
    count = len(elements)
    if not wanted or wanted != list(elements) * (len(wanted) // count):
        raise DataError(
            f"{file.name} is not a table of this data set: expected columns {', '.join(elements)} for "
            f"each line in its third row, got {', '.join(wanted[: count + 1]) or 'none'}"
        )
    body = lines[HEADER_LINES:]
    try:
        table = np.array([line[1:] for line in body if line], dtype=np.float32)
    except ValueError as error:
        raise DataError(f"{file.name} holds something that is not a number: {error}") from error
    if table.ndim != 2 or table.shape[1] != len(wanted):
        raise DataError(
            f"{file.name}: every row needs {len(wanted)} numbers after the time, got {table.shape}"
        )
    return np.ascontiguousarray(table.reshape(len(table), -1, count).transpose(2, 1, 0))


def outline(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the section's outline, glands and holes inside it included, ``(row, column)``.

    Logarithms of all elements, smoothed over 2 pixels, each between its 2 % quantile and its median (so
    that hot spots do not decide), averaged; Otsu's threshold; gaps of 8 pixels closed; the largest piece.
    """
    smooth = ndimage.gaussian_filter(np.log1p(values.astype(np.float64)), (0, 2, 2))
    low, high = np.quantile(smooth, (0.02, 0.5), axis=(1, 2))[:, :, None, None]
    picture = np.clip((smooth - low) / np.maximum(high - low, 1e-9), 0, 1).mean(0)
    grown = estimate_tissue(picture, threshold="otsu", dilation=4).mask
    mask = ndimage.binary_erosion(grown, iterations=4, border_value=1)
    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == sizes.argmax())
