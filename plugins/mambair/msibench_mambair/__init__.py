"""MambaIR (Guo et al. 2024) in its published variants, each under a name that says what it is."""

from __future__ import annotations

from collections.abc import Iterator

from msibench import MethodSpec, Resources, Task, hookimpl
from msibench.training.pretrained_specs import TILED, method_per_file
from msibench_mambair.config import FILES, MEMORY_GB, TITLES
from msibench_mambair.tiny import TINY

FAMILY = MethodSpec(
    name="mambair",
    target="msibench_mambair.method:MambaIR",
    task=Task.SINGLE_IMAGE,
    config={**TILED, "tile": 0},
    each_ion_alone=True,
    citation="https://doi.org/10.48550/arXiv.2402.15648",
    code="https://github.com/csguoh/MambaIR",
    licence="Apache-2.0; weights: Apache-2.0",
    resources=Resources(cpus=2, minutes=120.0),
    sources={
        "tile": "0 = never: the scan is global. The official test splits from 200 px on, without blending",
        "overlap": "official test: a tenth of the part; used only where tile is set",
        "scaling": "not stated for ion images, our choice: floating point, each ion on its own range",
        "quantise8": "published pipelines read 8-bit images; we keep floating point",
    },
)


@hookimpl
def msibench_methods() -> Iterator[MethodSpec]:
    """Offer every published file, and the small network that ships."""
    yield from method_per_file(FAMILY, FILES, titles=TITLES, memory_gb=MEMORY_GB)
    yield TINY
