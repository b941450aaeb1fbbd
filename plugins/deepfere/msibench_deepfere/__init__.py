"""DeepFERE (Guo et al. 2023): registration, mapping and fusion fitted to one section."""

from collections.abc import Iterator
from dataclasses import replace

from msibench import MethodSpec, Resources, Task, hookimpl
from msibench_deepfere.config import (
    AS_PUBLISHED,
    MULTISTAGE,
    PAPER_BUDGET,
    QUICK_BUDGET,
    QUICK_MULTISTAGE,
    SOURCES,
)

SPEC = MethodSpec(
    name="deepfere",
    target="msibench_deepfere.method:DeepFERE",
    task=Task.GUIDED,
    config=PAPER_BUDGET,
    citation="https://doi.org/10.1021/acs.analchem.3c02002",
    licence="Apache-2.0",
    title="published widths and iterations, mended",
    resources=Resources(cpus=2, memory_gb=12.0, vram_gb=12.0, minutes=1440.0),
    sources=SOURCES,
    budget="paper",
)
AS_PUBLISHED_SPEC = replace(
    SPEC,
    name="deepfere-as-published",
    config=AS_PUBLISHED,
    title="with the quirks of the published program",
)
QUICK = replace(
    SPEC,
    name="deepfere-quick",
    config=QUICK_BUDGET,
    title="small networks, 150 iterations an ion",
    resources=Resources(cpus=1, memory_gb=6.0, vram_gb=4.0, minutes=60.0),
    budget="150 iterations",
)
ZOU = "Zou Y., Sun S., Tang W., Li B., Image Fusion for Super-Resolution MSI of Plant Tissue (2025)"
UNET = replace(
    SPEC,
    name="unet-multistage",
    config=MULTISTAGE,
    citation=ZOU,
    title="Zou et al.'s U-Net for ginkgo: MSE, correlation and reconstruction in stages, no registration",
)
QUICK_UNET = replace(
    QUICK,
    name="unet-multistage-quick",
    config=QUICK_MULTISTAGE,
    citation=ZOU,
    title="Zou et al.'s multi-stage U-Net, small, 150 iterations an ion",
)


@hookimpl
def msibench_methods() -> Iterator[MethodSpec]:
    """Offer DeepFERE as published, mended, and with a small budget; and the U-Net that Zou et al. made of it."""
    yield AS_PUBLISHED_SPEC
    yield SPEC
    yield QUICK
    yield UNET
    yield QUICK_UNET
