"""A checkpoint of our own: DCTLSA, trained on photographs by its authors and then on ion images.

``weights/dctlsa-msi-x4.json`` and ``-x2.json`` are the records of the two trainings, with the commands that repeat
them, the digests of all sections and the loss curves.
"""

from __future__ import annotations

from collections.abc import Mapping

from msibench import MethodSpec, Resources, Task, WeightFile
from msibench.training.pretrained_specs import (
    SHIPPED_PHANTOMS,
    TILED,
    ShippedFile,
    training_sections,
)

_SLICES = (1, 2, 6, 7, 8, 10, 11, 15, 16, 18, 19, 21, 23, 24, 28, 29, 32)
_TRAINED_ON = "photographs by its authors, then 17 training sections of lbae-mouse-brain (BSD-3-Clause) and 4 of phantom"


def _file(factor: int, sha256: str, size: int) -> WeightFile:
    name = f"dctlsa-msi-x{factor}.safetensors"
    shipped = ShippedFile(package="msibench_spandrel", name=name, sha256=sha256, size=size)
    return shipped.weight_file(_TRAINED_ON)


MSI_FILES: Mapping[str, Mapping[int, WeightFile]] = {
    "dctlsa-msi": {
        4: _file(4, "bd91b55b515c99dd314f6d9319ffb4b08ecbdcbd81ece2272e51e3eef9c642fd", 3634000),
        2: _file(2, "a275c428285e83b2a349c24b0b8dc89dd01c4ac9ff9aa21f0f9ab9d03abc8766", 3634000),
    }
}
"""Variant → factor → file."""

MSI = MethodSpec(
    name="dctlsa-msi",
    target="msibench_spandrel.method:Spandrel",
    task=Task.SINGLE_IMAGE,
    config={"variant": "dctlsa-msi", **TILED, "back_project": True, "bin": True},
    factors=frozenset(MSI_FILES["dctlsa-msi"]),
    each_ion_alone=True,
    weights=tuple(MSI_FILES["dctlsa-msi"].values()),
    training_data=training_sections(_SLICES, SHIPPED_PHANTOMS),
    citation="https://github.com/zengkun301/DCTLSA",
    licence="network: spandrel, MIT; weights: Apache-2.0",
    title="DCTLSA trained further on ion images, 0.89 M parameters, back-projected",
    resources=Resources(cpus=1, memory_gb=2.0, vram_gb=4.0),
    sources={
        "back_project": "our choice, as in training: its area mean is its input, only detail can be wrong",
        "bin": "our choice, as in training: for x2 the x4 image is averaged over 2 x 2 pixels",
        "scaling": "our choice: each ion image on its own range",
        "quantise8": "our choice: floating point",
    },
)
