"""Make a section of the charted phantom with noise and a misregistered guide; nothing is read."""

from dataclasses import replace

from msibench.datasets import Card, MZSet, Section
from msibench_datasets.charted.reader import read as read_charted


def read(card: Card, section: str, mz_set: MZSet) -> Section:
    """Return section ``doseD-N`` of the charted phantom, with the guide of its section ``moved-N``."""
    seed = section.rpartition("-")[2]
    moved = read_charted(card, f"moved-{seed}", mz_set)
    return replace(read_charted(card, section, mz_set), guide=moved.guide)
