"""Anchored regression: detail learned from other sections of the same data set."""

from collections.abc import Iterator

from msibench import MethodSpec, Resources, Task, hookimpl
from msibench_anchored.config import DEFAULTS, SOURCES

SPEC = MethodSpec(
    name="anchored-regression",
    target="msibench_anchored.method:AnchoredRegression",
    task=Task.SINGLE_IMAGE,
    config=DEFAULTS,
    trainable=True,
    each_ion_alone=True,
    citation="Timofte, De Smet and Van Gool, ICCV 2013, 1920-1927",
    licence="Apache-2.0",
    title="Linear maps on neighbourhoods of coarse pixels, learned from other sections",
    resources=Resources(cpus=1, memory_gb=4.0, minutes=10.0),
    sources=SOURCES,
)


@hookimpl
def msibench_methods() -> Iterator[MethodSpec]:
    """Offer the method."""
    yield SPEC
