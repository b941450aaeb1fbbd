"""Make a leaf section; nothing is read."""

import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from msibench.datasets import Card, MZSet, Section
from msibench.errors import MissingDataError
from msibench.image import GuideImage, MSImage
from msibench_datasets.ginkgo.generator import Leaf, make_leaf


def read(card: Card, section: str, mz_set: MZSet) -> Section:
    """Return the synthetic section called ``leaf-<seed>``, or ``leaf-<seed>-<size>um`` in pixels of that size.

    Raises
    ------
    MissingDataError
        If the section has another name, or its pixels do not tile the leaf.
    """
    named = re.fullmatch(r"leaf-(\d+)(?:-(\d+)um)?", section)
    if named is None:
        raise MissingDataError(f"ginkgo has leaf-<seed> and leaf-<seed>-<size>um, not {section!r}")
    options, width = card.parameters, int(named[2] or 1)
    leaf = make_leaf(
        seed=int(named[1]),
        shape=(int(options["rows"]), int(options["columns"])),
        counts=float(options["counts"]),
    )
    if width < 1 or any(size % width for size in leaf.mask.shape):
        raise MissingDataError(
            f"pixels of {width} µm do not tile a leaf of {leaf.mask.shape} pixels of 1 µm"
        )
    leaf, size = in_wider_pixels(leaf, width), width * card.pixel_size_um
    return Section(
        dataset=card.name,
        name=section,
        image=MSImage(leaf.counts, leaf.mz, pixel_size_um=size, mask=leaf.mask, unit=card.unit),
        guide=GuideImage(leaf.guide, pixel_size_um=size, channel_names=("red", "green", "blue")),
        counts_per_unit=np.ones(len(leaf.mz)),
        noise_free=leaf.expected,
        notes=("synthetic section: made by a generator, measured by nobody",),
    )


def in_wider_pixels(leaf: Leaf, width: int) -> Leaf:
    """Return a leaf measured with pixels `width` times as wide: counts add up, light is averaged."""
    if width == 1:
        return leaf

    def sums(values: NDArray[np.generic]) -> NDArray[np.float64]:
        rows, columns = (size // width for size in values.shape[-2:])
        blocks = values.reshape(*values.shape[:-2], rows, width, columns, width)
        return np.asarray(blocks.sum(axis=(-3, -1), dtype=np.float64))

    return replace(
        leaf,
        counts=sums(leaf.counts).astype(np.float32),
        expected=sums(leaf.expected).astype(np.float32),
        mask=sums(leaf.mask) >= width**2 / 2,
        guide=(sums(leaf.guide) / width**2).astype(np.float32),
    )
