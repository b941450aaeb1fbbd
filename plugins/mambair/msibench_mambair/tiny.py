"""A small checkpoint of our own, so that the family competes before anything is downloaded.

Trained on ion images alone; ``weights/mambair-msi-tiny-x4.json`` is the record of the training, with the command
that repeats it, the digests of all sections and the loss curve.
"""

from __future__ import annotations

from msibench import MethodSpec, Resources, Task, WeightFile

_SLICES = (1, 2, 4, 6, 7, 8, 10, 11, 13, 15, 16, 18, 19, 21, 23, 24, 25, 28, 29, 32)
_PHANTOMS = (11, 12, 13, 14)

TINY = MethodSpec(
    name="mambair-msi-tiny",
    target="msibench_mambair.method:MambaIR",
    task=Task.SINGLE_IMAGE,
    config={
        "variant": "msi-tiny",
        "tile": 0,
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
            name="mambair-msi-tiny-x4.safetensors",
            sha256="dcb40e3a8a2919b049d6637ff3bdb3e8181d7a268de82accab35f75bc4697e6f",
            size=216128,
            licence="Apache-2.0",
            trained_on="20 training sections of lbae-mouse-brain (BSD-3-Clause), 4 of phantom",
            path="msibench_mambair:weights/mambair-msi-tiny-x4.safetensors",
        ),
    ),
    training_data=(
        *(f"lbae-mouse-brain/slice_{number}" for number in _SLICES),
        *(f"phantom/synthetic-{number}" for number in _PHANTOMS),
    ),
    citation="https://doi.org/10.48550/arXiv.2402.15648",
    licence="Apache-2.0; weights: Apache-2.0",
    title="our own, 52 k parameters, trained on ion images",
    resources=Resources(cpus=1, memory_gb=2.0, vram_gb=1.0),
    sources={
        "architecture": "our choice, small enough to ship: MambaIR (light, third generation), 2 groups of 1 block, 32 features",
        "skip": "our choice: the network adds to the bicubic image, so it starts at interpolation",
        "tile": "as the published variants",
        "overlap": "as the published variants",
        "scaling": "our choice: each ion image on its own range",
        "quantise8": "our choice: floating point",
    },
)
