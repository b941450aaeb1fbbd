"""ResShift (Yue et al. 2023): latent residual-shifting diffusion, x4."""

from collections.abc import Iterator

from msibench import MethodSpec, Resources, Task, hookimpl
from msibench_resshift.config import AUTOENCODER, DEFAULTS, LICENCE, RELEASES, SOURCES

CITATION = "https://doi.org/10.48550/arXiv.2307.12348"
CAO = "https://github.com/bioinfo-ibms-pumc/MSI_SR"


@hookimpl
def msibench_methods() -> Iterator[MethodSpec]:
    """Offer every published network under its own schedule."""
    for name, release in RELEASES.items():
        yield MethodSpec(
            name=name,
            target="msibench_resshift.method:ResShift",
            task=Task.SINGLE_IMAGE,
            config={"schedule": release.schedule, **DEFAULTS},
            factors=frozenset({4}),
            weights=(release.file, AUTOENCODER),
            training_data=("cao-mouse-brain-sagittal",) if name == "resshift-msi" else (),
            citation=CAO if name == "resshift-msi" else CITATION,
            code=CAO if name == "resshift-msi" else "https://github.com/zsyOAOA/ResShift",
            licence=f"code Apache-2.0; weights {LICENCE}",
            title=release.title,
            resources=Resources(cpus=2, memory_gb=8.0, vram_gb=8.0, minutes=240.0),
            sources=SOURCES,
        )
