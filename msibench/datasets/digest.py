"""The digest that represents the data of a section in the keys of its cells."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from msibench.datasets.card import Card
from msibench.datasets.files import file_digest


def dataset_digest(card: Card, section: str) -> str:
    """Return the sha256 that represents the data of one section, without reading pixels.

    Made of the sha256 of every file that the section is read from, and what the card says that changes
    pixels, and the reader's code.
    """
    reader_code = ""
    if card.reader:
        module = card.reader.rpartition(":")[0]
        path = Path(module) if module.endswith(".py") else None
        folder = path.parent if path else card.folder
        reader_code = "".join(file_digest(source) for source in sorted(folder.glob("*.py")))
    content = {
        "name": card.name,
        "section": section,
        "files": sorted((file.name, file.role, file.sha256) for file in card.files_of(section)),
        "pixel_size_um": repr(card.pixel_size_um),
        "declared_range": card.declared_range,
        "unit": card.unit,
        "counts": card.counts,
        "parameters": {key: repr(value) for key, value in sorted(card.parameters.items())},
        "reader": reader_code,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
