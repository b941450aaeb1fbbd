"""A small checkpoint of our own, so that the family competes before anything is downloaded.

Trained on ion images alone; ``weights/swinir-msi-tiny-x4.json`` is the record of the training, with the command
that repeats it, the digests of all sections and the loss curve.
"""

from __future__ import annotations

from msibench import MethodSpec, Resources, Task, WeightFile

_SLICES = (1, 2, 4, 6, 7, 8, 10, 11, 13, 15, 16, 18, 19, 21, 23, 24, 25, 28, 29, 32)
_PHANTOMS = (11, 12, 13, 14)

TINY = MethodSpec(
    name="swinir-msi-tiny",
    target="msibench_swinir.method:SwinIR",
    task=Task.SINGLE_IMAGE,
    config={
        "variant": "msi-tiny",
        "tile": 256,
        "overlap": 32,
        "batch": 16,
        "scaling": "minmax",
        "quantise8": False,
        "skip": "bicubic",
    },
    factors=frozenset({4}),
    each_ion_alone=True,
    weights=(
        WeightFile(
            name="swinir-msi-tiny-x4.safetensors",
            sha256="9c31be108caae875d2b19f9da6796f329dd28502e967fc51796e65ca3837586e",
            size=1299776,
            licence="Apache-2.0",
            trained_on="20 training sections of lbae-mouse-brain (BSD-3-Clause), 4 of phantom",
            path="msibench_swinir:weights/swinir-msi-tiny-x4.safetensors",
        ),
    ),
    training_data=(
        *(f"lbae-mouse-brain/slice_{number}" for number in _SLICES),
        *(f"phantom/synthetic-{number}" for number in _PHANTOMS),
    ),
    citation="https://doi.org/10.1109/ICCVW54120.2021.00210",
    licence="Apache-2.0; weights: Apache-2.0",
    title="our own, 108 k parameters, trained on ion images",
    resources=Resources(cpus=1, memory_gb=2.0, vram_gb=1.0),
    sources={
        "architecture": "our choice, small enough to ship: SwinIR, 2 groups of 4 blocks, 32 features",
        "skip": "our choice: the network adds to the bicubic image, so it starts at interpolation",
        "tile": "as the published variants",
        "overlap": "as the published variants",
        "scaling": "our choice: each ion image on its own range",
        "quantise8": "our choice: floating point",
    },
)
