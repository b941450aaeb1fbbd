"""SMSDL-Net (Lin et al. 2025): reimplementation from the abstract."""

from collections.abc import Iterator
from dataclasses import replace

from msibench import MethodSpec, Resources, Task, hookimpl
from msibench_smsdl_net.config import FULL_BUDGET, QUICK_BUDGET, SOURCES

SPEC = MethodSpec(
    name="smsdl-net",
    target="msibench_smsdl_net.method:SMSDLNet",
    task=Task.GUIDED,
    config=FULL_BUDGET,
    citation="https://doi.org/10.19745/j.1003-8868.2025059",
    licence="Apache-2.0",
    title="reimplementation from the abstract",
    resources=Resources(cpus=1, memory_gb=8.0, vram_gb=8.0, minutes=600.0),
    sources=SOURCES,
    budget="paper",
)
QUICK = replace(
    SPEC,
    name="smsdl-net-quick",
    config=QUICK_BUDGET,
    title="reimplementation from the abstract, small",
    resources=Resources(cpus=1, memory_gb=4.0, vram_gb=2.0, minutes=30.0),
    budget="quick",
)


@hookimpl
def msibench_methods() -> Iterator[MethodSpec]:
    """Offer SMSDL-Net with a full and with a small budget."""
    yield SPEC
    yield QUICK
