"""Interpolation and deconvolution: what every learned method must beat."""

from collections.abc import Iterator

from msibench import MethodSpec, Task, hookimpl
from msibench_interpolation.config import BACK_PROJECTED, KERNELS, WIENER, WIENER_SOURCES

CLIP = "our choice: an intensity cannot be negative, and kernels with negative lobes undershoot"


@hookimpl
def msibench_methods() -> Iterator[MethodSpec]:
    """Offer one method per kernel, two of them back-projected, and a deconvolution."""
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
            sources={"kernel": kernel.citation, "clip": CLIP},
        )
    for name in BACK_PROJECTED:
        yield MethodSpec(
            name=f"{name}-backprojected",
            target="msibench_interpolation.back_projected:BackProjected",
            task=Task.SINGLE_IMAGE,
            config={"kernel": name, "clip": True},
            each_ion_alone=True,
            citation="Irani and Peleg, CVGIP: Graphical Models and Image Processing 53 (1991) 231-239",
            licence="Apache-2.0",
            title=f"{KERNELS[name].title}; what its low image lacks is put back exactly",
            sources={"kernel": KERNELS[name].citation, "clip": CLIP},
        )
    yield MethodSpec(
        name="wiener",
        target="msibench_interpolation.wiener:Wiener",
        task=Task.SINGLE_IMAGE,
        config=WIENER,
        each_ion_alone=True,
        citation="Wiener, Extrapolation, Interpolation, and Smoothing of Stationary Time Series (1949)",
        licence="Apache-2.0",
        title="Wiener deconvolution of area means",
        sources=WIENER_SOURCES,
    )
