"""Interpolation: what every learned method must beat."""

from collections.abc import Iterator

from msibench import MethodSpec, Task, hookimpl
from msibench_interpolation.config import KERNELS


@hookimpl
def msibench_methods() -> Iterator[MethodSpec]:
    """Offer one method per kernel."""
    for name, kernel in KERNELS.items():
        yield MethodSpec(
            name=name,
            target="msibench_interpolation.method:Interpolation",
            task=Task.SINGLE_IMAGE,
            config={"kernel": name, "clip": True},
            each_ion_alone=True,
            citation=kernel.citation,
            licence="Apache-2.0",
            title=kernel.title,
            sources={
                "kernel": kernel.citation,
                "clip": "our choice: an intensity cannot be negative, and kernels with negative "
                "lobes undershoot",
            },
        )
