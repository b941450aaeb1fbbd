"""LCRN (Zou et al. 2025): guided fusion by a residual network with an edge perceptual loss."""

from collections.abc import Iterator
from dataclasses import replace

from msibench import MethodSpec, Resources, Task, hookimpl
from msibench_lcrn.config import (
    FOOTPRINT_BUDGET,
    PAPER_BUDGET,
    QUICK_BUDGET,
    QUICK_FOOTPRINT_BUDGET,
    SOURCES,
)

CITATION = (
    "Zou Y., Sun S., Tang W., Li B. Image Fusion for Super-Resolution Mass Spectrometry Imaging of "
    "Plant Tissue (2025)"
)

SPEC = MethodSpec(
    name="lcrn",
    target="msibench_lcrn.method:LCRN",
    task=Task.GUIDED,
    config=PAPER_BUDGET,
    citation=CITATION,
    licence="Apache-2.0",
    title="budget as published",
    resources=Resources(cpus=2, memory_gb=8.0, vram_gb=16.0, minutes=600.0),
    sources=SOURCES,
    budget="paper",
)
QUICK = replace(
    SPEC,
    name="lcrn-quick",
    config=QUICK_BUDGET,
    title="small network, 60 epochs",
    resources=Resources(cpus=1, memory_gb=4.0, vram_gb=2.0, minutes=30.0),
    budget="quick",
)
FOOTPRINT = replace(
    SPEC,
    name="lcrn-footprint",
    config=FOOTPRINT_BUDGET,
    title="our variant: fitted through the pixel footprint, hardly any edge loss",
)
QUICK_FOOTPRINT = replace(
    QUICK,
    name="lcrn-footprint-quick",
    config=QUICK_FOOTPRINT_BUDGET,
    title="our variant: fitted through the pixel footprint, pixel by pixel, small, 150 epochs",
)


@hookimpl
def msibench_methods() -> Iterator[MethodSpec]:
    """Offer LCRN with the published budget and with a small one, and its variants of ours."""
    yield SPEC
    yield QUICK
    yield FOOTPRINT
    yield QUICK_FOOTPRINT
