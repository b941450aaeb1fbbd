"""Read the tumour section: places and spectra of its spots, and the stained image on their grid.

Two tables with semicolons: ``Spot index;x;y`` with places in micrometres, and ``m/z;Spot 1633045;…`` with
one row of intensities an m/z.
"""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msibench.datasets import Card, MZSet, Section, find_file, open_unpacked
from msibench.errors import DataError
from msibench.image import MSImage
from msibench.io.guide.open import read_guide
from msibench.registration import Affine, resample


def read(card: Card, section: str, mz_set: MZSet) -> Section:
    """Return the section with all ion images and its HER2 stain; the core keeps those of `mz_set`.

    Row and column are ``(y - ymin) / 20`` and ``(x - xmin) / 20``; the mask is where a spot was measured.
    ``spots = "by-number"`` gives a spectrum the place of the same spot number, ``"by-order"`` the n-th
    spectrum the n-th place.
    """
    paths = {file.name: find_file(card, file) for file in card.files}
    options = card.parameters
    number, place = _places(paths[options["places"]])
    spots, mz, spectra = _spectra(paths[options["spectra"]])
    if options["spots"] == "by-order":
        if len(spots) != len(number):
            raise DataError(f"by order: {len(number)} places, but {len(spots)} spectra")
        spots = number
    order = np.argsort(number)
    found = order[np.searchsorted(number, spots, sorter=order).clip(max=len(order) - 1)]
    measured = number[found] == spots
    size = card.pixel_size_um
    column, row = np.rint((place - place.min(0)) / size).astype(int).T
    shape = row.max() + 1, column.max() + 1
    values = np.zeros((len(mz), *shape), np.float32)
    mask = np.zeros(shape, bool)
    at = row[found[measured]], column[found[measured]]
    values[:, at[0], at[1]] = spectra[:, measured]
    mask[at] = True
    image = MSImage(values, mz, pixel_size_um=size, mask=mask, ppm=mz_set.ppm, unit=card.unit)
    onto = Affine(np.array(options["affine"], float), np.array(options["offset"], float))
    guide = resample(read_guide(paths[options["stain"]]), onto, image.shape)
    return Section(
        dataset=card.name,
        name=section,
        image=image,
        guide=replace(guide, pixel_size_um=size),
        notes=("the stain was brought onto the section by a similarity, by its intensities",),
    )


def _table(path: Path) -> list[list[str]]:
    with open_unpacked(path) as stream:
        return [line for line in csv.reader(stream, delimiter=";") if line]


def _places(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return spot numbers and their ``(x, y)`` in micrometres."""
    head, *lines = _table(path)
    if head != ["Spot index", "x", "y"]:
        raise DataError(
            f"{path.name} must begin with 'Spot index;x;y', got {';'.join(head)[:80]!r}"
        )
    numbers = np.array(lines, dtype=np.float64)
    return numbers[:, 0].astype(np.int64), numbers[:, 1:]


def _spectra(
    path: Path,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float32]]:
    """Return spot numbers, m/z, and intensities ``(m/z, spot)``."""
    head, *lines = _table(path)
    if head[0] != "m/z" or not all(name.startswith("Spot ") for name in head[1:]):
        raise DataError(
            f"{path.name} must begin with 'm/z;Spot <number>;…', got {';'.join(head)[:80]!r}"
        )
    numbers = np.array(lines, dtype=np.float64)
    spots = np.array([int(name.removeprefix("Spot ")) for name in head[1:]])
    return spots, numbers[:, 0], numbers[:, 1:].astype(np.float32)
