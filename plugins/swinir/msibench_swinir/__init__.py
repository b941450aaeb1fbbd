"""SwinIR (Liang et al. 2021) in its published variants, each under a name that says what it is."""

from __future__ import annotations

from collections.abc import Iterator

from msibench import MethodSpec, Resources, Task, hookimpl
from msibench_swinir.config import FILES, MEMORY_GB, TITLES
from msibench_swinir.tiny import TINY

_SOURCES = {
    "tile": "the official script tiles on request, by multiples of 8; 256 px is our choice",
    "overlap": "official script: 32 px",
    "scaling": "not stated for ion images, our choice: floating point, each ion on its own range",
    "quantise8": "published pipelines read 8-bit images; we keep floating point",
}


@hookimpl
def msibench_methods() -> Iterator[MethodSpec]:
    """Offer one method for each published file; x4, the factor of the MSI papers, has the plain name."""
    published = [(v, f, file) for v, files in FILES.items() for f, file in files.items()]
    for variant, factor, file in published:
        yield MethodSpec(
            name=f"swinir-{variant}" if factor == 4 else f"swinir-{variant}-x{factor}",
            target="msibench_swinir.method:SwinIR",
            task=Task.SINGLE_IMAGE,
            config={
                "variant": variant,
                "tile": 256,
                "overlap": 32,
                "batch": 16,
                "scaling": "minmax",
                "quantise8": False,
                "skip": "none",
            },
            factors=frozenset({factor}),
            each_ion_alone=True,
            weights=(file,),
            citation="https://doi.org/10.1109/ICCVW54120.2021.00210",
            code="https://github.com/JingyunLiang/SwinIR",
            licence="Apache-2.0 (network: spandrel, MIT); weights: Apache-2.0",
            title=TITLES[variant],
            resources=Resources(cpus=2, memory_gb=MEMORY_GB[variant], vram_gb=MEMORY_GB[variant]),
            sources=_SOURCES,
        )
    yield TINY
