"""SwinIR (Liang et al. 2021) in its published variants, each under a name that says what it is."""

from __future__ import annotations

from collections.abc import Iterator

from msibench import MethodSpec, Resources, Task, hookimpl
from msibench.training.pretrained_specs import TILED, method_per_file
from msibench_swinir.config import FILES, MEMORY_GB, TITLES
from msibench_swinir.tiny import TINY

FAMILY = MethodSpec(
    name="swinir",
    target="msibench_swinir.method:SwinIR",
    task=Task.SINGLE_IMAGE,
    config=TILED,
    each_ion_alone=True,
    citation="https://doi.org/10.1109/ICCVW54120.2021.00210",
    code="https://github.com/JingyunLiang/SwinIR",
    licence="Apache-2.0 (network: spandrel, MIT); weights: Apache-2.0",
    resources=Resources(cpus=2),
    sources={
        "tile": "the official script tiles on request, by multiples of 8; 256 px is our choice",
        "overlap": "official script: 32 px",
        "scaling": "not stated for ion images, our choice: floating point, each ion on its own range",
        "quantise8": "published pipelines read 8-bit images; we keep floating point",
    },
)


@hookimpl
def msibench_methods() -> Iterator[MethodSpec]:
    """Offer every published file, and the small network that ships."""
    yield from method_per_file(FAMILY, FILES, titles=TITLES, memory_gb=MEMORY_GB)
    yield TINY
