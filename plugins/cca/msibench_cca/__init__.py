"""CCA fusion of two or three MSI modalities (Ul Haque et al. 2025), as published and put right."""

from collections.abc import Iterator

from msibench import MethodSpec, Resources, Task, hookimpl
from msibench_cca.config import AS_PUBLISHED, CITATION, REGRESSION, SOURCES

TITLES = {
    "cca-as-published": "scikit-learn's prediction, as in the preprint",
    "cca-regression": "least squares on the canonical scores",
}


@hookimpl
def msibench_methods() -> Iterator[MethodSpec]:
    """Offer both modes."""
    for name, config in (("cca-as-published", AS_PUBLISHED), ("cca-regression", REGRESSION)):
        yield MethodSpec(
            name=name,
            target="msibench_cca.method:CCAFusion",
            task=Task.CROSS_MODALITY,
            config=config,
            citation=CITATION,
            licence="Apache-2.0",
            title=TITLES[name],
            resources=Resources(cpus=1, memory_gb=4.0, minutes=60.0),
            sources=SOURCES,
        )
