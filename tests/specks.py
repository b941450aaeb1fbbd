"""A data set of phantom sections of 48 x 56 pixels, which tests run methods on in no time."""

from pathlib import Path

import msibench_datasets
from msibench.datasets import card_from_table


def speck_card(name="speck", *, tasks=("single-image",), test=("synthetic-1",), train=()):
    """Return the card of such sections."""
    reader = Path(msibench_datasets.__file__).parent / "phantom" / "reader.py"
    sections = {"test": list(test), "train": list(train)} if train else {"test": list(test)}
    table = {
        "schema_version": 1, "name": name, "title": f"a {name}", "pixel_size_um": 10.0,
        "unit": "counts", "counts": True, "synthetic": True, "tasks": list(tasks),
        "sections": sections,
        "parameters": {
            "rows": 48, "columns": 56, "counts": 60.0, "guide_rotation_deg": 0.0,
            "guide_shift_px": [0.0, 0.0],
        },
    }  # fmt: skip
    return card_from_table(table, folder=reader.parent, reader=f"{reader}:read")
