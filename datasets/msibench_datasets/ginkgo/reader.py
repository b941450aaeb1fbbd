"""Make a leaf section; nothing is read."""

import numpy as np

from msibench.datasets import Card, MZSet, Section
from msibench.image import GuideImage, MSImage
from msibench_datasets.ginkgo.generator import make_leaf


def read(card: Card, section: str, mz_set: MZSet) -> Section:
    """Return the synthetic section called ``leaf-<seed>``."""
    options, size = card.parameters, card.pixel_size_um
    leaf = make_leaf(
        seed=int(section.rpartition("-")[2]),
        shape=(int(options["rows"]), int(options["columns"])),
        counts=float(options["counts"]),
    )
    return Section(
        dataset=card.name,
        name=section,
        image=MSImage(leaf.counts, leaf.mz, pixel_size_um=size, mask=leaf.mask, unit=card.unit),
        guide=GuideImage(leaf.guide, pixel_size_um=size, channel_names=("red", "green", "blue")),
        counts_per_unit=np.ones(len(leaf.mz)),
        noise_free=leaf.expected,
        notes=("synthetic section: made by a generator, measured by nobody",),
    )
