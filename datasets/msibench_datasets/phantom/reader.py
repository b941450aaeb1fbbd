"""Make a phantom section; nothing is read."""

import numpy as np

from msibench.datasets import Card, MZSet, Section
from msibench.image import GuideImage, MSImage
from msibench_datasets.phantom.generator import make_phantom


def read(card: Card, section: str, mz_set: MZSet) -> Section:
    """Return the synthetic section called ``synthetic-<seed>`` with everything known beside it."""
    options = card.parameters
    phantom = make_phantom(
        seed=int(section.rpartition("-")[2]),
        shape=(int(options["rows"]), int(options["columns"])),
        counts=float(options["counts"]),
        rotation_deg=float(options["guide_rotation_deg"]),
        shift_px=(float(options["guide_shift_px"][0]), float(options["guide_shift_px"][1])),
    )
    size = card.pixel_size_um
    image = MSImage(
        phantom.counts, phantom.mz, pixel_size_um=size, mask=phantom.mask, unit=card.unit
    )
    second = MSImage(
        phantom.second, phantom.second_mz, pixel_size_um=size, mask=phantom.mask, unit=card.unit
    )
    return Section(
        dataset=card.name,
        name=section,
        image=image,
        guide=GuideImage(phantom.guide, pixel_size_um=size, channel_names=("red", "green", "blue")),
        second=second,
        counts_per_unit=np.ones(image.channels),
        noise_free=phantom.expected,
        uncharted=phantom.uncharted,
        notes=("synthetic section: made by a generator, measured by nobody",),
    )
