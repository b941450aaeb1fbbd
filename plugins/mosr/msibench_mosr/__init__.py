"""MOSR: the RRDBNet that Liao et al. trained on mass spectrometry images."""

from __future__ import annotations

from collections.abc import Iterator

from msibench import MethodSpec, Resources, Task, hookimpl
from msibench.training.pretrained_specs import TILED
from msibench_mosr.config import FILES
from msibench_mosr.tiny import TINY

SPEC = MethodSpec(
    name="mosr",
    target="msibench_mosr.method:MOSR",
    task=Task.SINGLE_IMAGE,
    config={"variant": "mosr", **TILED},
    factors=frozenset(FILES["mosr"]),
    each_ion_alone=True,
    weights=tuple(FILES["mosr"].values()),
    citation="https://doi.org/10.1038/s42256-023-00677-7",
    code="https://github.com/USTC-xlab/MOSR",
    licence="Apache-2.0; weights: user-supplied",
    title="RRDBNet x4 (not umzi2's MoSR)",
    resources=Resources(cpus=2, memory_gb=6.0, vram_gb=6.0),
    sources={
        "tile": "not stated, our choice: the published code never tiles",
        "overlap": "not stated, our choice",
        "scaling": "not stated; the demo images are 8-bit, min-max is inferred",
        "quantise8": "the demo images are 8-bit; we keep floating point",
    },
)


@hookimpl
def msibench_methods() -> Iterator[MethodSpec]:
    """Offer the published network, and the small one that ships."""
    yield SPEC
    yield TINY
