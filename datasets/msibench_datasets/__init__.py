"""Built-in data sets; one folder with one card each."""

from collections.abc import Iterator
from pathlib import Path

from msibench import DatasetSpec, hookimpl

HERE = Path(__file__).parent
READERS = {
    "bladder": "reader.py:read",
    "deepfere-fetal-brain": "reader.py:read",
    "her2-tumour": "spot_tables.py:read",
    "laicpms-prostate": "laser_tables.py:read",
    "charted": "reader.py:read",
    "charted-moved": "misregistered.py:read",
    "charted-small": "../charted/reader.py:read",
    "ginkgo": "reader.py:read",
    "phantom": "reader.py:read",
}


@hookimpl
def msibench_datasets() -> Iterator[DatasetSpec]:
    """Offer every folder that holds a card."""
    for card in sorted(HERE.glob("*/card.toml")):
        name = card.parent.name
        reader = f"{card.parent / READERS[name]}" if name in READERS else ""
        yield DatasetSpec(name=name, card=card, reader=reader)
