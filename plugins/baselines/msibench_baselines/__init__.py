"""Baselines of guided fusion: what every learned fusion method must beat, and one control."""

from collections.abc import Iterator

from msibench import MethodSpec, Resources, Task, hookimpl
from msibench_baselines.config import METHODS


@hookimpl
def msibench_methods() -> Iterator[MethodSpec]:
    """Offer the baselines; those that are trained also with a quick budget."""
    for name, method in METHODS.items():
        yield MethodSpec(
            name=name,
            target=method.target,
            task=Task.GUIDED,
            config=method.config,
            citation=method.citation,
            licence="Apache-2.0",
            title=method.title,
            control=method.control,
            resources=Resources(
                cpus=1, memory_gb=4.0, minutes=240.0 if method.budget == "paper" else 30.0
            ),
            sources=method.sources,
            budget=method.budget,
        )
