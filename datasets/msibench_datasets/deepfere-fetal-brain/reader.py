"""Read DeepFERE's own example: text columns, and an H&E image that nobody has registered yet."""

import numpy as np

from msibench.datasets import Card, MZSet, Section, find_file
from msibench.image import GuideImage, as_stack
from msibench.io.guide.open import read_guide

ROWS, COLUMNS = 40, 36


def read(card: Card, section: str, mz_set: MZSet) -> Section:
    """Return the coarse section; the guide is resized to the fine grid, as the example's code does.

    ``ion505`` is the example's ion image, ``umap`` its three-channel embedding.
    """
    files = {file.name: file for file in card.files}
    if mz_set.name == "umap":
        columns = np.loadtxt(find_file(card, files["mouse_brain_umap.txt"]))
        stack = columns.reshape(ROWS, COLUMNS, 3).transpose(2, 0, 1)
    else:
        stack = np.loadtxt(find_file(card, files["mouse_brain_ion505.txt"]))
    image = as_stack(stack, unit=card.unit)
    guide = read_guide(find_file(card, files["HE.png"]))
    factor = card.factor or 1
    return Section(
        dataset=card.name,
        name=section,
        image=image,
        guide=_resized(guide, (ROWS * factor, COLUMNS * factor)),
        notes=("the guide is resized, not registered: the example leaves that to the method",),
    )


def _resized(guide: GuideImage, shape: tuple[int, int]) -> GuideImage:
    """Bring the whole guide onto `shape`, averaging where it is finer."""
    from PIL import Image

    channels = [
        np.asarray(Image.fromarray(channel).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
        for channel in guide.values
    ]
    return GuideImage(
        np.clip(np.stack(channels), 0, 1), channel_names=guide.channel_names, kind=guide.kind
    )
