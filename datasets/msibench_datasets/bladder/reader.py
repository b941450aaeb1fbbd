"""Read the bladder section: the stack, its tissue mask, and the optical image on its grid."""

from dataclasses import replace

import numpy as np

from msibench.datasets import Card, MZSet, Section, find_file
from msibench.image import MSImage
from msibench.io.guide.open import read_guide
from msibench.registration import read_affine, resample


def read(card: Card, section: str, mz_set: MZSet) -> Section:
    """Return the section with all 79 ion images; the core keeps those of `mz_set`.

    The mask is every pixel whose spatial-shrunken-centroids label (array ``ssc`` of the public
    stack) is not one of the labels that lie outside the section (card: ``off_tissue_labels``).
    """
    paths = {file.role: find_file(card, file) for file in card.files}
    with np.load(paths["section"], allow_pickle=False) as stack:
        mask = ~np.isin(stack["ssc"], card.parameters["off_tissue_labels"])
        image = MSImage(
            stack["cube"],
            stack["mz"],
            pixel_size_um=card.pixel_size_um,
            mask=mask,
            ppm=mz_set.ppm,
            unit=card.unit,
        )
    guide = resample(read_guide(paths["guide"]), read_affine(paths["affine"]), image.shape)
    guide = replace(guide, pixel_size_um=image.pixel_size_um)
    return Section(dataset=card.name, name=section, image=image, guide=guide)
