"""Make a section of the charted phantom; nothing is read."""

import re

import numpy as np

from msibench.datasets import Card, MZSet, Section
from msibench.errors import ConfigurationError
from msibench.image import GuideImage, MSImage
from msibench_datasets.charted.generator import POOR, RICH, make_charted


def read(card: Card, section: str, mz_set: MZSet) -> Section:
    """Return the section called ``exact-N``, ``doseD-N``, ``moved-N`` or ``poor-N`` for seed N."""
    found = re.fullmatch(r"(exact|moved|poor|dose(?P<dose>\d+))-(?P<seed>\d+)", section)
    if found is None:
        raise ConfigurationError(
            f"a section of {card.name!r} is called exact-N, doseD-N, moved-N or poor-N, got {section!r}"
        )
    options, kind = card.parameters, found[1]
    dose = float(found["dose"]) if found["dose"] else None
    moved = kind == "moved"
    charted = make_charted(
        seed=int(found["seed"]),
        shape=(int(options["rows"]), int(options["columns"])),
        counts=dose,
        second_channels=POOR if kind == "poor" else RICH,
        rotation_deg=float(options["moved_deg"]) if moved else 0.0,
        shift_px=tuple(options["moved_px"]) if moved else (0.0, 0.0),
    )
    size = card.pixel_size_um
    return Section(
        dataset=card.name,
        name=section,
        image=MSImage(charted.ions, charted.mz, pixel_size_um=size, unit=card.unit),
        guide=GuideImage(charted.guide, pixel_size_um=size, channel_names=("red", "green", "blue")),
        second=MSImage(charted.second, charted.second_mz, pixel_size_um=size, unit=card.unit),
        counts_per_unit=None if dose is None else np.ones(len(charted.mz)),
        noise_free=charted.expected,
        notes=("synthetic section: made by a generator, measured by nobody",),
    )
