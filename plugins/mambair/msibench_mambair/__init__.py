"""MambaIR (Guo et al. 2024) in its published variants, each under a name that says what it is."""

from __future__ import annotations

from collections.abc import Iterator

from msibench import MethodSpec, Resources, Task, hookimpl
from msibench_mambair.config import FILES, TITLES
from msibench_mambair.tiny import TINY

_SOURCES = {
    "tile": "0 = never: the scan is global. The official test splits from 200 px on, without blending",
    "overlap": "official test: a tenth of the part; used only where tile is set",
    "scaling": "not stated for ion images, our choice: floating point, each ion on its own range",
    "quantise8": "published pipelines read 8-bit images; we keep floating point",
}


@hookimpl
def msibench_methods() -> Iterator[MethodSpec]:
    """Offer one method for each published file; x4, the factor of the MSI papers, has the plain name."""
    published = [(v, f, file) for v, files in FILES.items() for f, file in files.items()]
    for variant, factor, file in published:
        memory = 4.0 if variant == "light" else 10.0
        yield MethodSpec(
            name=f"mambair-{variant}" if factor == 4 else f"mambair-{variant}-x{factor}",
            target="msibench_mambair.method:MambaIR",
            task=Task.SINGLE_IMAGE,
            config={
                "variant": variant,
                "tile": 0,
                "overlap": 32,
                "batch": 16,
                "scaling": "minmax",
                "quantise8": False,
                "skip": "none",
            },
            factors=frozenset({factor}),
            each_ion_alone=True,
            weights=(file,),
            citation="https://doi.org/10.48550/arXiv.2402.15648",
            code="https://github.com/csguoh/MambaIR",
            licence="Apache-2.0; weights: Apache-2.0",
            title=TITLES[variant],
            resources=Resources(cpus=2, memory_gb=memory, vram_gb=memory, minutes=120.0),
            sources=_SOURCES,
        )
    yield TINY
